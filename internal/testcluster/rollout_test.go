package testcluster

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
)

// web is an app of one routed service whose tasks pass their check at once.
func web(version string, replicas int, change ...func(s *api.ServiceSpec)) api.AppSpec {
	return api.AppSpec{Services: map[string]api.ServiceSpec{"web": service(version, replicas, change...)}}
}

func service(version string, replicas int, change ...func(s *api.ServiceSpec)) api.ServiceSpec {
	s := api.ServiceSpec{
		Image: "ikada.local/app@sha256:" + strings.Repeat(version, 64)[:64], Replicas: replicas,
		Ports:  []api.PortSpec{{Published: 18080, Target: 8080}},
		Health: &api.HealthSpec{Command: []string{"exit", "0"}, Interval: api.Duration(time.Second), Timeout: api.Duration(time.Second)},
	}
	s.Update.Warm = new(api.Duration) // what is replaced is stopped, unless a test says otherwise
	for _, f := range change {
		f(&s)
	}
	return s
}

func runs(args ...string) func(*api.ServiceSpec) {
	return func(s *api.ServiceSpec) { s.Command = args }
}

// good starts a cluster and brings a first release to success.
func good(t *testing.T, spec api.AppSpec, nodes ...string) *Cluster {
	t.Helper()
	c := New(t, nodes...)
	_, d := c.Deploy(spec)
	if got := c.Done(d, time.Minute); got.State != api.DeploySucceeded {
		t.Fatalf("first deployment %s: %s", got.State, got.Reason)
	}
	return c
}

func TestRollingUpdate(t *testing.T) {
	for _, order := range []string{api.StartFirst, api.StopFirst} {
		for _, pace := range []int{1, 2, 0} {
			for _, slow := range []time.Duration{0, 700 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s/%d/%s", order, pace, slow), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						change := func(s *api.ServiceSpec) { s.Update.Order, s.Update.Parallelism = order, pace }
						c := good(t, web("1", 4, change), "n1", "n2", "n3")
						c.Nodes[1].Balancer.SetDelay(slow)
						surge := pace
						if pace == 0 {
							surge = 4
						}
						if order == api.StopFirst {
							c.Bound("web", 4-surge, 4)
						} else {
							c.Bound("web", 4, 4+surge)
						}
						release, d := c.Deploy(web("2", 4, change))
						if got := c.Done(d, 5*time.Minute); got.State != api.DeploySucceeded {
							t.Fatalf("%s: %s", got.State, got.Reason)
						}
						c.Run(time.Second)
						if v := c.View(); len(v.Ready("web", release)) != 4 || len(v.Live()) != 4 {
							t.Errorf("now:\n%s", v)
						}
						c.Settled()
					})
				})
			}
		}
	}
}

func TestDrainWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drain := func(s *api.ServiceSpec) { s.Drain = api.Duration(20 * time.Second) }
		c := good(t, web("1", 2, drain), "n1", "n2")
		old := c.View().Ready("web", 1)
		c.Nodes[0].Balancer.SetInFlight(old[0].ID, 3) // ends in time
		c.Nodes[1].Balancer.SetInFlight(old[1].ID, 1) // never ends
		_, d := c.Deploy(web("2", 2, drain))
		c.Until("draining", time.Minute, func(v View) bool {
			return v.Task(old[0].ID).State() == api.TaskDraining && v.Task(old[1].ID).State() == api.TaskDraining
		})
		began := time.Now()
		c.Run(5 * time.Second)
		c.Nodes[0].Balancer.SetInFlight(old[0].ID, 0)
		c.Until("the idle one stops at once", time.Second, func(v View) bool { return v.Task(old[0].ID).State() == api.TaskStopped })
		c.Until("the busy one stops", time.Minute, func(v View) bool { return v.Task(old[1].ID).State() == api.TaskStopped })
		if took := time.Since(began); took < 19*time.Second || took > 21*time.Second {
			t.Errorf("the busy task was stopped after %s, its deadline is 20s", took)
		}
		if got := c.Done(d, time.Minute); got.State != api.DeploySucceeded {
			t.Errorf("%s: %s", got.State, got.Reason)
		}
		if why := c.View().Task(old[1].ID).Reason; !strings.Contains(why, "requests were still in flight after 20s") {
			t.Errorf("reason %q", why)
		}
		c.Run(time.Second)
		c.Settled()
	})
}

// A task that left, was kept warm and served again leaves a second time: what balancers said the first time stops it no
// sooner than their requests have ended, and it stops as soon as they have.
func TestLeavesASecondTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		warm := func(s *api.ServiceSpec) {
			s.Update.Warm = nil
			s.Drain = api.Duration(20 * time.Second)
		}
		c := good(t, web("1", 1, warm), "n1", "n2")
		old := c.View().Ready("web", 1)[0].ID
		_, d := c.Deploy(web("2", 1, warm))
		if got := c.Done(d, time.Minute); got.State != api.DeploySucceeded {
			t.Fatalf("%s: %s", got.State, got.Reason)
		}
		if got := c.Done(c.Rollback(1), time.Minute); got.State != api.DeploySucceeded || !c.Nodes[0].Balancer.Picks(old) {
			t.Fatalf("%s: %s\n%s", got.State, got.Reason, c.View())
		}
		c.Nodes[1].Balancer.SetInFlight(old, 1)
		if _, d = c.Deploy(web("3", 1, warm)); c.Done(d, time.Minute).State != api.DeploySucceeded {
			t.Fatalf("the third release did not get up\n%s", c.View())
		}
		c.Deploy(web("4", 1, warm)) // one release stays warm
		c.Until("it leaves again", time.Minute, func(v View) bool { return v.Task(old).State() == api.TaskDraining })
		if left := c.View().Task(old).Left; left != 2 {
			t.Errorf("it has left %d times", left)
		}
		c.Run(5 * time.Second)
		if state := c.View().Task(old).State(); state != api.TaskDraining {
			t.Errorf("it is %s while a request is in flight", state)
		}
		c.Nodes[1].Balancer.SetInFlight(old, 0)
		c.Until("it stops at once", time.Second, func(v View) bool { return v.Task(old).State() == api.TaskStopped })
	})
}

func TestFailingReleaseIsTakenBack(t *testing.T) {
	sick := func(s *api.ServiceSpec) {
		s.Health = &api.HealthSpec{Command: []string{"printerr", "no database", "exit", "3"}, Interval: api.Duration(time.Second),
			Retries: 2, StartPeriod: api.Duration(4 * time.Second)}
	}
	cases := map[string]struct {
		change func(*api.ServiceSpec)
		why    string
	}{
		"crash at start": {runs("print", "boom", "exit", "7"), `exited with code 7 after 0s; its last output: "boom"`},
		"crash later":    {runs("wait", "3s", "exit", "9"), "exited with code 9 after 3s"},
		"never ready":    {sick, `not ready after 6s: check command: exit code 3: "no database"`},
		"no volume": {func(s *api.ServiceSpec) {
			s.Mounts = []api.Mount{{Type: api.MountBind, Source: "/nonexistent/x", Target: "/x"}}
		}, "mount /x: bind source /nonexistent/x does not exist on this node"},
		"no node": {func(s *api.ServiceSpec) { s.Resources.ReserveMemory = 1 << 40 }, "no node fits: 1 lacking memory (1048576 MiB wanted)"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := good(t, web("1", 2), "n1")
				c.Bound("web", 2, 4)
				if name == "crash later" {
					c.Bound("web", 0, 4)
				}
				_, d := c.Deploy(web("2", 2, tc.change))
				got := c.Done(d, 5*time.Minute)
				if got.State != api.DeployRolledBack || !strings.Contains(got.Reason, tc.why) {
					t.Fatalf("%s: %s", got.State, got.Reason)
				}
				c.Run(time.Second)
				if v := c.View(); len(v.Ready("web", 1)) != 2 || v.Env.Release != 1 || len(v.Live()) != 2 {
					t.Errorf("now:\n%s", v)
				}
				c.Settled()
			})
		})
	}
}

func TestImageThatCannotBePulled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 2), "n1")
		c.Bound("web", 2, 4)
		c.Nodes[0].SetPull(func(ref string) error {
			return api.Errorf(api.Unauthorized, "registry.example.com wants a login")
		})
		_, d := c.Deploy(web("2", 2))
		got := c.Done(d, time.Minute)
		if got.State != api.DeployRolledBack || !strings.Contains(got.Reason, "registry.example.com wants a login") {
			t.Errorf("%s: %s", got.State, got.Reason)
		}
	})
}

func TestFirstReleaseThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, "n1")
		_, d := c.Deploy(web("1", 1, runs("exit", "1")))
		got := c.Done(d, 5*time.Minute)
		if got.State != api.DeployFailed || !strings.Contains(got.Reason, "exited with code 1") || !strings.Contains(got.Reason, "5 times") {
			t.Errorf("%s: %s", got.State, got.Reason)
		}
		c.Run(time.Second)
		if v := c.View(); len(v.Live()) != 0 {
			t.Errorf("now:\n%s", v)
		}
		c.Settled()
	})
}

func TestRollbackToAKeptRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 3), "n1", "n2")
		_, d := c.Deploy(web("2", 3))
		c.Done(d, time.Minute)
		c.Bound("web", 3, 6)
		if got := c.Done(c.Rollback(1), time.Minute); got.State != api.DeploySucceeded {
			t.Fatalf("%s: %s", got.State, got.Reason)
		}
		if v := c.View(); v.Env.Release != 1 || len(v.Ready("web", 1)) != 3 {
			t.Errorf("now:\n%s", v)
		}
	})
}
