package testcluster

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// TestAgentKilledAtEveryStep kills the agent before and after everything that it does to the node and the control
// plane, in the middle of a rolling update, and starts another: nothing is orphaned, doubled or forgotten.
func TestAgentKilledAtEveryStep(t *testing.T) {
	for _, call := range []string{"pull", "attach", "create", "signal", "remove", "detach", "report"} {
		for _, when := range []string{"before", "after"} {
			for skip := range 3 {
				t.Run(fmt.Sprintf("%s %s/%d", when, call, skip), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { killAt(t, when+" "+call, skip) })
				})
			}
		}
	}
}

func killAt(t *testing.T, point string, skip int) {
	c := good(t, web("1", 2), "n1")
	n := c.Nodes[0]
	c.Run(10 * time.Second)
	c.Bound("web", 2, 4)
	hit := n.Trap(point, skip)
	release, d := c.Deploy(web("2", 2))
	c.Until(point, time.Minute, func(View) bool {
		select {
		case <-hit:
			return true
		default:
			done := c.View().Deployment(d).State.Final()
			return done && skip > 0 // there are fewer such calls
		}
	})
	n.Kill()
	c.Run(3 * time.Second)
	n.Start()
	if got := c.Done(d, 5*time.Minute); got.State != api.DeploySucceeded {
		t.Fatalf("%s: %s\n%s", got.State, got.Reason, c.View())
	}
	c.Run(5 * time.Second)
	v := c.View()
	if len(v.Ready("web", release)) != 2 || len(v.Live()) != 2 || len(v.Of("web")) != 4 {
		t.Errorf("now:\n%s", v)
	}
	for _, task := range v.Of("web") {
		st := task.Status
		if task.Release == 1 && (st.State != api.TaskStopped || st.ExitCode == nil || *st.ExitCode != 0) && !strings.Contains(point, "remove") {
			t.Errorf("task %s of the old release: %+v", task.ID, st)
		}
	}
	c.Settled()
}

func TestAgentRestartKeepsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 3), "n1")
		c.Bound("web", 3, 3)
		n := c.Nodes[0]
		before := n.Running()
		for _, away := range []time.Duration{0, 5 * time.Second} {
			n.Stop()
			c.Run(away)
			n.Start()
			c.Run(time.Minute)
		}
		n.CutSession()
		c.Run(time.Minute)
		if now := n.Running(); fmt.Sprint(now) != fmt.Sprint(before) {
			t.Errorf("running %v, before %v", now, before)
		}
		for _, v := range c.View().Live() {
			if v.Status.Address == "" {
				t.Errorf("task %s has no address", v.ID)
			}
		}
		c.Settled()
	})
}

func TestExitsWhileTheAgentIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 3), "n1")
		n := c.Nodes[0]
		c.Run(10 * time.Second)
		ids := n.Running()
		n.Kill()
		n.Runtime.Exit(ids[0], 17)
		n.Runtime.OOM(ids[1])
		if err := n.Runtime.Remove(context.Background(), ids[2]); err != nil { // the machine was restarted
			t.Fatal(err)
		}
		c.Run(2 * time.Second)
		n.Start()
		<-n.Settled()
		for _, id := range ids {
			if st := c.View().Task(id).Status; !st.State.Final() {
				t.Errorf("settled, and task %s is %s", id, st.State)
			}
		}
		v := c.Until("healed", time.Minute, func(v View) bool { return len(v.Ready("web", 0)) == 3 })
		if st := v.Task(ids[0]).Status; st.Cause != api.CauseExit || st.ExitCode == nil || *st.ExitCode != 17 {
			t.Errorf("the exited one: %+v", st)
		}
		if st := v.Task(ids[1]).Status; st.Cause != api.CauseOOM {
			t.Errorf("the killed one: %+v", st)
		}
		if st := v.Task(ids[2]).Status; st.Cause != api.CauseLost || st.Message != "its container was gone when ikada started: the node was shut down or restarted" {
			t.Errorf("the lost one: %+v", st)
		}
		c.Settled()
	})
}

func TestShutdownAndStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grace := func(s *api.ServiceSpec) {
			s.StopGrace, s.StopSignal = api.Duration(3*time.Second), "SIGQUIT" // which its program does not listen to
		}
		spec := web("1", 2)
		spec.Services["slow"] = service("1", 1, grace, func(s *api.ServiceSpec) { s.Ports = nil })
		c := good(t, spec, "n1")
		c.Run(10 * time.Second)
		n := c.Nodes[0]
		began := time.Now()
		n.Shutdown()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the shutdown took %s, the longest grace period is 3s", took)
		}
		if left := n.Running(); len(left) > 0 || len(n.Network.Endpoints()) > 0 {
			t.Errorf("left: containers %v, endpoints %v", left, n.Network.Endpoints())
		}
		for range 5 {
			n.Start()
			<-n.Settled()
			if v := c.View(); len(v.Ready("web", 1))+len(v.Ready("slow", 1)) > len(n.Running()) {
				t.Errorf("settled, and tasks are ready of which nothing runs: %+v", v.Tasks)
			}
			c.Until("back at once", time.Second, func(v View) bool { return len(v.Ready("web", 1)) == 2 && len(v.Ready("slow", 1)) == 1 })
			n.Shutdown()
		}
		n.Start()
		c.Run(time.Second)
		c.Settled()
		for _, v := range c.View().Live() {
			if v.Attempt != 0 {
				t.Errorf("a shutdown counts as a failure: %+v", v.Task)
			}
		}
	})
}

func TestControlKilledDuringDeployment(t *testing.T) {
	for after := range 12 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pace := func(s *api.ServiceSpec) { s.Update.Parallelism = 1 }
				c := good(t, web("1", 3, pace), "n1", "n2")
				c.Run(10 * time.Second)
				c.Bound("web", 3, 4)
				k := c.Controls[0]
				var commits atomic.Int32
				k.Link.Lose(func() bool { return commits.Add(1) > int32(3*after) })
				release, d := c.Deploy(web("2", 3, pace))
				c.Run(time.Duration(after) * 100 * time.Millisecond)
				c.KillControl(k)
				c.Run(time.Duration(after) * time.Second)
				c.StartControl("s1")
				if got := c.Done(d, 5*time.Minute); got.State != api.DeploySucceeded {
					t.Fatalf("%s: %s", got.State, got.Reason)
				}
				c.Run(5 * time.Second)
				if v := c.View(); len(v.Ready("web", release)) != 3 || len(v.Of("web")) != 6 {
					t.Errorf("now:\n%s", v)
				}
				c.Settled()
			})
		})
	}
}

func TestControlAwayForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 3), "n1", "n2")
		c.Run(10 * time.Second)
		c.Bound("web", 3, 3)
		c.KillControl(c.Controls[0])
		c.Run(10 * time.Minute)
		c.StartControl("s1")
		c.Run(time.Minute)
		if v := c.View(); len(v.Of("web")) != 3 {
			t.Errorf("tasks were replaced; now:\n%s", v)
		}
		c.Settled()
	})
}

func TestTwoLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 3), "n1", "n2")
		first := c.Controls[0]
		c.StartControl("s2")
		c.Run(time.Minute)
		c.Depose(first) // it goes on in the belief that it leads
		c.Run(time.Second)
		c.Bound("web", 3, 6)
		refused := first.Link.Refused()
		release, d := c.Deploy(web("2", 3))
		if got := c.Done(d, 5*time.Minute); got.State != api.DeploySucceeded {
			t.Fatalf("%s: %s", got.State, got.Reason)
		}
		c.Run(10 * time.Second)
		if first.Link.Refused() == refused {
			t.Error("the first never tried to write: the test shows nothing")
		}
		if v := c.View(); len(v.Ready("web", release)) != 3 || len(v.Of("web")) != 6 {
			t.Errorf("now:\n%s", v)
		}
		c.KillControl(first)
		c.Run(time.Minute)
		_, d = c.Deploy(web("3", 3))
		if got := c.Done(d, 5*time.Minute); got.State != api.DeploySucceeded {
			t.Errorf("%s: %s", got.State, got.Reason)
		}
		c.Settled()
	})
}

func TestStalePlans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 4), "n1")
		c.Run(10 * time.Second)
		// A user changes the number right before every plan is written, twenty times.
		var mu sync.Mutex
		n := 0
		c.Controls[0].Link.Fail(func() error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n <= 20 {
				_, err := c.Store.Update(context.Background(), func(tx store.Tx) error {
					e, err := store.Get[api.Environment](tx, store.EnvironmentKey(Env))
					if err != nil {
						return err
					}
					e.Scale = map[string]int{"web": 1 + n%5}
					return store.Put(tx, store.EnvironmentKey(Env), e)
				})
				return err
			}
			return nil
		})
		_, d := c.Deploy(web("2", 4))
		if got := c.Done(d, 5*time.Minute); got.State != api.DeploySucceeded {
			t.Fatalf("%s: %s", got.State, got.Reason)
		}
		c.Run(time.Minute)
		v := c.View()
		if want := v.Env.Scale["web"]; want != 1+20%5 || len(v.Ready("web", 2)) != want || len(v.Live()) != want {
			t.Errorf("scale is %v; now:\n%s", v.Env.Scale, v)
		}
		c.Settled()
	})
}

func TestNodeJoinsInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pace := func(s *api.ServiceSpec) { s.Update.Parallelism, s.Update.Delay = 1, api.Duration(2*time.Second) }
		c := good(t, web("1", 4, pace), "n1")
		c.Run(10 * time.Second)
		c.Bound("web", 4, 5)
		release, d := c.Deploy(web("2", 4, pace))
		c.Run(3 * time.Second)
		n := c.Join("n2")
		n.Runtime.AddImage(web("2", 1).Services["web"].Image)
		if got := c.Done(d, 5*time.Minute); got.State != api.DeploySucceeded {
			t.Fatalf("%s: %s", got.State, got.Reason)
		}
		c.Run(time.Second)
		on := map[string]int{}
		for _, v := range c.View().Ready("web", release) {
			on[v.Node]++
		}
		if on["n1"]+on["n2"] != 4 || on["n2"] == 0 {
			t.Errorf("tasks by node: %v", on)
		}
		c.Settled()
	})
}

func TestNodeLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := web("1", 4)
		spec.Services["db"] = service("1", 1, func(s *api.ServiceSpec) {
			s.Exclusive, s.Ports, s.Placement.Constraints = true, nil, []string{"node.name == n2"}
		})
		c := good(t, spec, "n1", "n2")
		c.Run(30 * time.Second)
		lost := c.Node("n2")
		had := lost.Running()
		c.AllowDoubt()
		lost.Lose()
		v := c.Until("placed anew", time.Minute, func(v View) bool { return len(v.Ready("web", 0)) == 4 && onlyOn(v.Ready("web", 0), "n1") })
		if db := v.Of("db"); len(db) != 1 || db[0].Desired != api.WantRunning {
			t.Errorf("what is exclusive was placed anew; now:\n%s", v)
		}
		c.Run(5 * time.Second)
		if !c.View().HasEvent("node.lost", "n2") {
			t.Error("no event tells of the node")
		}
		if now := lost.Running(); fmt.Sprint(now) != fmt.Sprint(had) {
			t.Errorf("a node that is alone stopped tasks: %v of %v run", now, had)
		}
		lost.Find()
		c.Until("the node is told", time.Minute, func(v View) bool { return len(v.Live()) == 5 })
		c.Run(time.Second)
		c.Settled()
		for _, v := range c.View().Live() {
			if v.Attempt != 0 {
				t.Errorf("the loss of a node counts as a failure: %+v", v.Task)
			}
		}
	})
}

// TestDeadBalancerHoldsNothingUp loses a node that only balances, before a deployment that would need its word: until its
// lease has run out the old tasks stay, then the deployment goes on without it.
func TestDeadBalancerHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here := func(s *api.ServiceSpec) { s.Placement.Constraints = []string{"node.name == n1"} }
		c := good(t, web("1", 3, here), "n1", "n2")
		c.Run(10 * time.Second)
		old := c.View().Ready("web", 0)
		c.AllowDoubt()
		c.Node("n2").Lose()
		release, d := c.Deploy(web("2", 3, here))
		c.Run(5 * time.Second)
		for _, task := range old {
			if now := c.View().Task(task.ID); now.State() != api.TaskReady {
				t.Errorf("%s is %s, though a balancer that may live has not let go of it", task.Name(), now.State())
			}
		}
		if got := c.Done(d, time.Minute); got.State != api.DeploySucceeded {
			t.Fatalf("%s: %s", got.State, got.Reason)
		}
		if v := c.View(); len(v.Ready("web", release)) != 3 {
			t.Errorf("now:\n%s", v)
		}
		c.Node("n2").Find()
		c.Run(time.Minute)
		c.Settled()
	})
}

func onlyOn(tasks []api.TaskView, node string) bool {
	for _, t := range tasks {
		if t.Node != node {
			return false
		}
	}
	return true
}

func TestReportIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 2), "n1")
		c.Run(10 * time.Second)
		id := slot(c.View(), 1).ID
		var down atomic.Bool
		down.Store(true)
		c.Controls[0].Link.Fail(func() error {
			if down.Load() {
				return api.Errorf(api.Unavailable, "the disk is slow")
			}
			return nil
		})
		c.Nodes[0].Runtime.Exit(id, 5)
		c.Run(5 * time.Second)
		if st := c.View().Task(id).Status; st.State != api.TaskReady {
			t.Fatalf("the store took %+v", st)
		}
		down.Store(false)
		c.Until("healed", 5*time.Second, func(v View) bool {
			return v.Task(id).State() == api.TaskFailed && len(v.Ready("web", 0)) == 2
		})
		c.Settled()
	})
}
