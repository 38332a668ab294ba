package testcluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	runtimefake "github.com/ikada/ikada/internal/runtime/fake"
	"github.com/ikada/ikada/internal/store"
)

// migrates gives a service a release command.
func migrates(timeout time.Duration, command ...string) func(*api.ServiceSpec) {
	return func(s *api.ServiceSpec) {
		s.Release = &api.ReleaseCommand{Command: api.Command{Command: command}, Timeout: api.Duration(timeout)}
	}
}

// scheduled gives a service a cron named tick.
func scheduled(c api.CronSpec) func(*api.ServiceSpec) {
	return func(s *api.ServiceSpec) { s.Cron = map[string]api.CronSpec{"tick": c} }
}

// made counts how often a node made a container with a command that begins so.
type made struct {
	mu sync.Mutex
	n  map[string]int
}

func countMade(n *Node) *made {
	m := &made{n: map[string]int{}}
	n.Runtime.SetFaults(runtimefake.Faults{Create: func(c agent.Container) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.n[strings.Join(c.Spec.Command, " ")]++
		return nil
	}})
	return m
}

func (m *made) of(command string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n[command]
}

func (v View) job(kind api.JobKind) *api.Job {
	i := slices.IndexFunc(v.Jobs, func(j *api.Job) bool { return j.Kind == kind })
	if i < 0 {
		return &api.Job{}
	}
	return v.Jobs[i]
}

func TestReleaseCommandRunsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 2), "n1", "n2")
		c.Bound("web", 2, 4)
		before := c.View().Ready("web", 1)
		_, d := c.Deploy(web("2", 2, migrates(0, "print", "migrating", "wait", "20m", "exit", "0")))
		c.Run(time.Minute)
		v := c.View()
		if r := v.Deployment(d).Rollouts; len(r) != 1 || r[0].State != api.RolloutWaiting || r[0].Reason != "release command of web runs" || r[0].Job != v.job(api.JobRelease).ID {
			t.Errorf("rollouts %+v; now:\n%s", r, v)
		}
		if len(v.Of("web")) != 2 || len(v.Ready("web", 1)) != 2 {
			t.Errorf("tasks of the new release were made:\n%s", v)
		}
		c.Run(8 * time.Minute)
		if v := c.View(); v.job(api.JobRelease).State != api.JobRunning {
			t.Errorf("now:\n%s", v)
		}
		c.Run(2 * time.Minute) // and its time limit is over
		got := c.Done(d, time.Minute)
		if got.State != api.DeployRolledBack || !strings.Contains(got.Reason, "release command of web timed out: not over after 10m0s") {
			t.Errorf("%s: %s", got.State, got.Reason)
		}
		if now := c.View().Ready("web", 1); len(now) != 2 || now[0].ID != before[0].ID || now[1].ID != before[1].ID {
			t.Errorf("the old release was touched:\n%s", c.View())
		}
		release, d := c.Deploy(web("3", 2, migrates(0, "wait", "5s", "exit", "0")))
		if got := c.Done(d, time.Minute); got.State != api.DeploySucceeded || got.SwappedAt.Sub(got.StartedAt) < 5*time.Second {
			t.Errorf("%s: %s, after %s", got.State, got.Reason, got.SwappedAt.Sub(got.StartedAt))
		}
		c.Run(time.Second)
		v = c.View()
		if len(v.Ready("web", release)) != 2 || len(v.Jobs) != 2 || v.Jobs[1].State != api.JobSucceeded || *v.Jobs[1].ExitCode != 0 {
			t.Errorf("now:\n%s", v)
		}
		if d := c.Rollback(1); c.Done(d, time.Minute).State != api.DeploySucceeded || len(c.View().Jobs) != 2 {
			t.Errorf("a rollback ran a command:\n%s", c.View())
		}
		c.Settled()
	})
}

// TestReleaseCommandFails goes through the ways in which a release command ends badly: nothing of the old release is
// touched, and the reason says what happened.
func TestReleaseCommandFails(t *testing.T) {
	for name, tc := range map[string]struct {
		command []string
		during  func(c *Cluster, j *api.Job)
		state   api.JobState
		reason  string
	}{
		"exit code": {[]string{"print", "step 1", "printerr", "no such table", "exit", "3"}, nil, api.JobFailed,
			`release command of web failed: exited with code 3 after 0s; its last output: "step 1 / no such table"`},
		"out of memory": {[]string{"wait", "1h"}, func(c *Cluster, j *api.Job) { c.Nodes[0].Runtime.OOM(j.ID) }, api.JobFailed,
			"release command of web failed: killed for memory"},
		"its node is lost": {[]string{"wait", "9m"}, func(c *Cluster, _ *api.Job) { c.Nodes[0].Lose() }, api.JobLost,
			"release command of web is lost: node n1 does not answer: how far it got is not known"},
		"the node is shut down": {[]string{"wait", "9m"}, func(c *Cluster, _ *api.Job) {
			c.Nodes[0].Shutdown()
			c.Nodes[0].Start()
		}, api.JobLost, "its container was gone when ikada started: the node was shut down or restarted: how far it got is not known"},
		"destroyed by hand": {[]string{"wait", "9m"}, func(c *Cluster, j *api.Job) { c.Nodes[0].Runtime.Lose(j.ID) }, api.JobFailed,
			"release command of web failed: its process disappeared; the exit code could not be learnt"},
		"stopped by hand": {[]string{"wait", "9m"}, func(c *Cluster, j *api.Job) {
			c.changeJob(j.ID, func(j *api.Job) { j.Stop = "stopped by ann" })
		}, api.JobStopped, "release command of web stopped: stopped by ann"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spec := web("1", 2, func(s *api.ServiceSpec) { s.Placement.Constraints = []string{"node.hostname == n2"} })
				c := good(t, spec, "n2", "n1")
				c.Nodes[0], c.Nodes[1] = c.Nodes[1], c.Nodes[0]
				c.Bound("web", 2, 2)
				if name == "its node is lost" {
					c.AllowDoubt()
				}
				_, d := c.Deploy(web("2", 2, migrates(0, tc.command...), func(s *api.ServiceSpec) {
					s.Placement.Constraints = []string{"node.hostname == n1"}
				}))
				if tc.during != nil {
					c.Until("it runs", time.Minute, func(v View) bool { return v.job(api.JobRelease).State == api.JobRunning })
					tc.during(c, c.View().job(api.JobRelease))
				}
				got := c.Done(d, 2*time.Minute)
				if got.State != api.DeployRolledBack || !strings.Contains(got.Reason, tc.reason) {
					t.Errorf("%s: %s", got.State, got.Reason)
				}
				v := c.View()
				if j := v.job(api.JobRelease); len(v.Jobs) != 1 || j.State != tc.state {
					t.Errorf("job is %s, want %s; now:\n%s", j.State, tc.state, v)
				}
				if len(v.Of("web")) != 2 {
					t.Errorf("tasks were made:\n%s", v)
				}
				if name == "its node is lost" {
					c.Nodes[0].Find()
					c.Run(time.Minute)
				}
				c.Run(time.Second)
				c.Settled()
			})
		})
	}
}

func (c *Cluster) changeJob(id string, fn func(j *api.Job)) {
	c.t.Helper()
	c.Update(func(tx store.Tx) error {
		j, err := store.Get[api.Job](tx, store.JobKey(Env, id))
		if err != nil {
			return err
		}
		fn(j)
		return store.Put(tx, store.JobKey(Env, id), j)
	})
}

func TestCancelStopsTheReleaseCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 2), "n1")
		_, d := c.Deploy(web("2", 2, migrates(0, "wait", "9m")))
		c.Until("it runs", time.Minute, func(v View) bool { return v.job(api.JobRelease).State == api.JobRunning })
		c.Update(func(tx store.Tx) error {
			got, err := store.Get[api.Deployment](tx, store.DeploymentKey(Env, d))
			if err != nil {
				return err
			}
			got.Cancel, got.Reason = true, "cancelled by ann"
			return store.Put(tx, store.DeploymentKey(Env, d), got)
		})
		if got := c.Done(d, time.Minute); got.State != api.DeployCancelled {
			t.Errorf("%s: %s", got.State, got.Reason)
		}
		if j := c.View().job(api.JobRelease); j.State != api.JobStopped || j.Reason != "cancelled by ann" || j.EndedAt.IsZero() {
			t.Errorf("job %+v", j)
		}
		c.Settled()
	})
}

// TestReleaseCommandRunsOnce kills the agent at every step of the command's life, or the control plane: its container
// is made at most once, and where it was not seen to end well, the release is taken back.
func TestReleaseCommandRunsOnce(t *testing.T) {
	command := []string{"wait", "7s", "exit", "0"}
	run := func(t *testing.T, point string, skip int) {
		c := good(t, web("1", 2), "n1")
		n := c.Nodes[0]
		count := countMade(n)
		c.Run(10 * time.Second)
		c.Bound("web", 2, 4)
		hit := n.Trap(point, skip)
		release, d := c.Deploy(web("2", 2, migrates(0, command...)))
		c.Until(point, time.Minute, func(v View) bool {
			select {
			case <-hit:
				return true
			default:
				return v.Deployment(d).State.Final()
			}
		})
		n.Kill()
		c.Run(3 * time.Second)
		n.Start()
		got := c.Done(d, 5*time.Minute)
		c.Run(5 * time.Second)
		v := c.View()
		ran := count.of(strings.Join(command, " "))
		switch j := v.job(api.JobRelease); {
		case got.State == api.DeploySucceeded && j.State == api.JobSucceeded && ran == 1 && len(v.Ready("web", release)) == 2:
		case got.State == api.DeployRolledBack && j.State == api.JobLost && ran <= 1 && len(v.Ready("web", 1)) == 2 &&
			strings.Contains(got.Reason, "how far it got is not known"):
		default:
			t.Errorf("%s: %s; made %d times; now:\n%s", got.State, got.Reason, ran, v)
		}
		if len(v.Jobs) != 1 {
			t.Errorf("%d jobs", len(v.Jobs))
		}
		c.Settled()
	}
	for _, call := range []string{"pull", "attach", "create", "remove", "detach", "report"} {
		for _, when := range []string{"before", "after"} {
			for skip := range 4 {
				t.Run(fmt.Sprintf("%s %s/%d", when, call, skip), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { run(t, when+" "+call, skip) })
				})
			}
		}
	}
	for after := range 10 {
		t.Run(fmt.Sprintf("control plane/%d", after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := good(t, web("1", 2), "n1")
				count := countMade(c.Nodes[0])
				_, d := c.Deploy(web("2", 2, migrates(0, command...)))
				c.Run(time.Duration(after) * 900 * time.Millisecond)
				c.KillControl(c.Controls[0])
				c.Run(2 * time.Second)
				c.StartControl("s1")
				if got := c.Done(d, 5*time.Minute); got.State != api.DeploySucceeded {
					t.Errorf("%s: %s", got.State, got.Reason)
				}
				if n := count.of(strings.Join(command, " ")); n != 1 || len(c.View().Jobs) != 1 {
					t.Errorf("made %d times; now:\n%s", n, c.View())
				}
			})
		})
	}
}

// run asks for a one-off run of web, as the API does.
func (c *Cluster) run(change func(j *api.Job), command ...string) string {
	c.t.Helper()
	j := api.Job{ID: fmt.Sprintf("run%d", len(c.View().Jobs)), EnvRef: Env, Kind: api.JobRun, Service: "web", Name: "run", Release: c.View().Env.Release,
		Command: api.Command{Command: command}, State: api.JobPending, CreatedAt: time.Now().UTC().Round(0)}
	if change != nil {
		change(&j)
	}
	c.Update(func(tx store.Tx) error { return store.Put(tx, store.JobKey(Env, j.ID), j) })
	return j.ID
}

func (c *Cluster) jobEnds(id string, limit time.Duration) *api.Job {
	c.t.Helper()
	find := func(v View) *api.Job {
		return v.Jobs[slices.IndexFunc(v.Jobs, func(j *api.Job) bool { return j.ID == id })]
	}
	return find(c.Until("end of job "+id, limit, func(v View) bool { return find(v).State.Final() }))
}

func TestOneOffRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 2), "n1")
		c.Bound("web", 2, 2)
		secret := func(j *api.Job) { j.Command.Env = map[string]string{"WORD": "x"} }
		id := c.run(secret, "wait", "3s", "exit", "5")
		c.Until("it runs", time.Minute, func(v View) bool { return v.Task(id).State() == api.TaskRunning })
		spec, _ := c.Nodes[0].Runtime.Spec(id)
		if spec.Spec.Env["WORD"] != "x" || len(spec.Spec.Ports) > 0 || spec.Host != "web-run-run0" {
			t.Errorf("its container is %+v", spec)
		}
		c.Run(2 * time.Second)
		if v := c.View(); v.Task(id).State() != api.TaskRunning || !v.Task(id).Status.ReadyAt.IsZero() {
			t.Errorf("now:\n%s", v)
		}
		if j := c.jobEnds(id, time.Minute); j.State != api.JobFailed || *j.ExitCode != 5 || j.EndedAt.Sub(j.StartedAt) != 3*time.Second {
			t.Errorf("job %+v", j)
		}
		// A client that is not heard of for its time, and one that is.
		lease := func(j *api.Job) { j.Until = time.Now().Add(api.AttachLease.Std()) }
		gone, there := c.run(lease, "wait", "1h"), c.run(lease, "wait", "1h")
		for range 6 {
			c.Run(10 * time.Second)
			c.changeJob(there, lease)
		}
		v := c.View()
		if j := v.Task(gone); j.State() != api.TaskStopped {
			t.Errorf("that of the dead client is %s", j.State())
		}
		if j := v.Task(there); j.State() != api.TaskRunning {
			t.Errorf("that of the living client is %s", j.State())
		}
		// The control plane is away for longer than the time: the client comes back right after.
		c.KillControl(c.Controls[0])
		c.Run(2 * time.Minute)
		c.StartControl("s1")
		c.Run(10 * time.Second)
		c.changeJob(there, lease)
		c.Run(20 * time.Second)
		if j := c.View().Task(there); j.State() != api.TaskRunning {
			t.Errorf("after a restart that of the living client is %s: %s", j.State(), j.Reason)
		}
		c.changeJob(there, func(j *api.Job) { j.Stop = "stopped by ann" })
		if j := c.jobEnds(there, time.Minute); j.State != api.JobStopped || j.Reason != "stopped by ann" {
			t.Errorf("job %+v", j)
		}
		// The task of a run never counts as the service's: a deployment goes on beside it.
		c.Bound("web", 2, 4)
		beside := c.run(nil, "wait", "20s", "exit", "0")
		release, d := c.Deploy(web("2", 2, func(s *api.ServiceSpec) { s.Placement.MaxPerNode = 4 }))
		if got := c.Done(d, time.Minute); got.State != api.DeploySucceeded || len(c.View().Ready("web", release)) != 2 {
			t.Errorf("%s: %s", got.State, got.Reason)
		}
		if j := c.jobEnds(beside, time.Minute); j.State != api.JobSucceeded || j.Release != 1 {
			t.Errorf("job %+v", j)
		}
		// And it ends with its environment.
		c.Bound("web", 0, 4)
		last := c.run(nil, "wait", "1h")
		c.Until("it runs", time.Minute, func(v View) bool { return v.Task(last).State() == api.TaskRunning })
		c.Change(func(e *api.Environment) { e.Destroying = true })
		c.Until("destroyed", time.Minute, func(v View) bool { return v.Env == nil && len(v.Jobs) == 0 && len(v.Tasks) == 0 })
		c.Settled()
	})
}

// TestCronRuns lets a schedule run for a while, over overlaps, a deployment, a pause and an absence of the control
// plane.
func TestCronRuns(t *testing.T) {
	count := func(c *Cluster) *made { return countMade(c.Nodes[0]) }
	spec := func(version string, s api.CronSpec) api.AppSpec {
		if s.Schedule == "" {
			s.Schedule = "* * * * *"
		}
		return web(version, 1, scheduled(s))
	}
	tick := api.Command{Command: []string{"print", "tick", "exit", "0"}}
	t.Run("history and absence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := good(t, spec("1", api.CronSpec{Command: tick}), "n1")
			n := count(c)
			c.Run(20 * time.Minute)
			if got := n.of("print tick exit 0"); got != 20 {
				t.Errorf("it ran %d times in 20 minutes", got)
			}
			v := c.View()
			if len(v.Jobs) != api.KeepJobs || v.Jobs[0].State != api.JobSucceeded || !v.Jobs[1].Due.Equal(v.Jobs[0].Due.Add(time.Minute)) {
				t.Errorf("now:\n%s", v)
			}
			for _, away := range []time.Duration{20 * time.Second, 30 * time.Minute} {
				c.KillControl(c.Controls[0])
				before := n.of("print tick exit 0")
				c.Run(away)
				c.StartControl("s1")
				c.Run(time.Second)
				if more := n.of("print tick exit 0") - before; more > 1 {
					t.Errorf("after %s without a control plane it ran %d times", away, more)
				}
			}
			_, d := c.Deploy(web("2", 1))
			c.Done(d, time.Minute)
			before := n.of("print tick exit 0")
			c.Run(10 * time.Minute)
			if n.of("print tick exit 0") != before {
				t.Error("a schedule of an old release runs on")
			}
			c.Settled()
		})
	})
	t.Run("every so long", func(t *testing.T) { // goes by the run before, whatever else has ikada look
		synctest.Test(t, func(t *testing.T) {
			c := good(t, spec("1", api.CronSpec{Command: tick, Schedule: "@every 1h"}), "n1")
			n := count(c)
			c.Run(50 * time.Minute)
			c.KillControl(c.Controls[0])
			c.StartControl("s1")
			c.Run(5 * time.Minute)
			_, d := c.Deploy(spec("2", api.CronSpec{Command: tick, Schedule: "@every 1h"}))
			c.Done(d, time.Minute)
			c.Run(6 * time.Minute)
			if got := n.of("print tick exit 0"); got != 1 {
				t.Errorf("it ran %d times in an hour", got)
			}
			c.Run(time.Hour)
			if got := n.of("print tick exit 0"); got != 2 {
				t.Errorf("it ran %d times in two hours", got)
			}
			if c.View().HasEvent("job.missed", "") {
				t.Error("a run was missed")
			}
		})
	})
	t.Run("missed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := good(t, spec("1", api.CronSpec{Command: tick, Schedule: "0 */6 * * *", Missed: api.MissedOnce}), "n1")
			n := count(c)
			c.KillControl(c.Controls[0])
			c.Run(27 * time.Hour)
			c.StartControl("s1")
			c.Run(time.Minute)
			if got := n.of("print tick exit 0"); got != 1 {
				t.Errorf("what was missed four times ran %d times", got)
			}
			c.Change(func(e *api.Environment) { e.Stopped = true })
			c.Run(24 * time.Hour)
			c.Change(func(e *api.Environment) { e.Stopped = false })
			c.Run(time.Minute)
			if got := n.of("print tick exit 0"); got != 1 {
				t.Errorf("what was suspended ran: %d times in all", got)
			}
		})
	})
	for policy, want := range map[string]int{api.CronForbid: 5, api.CronAllow: 10, api.CronReplace: 10} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				long := api.Command{Command: []string{"wait", "90s", "exit", "0"}}
				c := good(t, spec("1", api.CronSpec{Command: long, Concurrency: policy}), "n1")
				n := count(c)
				most := 0
				for range 600 {
					c.Run(time.Second)
					live := 0
					for _, task := range c.View().Tasks {
						if task.Job != nil && !task.Status.State.Final() {
							live++
						}
					}
					most = max(most, live)
				}
				if got := n.of("wait 90s exit 0"); got != want {
					t.Errorf("it began %d times in ten minutes, want %d", got, want)
				}
				if most != map[string]int{api.CronForbid: 1, api.CronAllow: 2, api.CronReplace: 1}[policy] {
					t.Errorf("%d ran at once", most)
				}
				if skipped := c.View().HasEvent("job.skipped", "was not over"); skipped != (policy == api.CronForbid) {
					t.Errorf("an event tells of skipped runs: %t", skipped)
				}
			})
		})
	}
}
