package testcluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

func TestCrashesHealWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 2), "n1")
		c.Run(10 * time.Second)
		for i, pause := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second} {
			last := slot(c.View(), 1)
			at := time.Now()
			c.Nodes[0].Runtime.Exit(last.ID, 40+i)
			v := c.Until("replaced", time.Minute, func(v View) bool {
				next := slot(v, 1)
				return next != nil && next.ID != last.ID
			})
			if took := time.Since(at); took < pause || took > pause+4*tick {
				t.Errorf("crash %d was healed after %s, not %s", i+1, took, pause)
			}
			if st := v.Task(last.ID).Status; st.Cause != api.CauseExit || st.ExitCode == nil || *st.ExitCode != 40+i {
				t.Errorf("status of the crashed task is %+v", st)
			}
		}
		if v := c.View(); !v.HasEvent("task.failed", "web.1 failed: exited with code 43 after ") {
			t.Errorf("no event tells of the crash")
		}
		// A task that ran for longer than the window begins a new row.
		c.Run(2 * time.Minute)
		last := slot(c.View(), 1)
		c.Nodes[0].Runtime.Exit(last.ID, 1)
		c.Until("replaced at once", 4*tick, func(v View) bool { return slot(v, 1) != nil && slot(v, 1).ID != last.ID })
		c.Run(time.Second)
		c.Settled()
	})
}

// slot gives the serving task of a slot of web; nil when there is none.
func slot(v View, n int) *api.TaskView {
	for _, t := range v.Ready("web", 0) {
		if t.Slot == n {
			return &t
		}
	}
	return nil
}

func TestOutOfMemoryIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 1, func(s *api.ServiceSpec) { s.Resources.MemoryBytes = 64 << 20 }), "n1")
		c.Run(10 * time.Second)
		id := slot(c.View(), 1).ID
		c.Nodes[0].Runtime.OOM(id)
		c.Run(time.Second)
		st := c.View().Task(id).Status
		if st.Cause != api.CauseOOM || !strings.HasPrefix(st.Message, "killed for memory: its limit is 64 MiB after ") {
			t.Errorf("status is %+v", st)
		}
	})
}

// TestAilingServiceBlocksNobody deploys beside a service whose tasks exit after three seconds, again and again, and kills the
// control plane at different moments of it.
func TestAilingServiceBlocksNobody(t *testing.T) {
	for after := range 8 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := func(version string, monitor time.Duration) api.AppSpec {
					spec := web(version, 2)
					spec.Services["worker"] = service("1", 1, runs("wait", "3s", "exit", "1"), func(s *api.ServiceSpec) {
						s.Ports, s.Health, s.Update.Monitor = nil, nil, api.Duration(monitor)
					})
					return spec
				}
				c := good(t, app("1", time.Second), "n1", "n2")
				c.Run(time.Duration(10+after) * time.Second)
				next := app("2", 10*time.Second) // its next crash would come while it is watched
				plan := c.rehearse(next, nil).Rehearsal
				if plan.State != api.DeploySucceeded || !slices.ContainsFunc(plan.Steps, func(s api.PlanStep) bool { return s.Type == "deployment.ailing" && s.Service == "worker" }) {
					t.Errorf("foretold: %s (%s), %+v", plan.State, plan.Reason, plan.Steps)
				}
				release, d := c.Deploy(next)
				c.Run(time.Duration(after) * 200 * time.Millisecond)
				c.KillControl(c.Controls[0])
				c.Run(time.Duration(after) * 500 * time.Millisecond)
				c.StartControl("s1")
				got := c.Done(d, 5*time.Minute)
				if got.State != api.DeploySucceeded || !strings.HasPrefix(got.Ailment("worker"), "exited with code 1 after 3s (") {
					t.Fatalf("%s: %s, ailing %v", got.State, got.Reason, got.Ailing)
				}
				if v := c.View(); len(v.Ready("web", release)) != 2 || !v.HasEvent("deployment.ailing", "worker was failing before this deployment began and is left as it is: exited") {
					t.Errorf("now:\n%s", v)
				}
				attempt := func(v View) int {
					of := v.Of("worker")
					return of[len(of)-1].Attempt
				}
				before := attempt(c.View())
				c.Until("worker is started again", 3*time.Minute, func(v View) bool { return attempt(v) > before && len(v.Ready("worker", 0)) == 1 })
				c.Settled()
			})
		})
	}
}

func TestUnhealthyIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 2), "n1", "n2")
		c.Run(10 * time.Second)
		bad := slot(c.View(), 2)
		c.Node(bad.Node).SetSick(bad.ID, true)
		v := c.Until("replaced", time.Minute, func(v View) bool {
			return v.Task(bad.ID).State() == api.TaskStopped && len(v.Ready("web", 0)) == 2
		})
		got := v.Task(bad.ID)
		if got.Fault != api.CauseUnhealthy || got.Reason != `unhealthy: check command failed 3 times: exit code 1: "not well"` {
			t.Errorf("task is %+v", got)
		}
		if !v.HasEvent("task.unhealthy", "web.2: unhealthy: check command failed 3 times") {
			t.Error("no event tells of it")
		}
		c.Run(time.Second)
		c.Settled()
	})
}

func TestJobsAndDependencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, "n1", "n2")
		job := api.ServiceSpec{Image: "ikada.local/migrate@sha256:1", Replicas: 1, Command: []string{"wait", "3s", "exit", "0"},
			Restart: api.RestartPolicy{Condition: api.RestartNone}}
		spec := web("1", 2, func(s *api.ServiceSpec) {
			s.DependsOn = []api.Dependency{{Service: "migrate", Condition: api.DependCompleted}}
		})
		spec.Services["migrate"] = job
		_, d := c.Deploy(spec)
		c.Run(2 * time.Second)
		if v := c.View(); len(v.Of("web")) != 0 || v.Deployment(d).State != api.DeployRunning {
			t.Errorf("web did not wait; now:\n%s", v)
		}
		if got := c.Done(d, time.Minute); got.State != api.DeploySucceeded {
			t.Fatalf("%s: %s", got.State, got.Reason)
		}
		v := c.View()
		m := v.Of("migrate")
		if len(m) != 1 || m[0].Status.State != api.TaskStopped || m[0].Status.Message != "completed" || *m[0].Status.ExitCode != 0 {
			t.Errorf("now:\n%s", v)
		}
		c.Run(5 * time.Minute) // it is not run again
		if n := len(c.View().Of("migrate")); n != 1 {
			t.Errorf("the job ran %d times", n)
		}
		// The next release's job fails: web stays as it is.
		job.Command = []string{"printerr", "no such column", "exit", "4"}
		next := web("2", 2, func(s *api.ServiceSpec) {
			s.DependsOn = []api.Dependency{{Service: "migrate", Condition: api.DependCompleted}}
		})
		next.Services["migrate"] = job
		_, d = c.Deploy(next)
		if got := c.Done(d, time.Minute); got.State != api.DeployRolledBack || !strings.Contains(got.Reason, `exited with code 4 after 0s; its last output: "no such column"`) {
			t.Errorf("%s: %s", got.State, got.Reason)
		}
		if v := c.View(); len(v.Ready("web", 1)) != 2 || len(v.Of("web")) != 2 {
			t.Errorf("now:\n%s", v)
		}
		c.Settled()
	})
}

func TestScaleDownAndUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 2), "n1", "n2")
		scale := func(n int) {
			t.Helper()
			c.Change(func(e *api.Environment) { e.Scale = map[string]int{"web": n} })
			c.Until("scaled", time.Minute, func(v View) bool { return len(v.Ready("web", 0)) == n && len(v.Live()) == n })
		}
		scale(5)
		on := map[string]int{}
		for _, v := range c.View().Live() {
			on[v.Node]++
		}
		if on["n1"] < 2 || on["n2"] < 2 {
			t.Errorf("tasks by node: %v", on)
		}
		c.Bound("web", 1, 5)
		scale(1)
		c.Bound("web", 0, 5)
		c.Change(func(e *api.Environment) { e.Stopped = true })
		c.Until("down", time.Minute, func(v View) bool { return len(v.Live()) == 0 })
		c.Settled()
		c.Change(func(e *api.Environment) { e.Stopped = false })
		c.Until("up", time.Minute, func(v View) bool { return len(v.Ready("web", 0)) == 1 })
	})
}

func TestDestroyDropsVolumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := func(s *api.ServiceSpec) {
			s.Mounts = []api.Mount{{Type: api.MountVolume, Source: "data", Target: "/data"}, {Type: api.MountVolume, Source: "theirs", Target: "/theirs"}}
		}
		spec := func() api.AppSpec {
			a := web("1", 1, data)
			a.Volumes = map[string]api.VolumeSpec{"data": {}, "theirs": {Name: "theirs", External: true}}
			return a
		}
		c := New(t, "n1")
		n := c.Nodes[0]
		volumes := filepath.Join(n.Dir, "volumes")
		theirs, ours := filepath.Join(volumes, "theirs", "x"), filepath.Join(volumes, "shop_production_data", "x")
		deploy := func() {
			t.Helper()
			_, d := c.Deploy(spec())
			if got := c.Done(d, time.Minute); got.State != api.DeploySucceeded {
				t.Fatalf("%s: %s", got.State, got.Reason)
			}
		}
		destroy := func(drop bool) {
			t.Helper()
			c.Change(func(e *api.Environment) { e.Destroying, e.DropVolumes = true, drop })
			c.Until("destroyed", time.Minute, func(v View) bool { return v.Env == nil })
			c.Run(time.Second)
		}
		write := func(path string) {
			t.Helper()
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		there := func(path string) bool {
			_, err := os.Stat(path)
			return err == nil
		}
		write(theirs)
		deploy()
		write(ours)
		destroy(false)
		if !there(ours) {
			t.Error("destroy without volumes removed one")
		}
		deploy()
		n.Lose() // the node hears of it only when the environment is there again
		c.AllowDoubt()
		c.Change(func(e *api.Environment) { e.Destroying, e.DropVolumes = true, true })
		c.Run(time.Minute)
		n.Find()
		c.Until("destroyed", time.Minute, func(v View) bool { return v.Env == nil })
		deploy()
		if there(ours) {
			t.Error("a destroyed environment's volume is in the new one")
		}
		write(ours)
		c.Run(time.Minute)
		if !there(ours) {
			t.Error("the new environment's volume was removed")
		}
		destroy(true)
		if there(ours) || there(filepath.Dir(ours)) || !there(theirs) {
			t.Errorf("ours is there: %t, theirs: %t", there(ours), there(theirs))
		}
		if left, _ := filepath.Glob(filepath.Join(volumes, ".*")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		c.Update(func(tx store.Tx) error {
			node, err := store.Get[api.Node](tx, store.NodeKey("n1"))
			if err == nil && len(node.Drop) > 0 {
				t.Errorf("the node is still to drop %v", node.Drop)
			}
			return err
		})
		c.Settled()
	})
}
