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
		release, d := c.Deploy(web("2", 2, migrates(0, "print", "migrating", "wait", "20m", "exit", "0")))
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
		release, d = c.Deploy(web("3", 2, migrates(0, "wait", "5s", "exit", "0")))
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
			got.Cancel, got.Reason = true, "ann"
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
