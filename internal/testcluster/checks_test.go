package testcluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/plan/deploy"
	runtimefake "github.com/ikada/ikada/internal/runtime/fake"
	"github.com/ikada/ikada/internal/store"
)

// checked gives a service checks of its user's own.
func checked(list ...api.ReleaseCheck) func(*api.ServiceSpec) {
	return func(s *api.ServiceSpec) { s.Checks = list }
}

// smoke is a check's command that ends when the test says so.
func smoke(change ...func(c *api.ReleaseCheck)) api.ReleaseCheck {
	c := api.ReleaseCheck{Name: "smoke", Command: []string{"wait", "1h"}, Interval: api.Duration(2 * time.Second), Timeout: api.Duration(time.Minute), Failures: 2}
	for _, f := range change {
		f(&c)
	}
	return c
}

func required(c *api.ReleaseCheck) { c.Required = true }

// asked are the runs of checks' commands of one release; those of all others succeed at once.
type asked struct {
	c       *Cluster
	release uint64
	seen    map[string]bool
}

// next waits for another run.
func (a *asked) next() *api.Job {
	a.c.t.Helper()
	var found *api.Job
	a.c.Until(fmt.Sprintf("a check of release %d runs, and of no other", a.release), time.Minute, func(v View) bool {
		others := false
		for _, j := range v.Jobs {
			switch {
			case j.Kind != api.JobCheck || j.State.Final():
			case j.Release != a.release:
				others = true
				a.c.Nodes[0].Runtime.Exit(j.ID, 0)
			case j.State == api.JobRunning && !a.seen[j.ID]:
				found = j
			}
		}
		return found != nil && !others
	})
	a.seen[found.ID] = true
	return found
}

// watchDoubles has the test fail where a container of a check's command is made beside another of the same release; it
// gives how many were made.
func watchDoubles(t *testing.T, n *Node, release uint64) (made func() int) {
	var mu sync.Mutex
	var ids []string
	n.Runtime.SetFaults(runtimefake.Faults{Create: func(c agent.Container) error {
		if !slices.Equal(c.Spec.Command, smoke().Command) || !slices.ContainsFunc(n.checkJobs(release), func(j *api.Job) bool { return j.ID == c.ID }) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		running := n.Running()
		for _, id := range ids {
			if id == c.ID || slices.Contains(running, id) {
				t.Errorf("the command is begun while run %s goes on", id)
			}
		}
		ids = append(ids, c.ID)
		return nil
	}})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(ids)
	}
}

// checkJobs gives the runs of checks' commands of a release.
func (n *Node) checkJobs(release uint64) []*api.Job {
	return slices.DeleteFunc(n.c.View().Jobs, func(j *api.Job) bool { return j.Kind != api.JobCheck || j.Release != release })
}

// restart kills the control plane and the node's agent, as kill -9 of ikada does, and starts them again some time later, the
// agent last.
func (c *Cluster) restart(away time.Duration, meanwhile func()) {
	c.KillControl(c.Controls[0])
	c.Nodes[0].Kill()
	c.Run(5 * time.Second)
	if meanwhile != nil {
		meanwhile()
	}
	c.Run(away)
	c.StartControl("s1")
	c.Run(time.Second)
	c.Nodes[0].Start()
}

// TestCheckCommandOutlivesIkada kills ikada while a check's command runs, each time that it does: the command goes on, runs
// once, and counts as what it was, also where it ended while nobody looked.
func TestCheckCommandOutlivesIkada(t *testing.T) {
	for name, tc := range map[string]struct {
		code  int
		away  time.Duration
		while bool // it ends while ikada is away
		never bool // it does not end by itself
	}{
		"fails afterwards":                  {code: 3, away: 2 * time.Second},
		"fails meanwhile":                   {code: 3, away: 2 * time.Second, while: true},
		"fails in time, which is over then": {code: 3, away: 2 * time.Minute, while: true},
		"never ends":                        {away: 2 * time.Minute, never: true},
		"passes afterwards":                 {away: 2 * time.Second},
		"passes meanwhile":                  {away: 2 * time.Second, while: true},
		"passes in time, which is over":     {away: 2 * time.Minute, while: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := good(t, web("1", 1), "n1")
				node := c.Nodes[0]
				made := watchDoubles(t, node, 2)
				_, d := c.Deploy(web("2", 1, checked(smoke(required))))
				runs := asked{c: c, release: 2, seen: map[string]bool{}}
				fails := tc.code != 0 || tc.never
				for i := 0; i < 2 && (fails || i == 0); i++ {
					j := runs.next()
					c.restart(tc.away, func() {
						if !slices.Contains(node.Running(), j.ID) {
							t.Error("the command was stopped with ikada")
						}
						if tc.while {
							node.Runtime.Exit(j.ID, tc.code)
						}
					})
					c.Run(2 * time.Second)
					if !tc.while && !tc.never {
						node.Runtime.Exit(j.ID, tc.code)
					}
				}
				got := c.Done(d, 3*time.Minute)
				if len(got.Checks) != 1 {
					t.Fatalf("checks %+v", got.Checks)
				}
				r := got.Checks[0]
				switch {
				case !fails && (got.State != api.DeploySucceeded || r.Passed != 1 || r.Failed+r.Unknown+r.InRow > 0):
					t.Errorf("%s: %s: %+v", got.State, got.Reason, r)
				case fails && (got.State != api.DeployRolledBack || r.Failed != 2 || r.InRow != 2 || r.Passed+r.Unknown > 0 ||
					!strings.Contains(got.Reason, "twice in a row")):
					t.Errorf("%s: %s: %+v", got.State, got.Reason, r)
				case tc.never && !strings.Contains(got.Reason, "not over after 1m0s"), tc.code == 3 && !strings.Contains(got.Reason, "exited with code 3"):
					t.Errorf("the reason is %q", got.Reason)
				}
				n, counted := made(), r.Passed+r.Failed
				if !fails && n == counted+1 {
					n-- // it is asked on
				}
				if n != counted {
					t.Errorf("the command was begun %d times, %d count", n, counted)
				}
				if !fails {
					return
				}
				c.Run(30 * time.Second)
				for _, j := range node.checkJobs(2) {
					if !j.State.Final() || slices.Contains(node.Running(), j.ID) {
						t.Errorf("a command is left of the release that was taken back: %s is %s", j.ID, j.State)
					}
				}
				c.Settled()
			})
		})
	}
}

// TestCheckCommandIsLeftToNobody ends a deployment, and an environment, while ikada is away and a check's command runs: it
// is stopped with what it was asked for.
func TestCheckCommandIsLeftToNobody(t *testing.T) {
	for name, end := range map[string]func(c *Cluster, d uint64){
		"taken back": func(c *Cluster, _ uint64) {
			for _, task := range c.View().Ready("web", 2) {
				c.Nodes[0].Runtime.Exit(task.ID, 1)
			}
		},
		"taken down": func(c *Cluster, d uint64) {
			c.Change(func(e *api.Environment) { e.Stopped = true })
			c.Update(func(tx store.Tx) error {
				got, err := store.Get[api.Deployment](tx, store.DeploymentKey(Env, d))
				if err != nil {
					return err
				}
				got.Cancel, got.Reason = true, "cancelled: the environment was taken down by ann"
				return store.Put(tx, store.DeploymentKey(Env, d), got)
			})
		},
		"destroyed": func(c *Cluster, _ uint64) { c.Change(func(e *api.Environment) { e.Destroying = true }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := good(t, web("1", 1), "n1")
				_, d := c.Deploy(web("2", 1, checked(smoke(required)), func(s *api.ServiceSpec) { s.Update.Monitor = api.Duration(time.Hour) }))
				runs := asked{c: c, release: 2, seen: map[string]bool{}}
				j := runs.next()
				c.restart(time.Second, func() { end(c, d) })
				c.Until("the command is stopped", time.Minute, func(View) bool { return !slices.Contains(c.Nodes[0].Running(), j.ID) })
				c.Run(30 * time.Second)
				for _, j := range c.View().Jobs {
					if !j.State.Final() {
						t.Errorf("%s is %s", j.Title(), j.State)
					}
				}
				c.Settled()
			})
		})
	}
}

// TestRestingTrialCountsNothing has a deployment come, and fail, while the release before it is on trial and a check's command
// of that runs. The command is stopped, which says nothing of the release, and is run again once its trial goes on.
func TestRestingTrialCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := good(t, web("1", 1), "n1")
		n := c.Nodes[0]
		_, d := c.Deploy(web("2", 1, checked(smoke(func(c *api.ReleaseCheck) { c.OnError, c.Failures = api.OnErrorFail, 1 }))))
		ask := asked{c: c, release: 2, seen: map[string]bool{}}
		first := ask.next()
		if got := c.Done(d, time.Minute); got.State != api.DeploySucceeded || got.Trial != api.TrialOn {
			t.Fatalf("%s, %s: %s", got.State, got.Trial, got.Reason)
		}
		_, other := c.Deploy(web("3", 1, runs("exit", "1")))
		if got := c.Done(other, 5*time.Minute); got.State != api.DeployRolledBack {
			t.Fatalf("%s: %s", got.State, got.Reason)
		}
		second := ask.next()
		v := c.View()
		if slices.Contains(n.Running(), first.ID) {
			t.Error("the command went on while nobody judged its release")
		}
		if now := v.Deployment(d); now.Trial != api.TrialOn || len(now.Checks) != 1 || now.Checks[0].Unknown+now.Checks[0].Failed+now.Checks[0].Passed > 0 {
			t.Errorf("%s, %s: %s: %+v", now.State, now.Trial, now.Reason, now.Checks)
		}
		n.Runtime.Exit(second.ID, 3)
		c.Until("it is taken back", time.Minute, func(v View) bool { return v.Env.Release == 1 })
		if now := c.View().Deployment(d); now.Trial != api.TrialFailed || now.Checks[0].Failed != 1 || now.Checks[0].Unknown > 0 {
			t.Errorf("%s, %s: %s: %+v", now.State, now.Trial, now.Reason, now.Checks)
		}
	})
}

// TestChecksCountOnce kills the control plane at any moment of a deployment whose checks fail, between two questions, during
// one, and when the store's answers are lost: each answer counts once, none is asked too soon or twice at a time, and the
// release is taken back when it should be.
func TestChecksCountOnce(t *testing.T) {
	const interval, takes = 2 * time.Second, 700 * time.Millisecond
	for after := range 16 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := good(t, web("1", 2), "n1")
				var mu sync.Mutex
				var last time.Time // an answered question began
				begun, answered, at := 0, 0, 0
				c.SetAnswers(func(ctx context.Context, q deploy.Question) deploy.Answer {
					if q.Release != 2 {
						return deploy.Answer{Result: api.VerdictPass, Reason: "fine"}
					}
					mu.Lock()
					now := time.Now()
					if begun++; !last.IsZero() && now.Sub(last) < interval {
						t.Errorf("it is asked again after %s", now.Sub(last))
					}
					if at++; at > 1 {
						t.Errorf("%d questions are under way", at)
					}
					mu.Unlock()
					timer := time.NewTimer(takes)
					defer timer.Stop()
					select {
					case <-timer.C:
					case <-ctx.Done():
					}
					mu.Lock()
					defer mu.Unlock()
					at--
					if ctx.Err() != nil {
						return deploy.Answer{Result: api.VerdictInsufficient, Reason: "not asked to the end"}
					}
					last = now
					answered++
					return deploy.Answer{Result: api.VerdictFail, Reason: "status 500"}
				})
				k := c.Controls[0]
				_, d := c.Deploy(web("2", 2, checked(api.ReleaseCheck{Name: "page", HTTP: &api.HTTPCheck{Path: "/"}, Interval: api.Duration(interval), Required: true})))
				c.Run(time.Duration(after) * 400 * time.Millisecond)
				k.Link.Lose(func() bool { return after%3 == 0 })
				c.Run(100 * time.Millisecond)
				c.KillControl(k)
				c.Run(time.Duration(after%4) * time.Second)
				c.StartControl("s1")
				got := c.Done(d, 2*time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if got.State != api.DeployRolledBack || !strings.Contains(got.Reason, "status 500 three times in a row") || len(got.Checks) != 1 {
					t.Fatalf("%s: %s: %+v", got.State, got.Reason, got.Checks)
				}
				r := got.Checks[0]
				if r.Failed != 3 || r.InRow != 3 || r.Passed+r.Unknown > 0 || answered < 3 || answered > 4 || begun > 4 {
					t.Errorf("%d questions begun, %d answered: %+v", begun, answered, r)
				}
			})
		})
	}
}
