package testcluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// View is what the store holds.
type View struct {
	Env         *api.Environment
	Deployments []*api.Deployment
	Jobs        []*api.Job
	Tasks       []api.TaskView
	Events      []*api.Event
}

// View reads the store.
func (c *Cluster) View() View {
	c.t.Helper()
	var v View
	_, err := c.Store.View(context.Background(), func(tx store.Tx) (err error) {
		v = View{}
		if v.Env, err = store.Find[api.Environment](tx, store.EnvironmentKey(Env)); err != nil {
			return err
		}
		if v.Deployments, err = store.List[api.Deployment](tx, store.DeploymentsOf(Env)); err != nil {
			return err
		}
		if v.Jobs, err = store.List[api.Job](tx, store.JobsOf(Env)); err != nil {
			return err
		}
		if v.Events, err = store.List[api.Event](tx, store.Events); err != nil {
			return err
		}
		tasks, err := store.List[api.Task](tx, store.Tasks)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			st, err := store.Find[api.TaskStatus](tx, store.StatusKey(t.ID))
			if err != nil {
				return err
			}
			v.Tasks = append(v.Tasks, t.View(st))
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	slices.SortFunc(v.Jobs, func(a, b *api.Job) int { return a.CreatedAt.Compare(b.CreatedAt) })
	slices.SortFunc(v.Tasks, func(a, b api.TaskView) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return v
}

// Deployment gives a deployment by its number; nil when there is none.
func (v View) Deployment(number uint64) *api.Deployment {
	for _, d := range v.Deployments {
		if d.Number == number {
			return d
		}
	}
	return nil
}

// Of gives the tasks of a service, oldest first, without those of jobs.
func (v View) Of(service string) []api.TaskView {
	return slices.DeleteFunc(slices.Clone(v.Tasks), func(t api.TaskView) bool { return t.Service != service || t.Job != nil })
}

// Ready gives the tasks of a service that serve, of a release; 0 is any.
func (v View) Ready(service string, release uint64) []api.TaskView {
	return slices.DeleteFunc(v.Of(service), func(t api.TaskView) bool {
		return release != 0 && t.Release != release || !serves(&t)
	})
}

// Live gives the tasks that have not ended.
func (v View) Live() []api.TaskView {
	return slices.DeleteFunc(slices.Clone(v.Tasks), func(t api.TaskView) bool { return t.Status.State.Final() })
}

// Task gives a task by its ID; an empty one when there is none.
func (v View) Task(id string) *api.TaskView {
	for i := range v.Tasks {
		if v.Tasks[i].ID == id {
			return &v.Tasks[i]
		}
	}
	return &api.TaskView{}
}

// HasEvent tells whether an event of the type says the text.
func (v View) HasEvent(kind, text string) bool {
	return slices.ContainsFunc(v.Events, func(e *api.Event) bool { return e.Type == kind && strings.Contains(e.Message, text) })
}

func serves(t *api.TaskView) bool {
	return t.Desired == api.WantRunning && t.Status.State == api.TaskReady && !t.Status.Unhealthy
}

// Until lets time pass until the condition holds; it fails the test when that takes longer than limit.
func (c *Cluster) Until(what string, limit time.Duration, cond func(v View) bool) View {
	c.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(tick) {
		synctest.Wait()
		v := c.View()
		if cond(v) {
			return v
		}
		if time.Now().After(end) {
			c.t.Fatalf("%s: not within %s; now:\n%s", what, limit, v)
		}
	}
}

// Done waits for the end of a deployment and gives it.
func (c *Cluster) Done(deployment uint64, limit time.Duration) *api.Deployment {
	c.t.Helper()
	v := c.Until(fmt.Sprintf("end of deployment %d", deployment), limit, func(v View) bool {
		d := v.Deployment(deployment)
		return d != nil && d.State.Final()
	})
	return v.Deployment(deployment)
}

// Run lets time pass.
func (c *Cluster) Run(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// Settled checks that every node has just what the store says: a container and an endpoint for each live task, and
// files of no other.
func (c *Cluster) Settled() {
	c.t.Helper()
	v := c.View()
	for _, n := range c.Nodes {
		var want []string
		for _, t := range v.Live() {
			if t.Node == n.Name {
				want = append(want, t.ID)
			}
		}
		slices.Sort(want)
		list, err := n.Runtime.List(context.Background())
		if err != nil {
			c.t.Fatal(err)
		}
		var have []string
		for _, s := range list {
			have = append(have, s.ID)
		}
		if !slices.Equal(have, want) {
			c.t.Errorf("containers of %s are %v, live tasks %v; now:\n%s", n.Name, have, want, v)
		}
		if ends := n.Network.Endpoints(); !slices.Equal(ends, want) {
			c.t.Errorf("endpoints of %s are %v, live tasks %v", n.Name, ends, want)
		}
	}
}

// String gives one line for each deployment and task.
func (v View) String() string {
	var b strings.Builder
	if v.Env != nil {
		fmt.Fprintf(&b, "%s: release %d\n", v.Env.EnvRef, v.Env.Release)
	}
	for _, d := range v.Deployments {
		fmt.Fprintf(&b, "deployment %d to release %d: %s backwards=%t %s\n", d.Number, d.To, d.State, d.Backwards, d.Reason)
	}
	for _, j := range v.Jobs {
		fmt.Fprintf(&b, "job %s %s: %s (%s)\n", j.ID, j.Title(), j.State, j.Reason)
	}
	for _, t := range v.Tasks {
		fmt.Fprintf(&b, "%s %s of release %d on %q: wanted %s (%s), %s (%s)\n", t.ID, t.Name(), t.Release, t.Node, t.Desired,
			t.Reason, t.State(), t.Status.Message)
	}
	return b.String()
}
