package control

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/plan/place"
	"github.com/ikada/ikada/internal/store"
)

// placeInterval is how often a task that found no node is tried again.
const placeInterval = 5 * time.Second

// errStale tells that a plan was made of what a user has changed since.
var errStale = errors.New("the plan is stale")

// reconcile plans one environment and writes the plan down, until there is nothing more to do now; it gives the time
// to look again.
func (l *Loop) reconcile(ctx context.Context, env api.EnvRef) (time.Time, error) {
	for {
		w, js, nodes, ok := l.world(env)
		if !ok {
			l.stopCounting(env)
			return time.Time{}, nil
		}
		if w.Env.Destroying && len(w.Tasks) == 0 {
			return time.Time{}, l.destroy(ctx, w)
		}
		goes, err := l.expire(ctx, w)
		if err != nil {
			return time.Time{}, err
		}
		l.watch(&w)
		p := deploy.Make(w)
		l.planJobs(js, w, &p)
		assign(&p, w, nodes)
		l.receipt(&p, w)
		if p.Empty() && js.plan.Empty() {
			return earlier(p.Wake, goes), nil
		}
		rev, err := l.fence.Update(ctx, func(tx store.Tx) error { return errors.Join(write(tx, w, p), js.write(tx)) })
		if err != nil {
			return time.Time{}, err
		}
		if p.Deployment != nil && p.Deployment.State.Final() {
			l.stopCounting(env)
		}
		if err := l.cfg.Mirror.Wait(ctx, rev); err != nil {
			return time.Time{}, err
		}
	}
}

// world reads what the plan of an environment depends on; false when there is no such environment.
func (l *Loop) world(env api.EnvRef) (w deploy.World, js *jobs, nodes []place.Node, ok bool) {
	l.cfg.Mirror.Read(func(s *store.State) {
		e := s.Environments[env]
		if e == nil {
			return
		}
		ok = true
		w = deploy.World{Now: time.Now().UTC().Round(0), Env: *e, Releases: map[uint64]*api.Release{}, Problems: map[string]string{},
			Pressure: map[string]string{}}
		if !e.Destroying {
			w.Deployment = current(s.DeploymentsOf(env))
		}
		w.Bake = onTrial(s.DeploymentsOf(env))
		for _, r := range s.ReleasesOf(env) {
			w.Releases[r.Number] = r
		}
		js = readJobs(s, env)
		w.Commands = js.commands(w.Deployment)
		joined := time.Since(l.began) > joinTime
		balancers := liveBalancers(s, joined)
		tasks := s.TasksOf(env)
		w.Tasks = make([]deploy.Task, 0, len(tasks))
		for _, t := range tasks {
			v := deploy.Task{Task: *t}
			if st := s.Statuses[t.ID]; st != nil {
				v.Status = *st
			}
			_, alive := s.Leases[t.Node]
			v.Lost = t.Node != "" && !alive && joined && !v.Status.State.Final()
			v.Serving = !routed(w, t) || picked(balancers, t.ID)
			v.Released = released(balancers, t.ID)
			w.Tasks = append(w.Tasks, v)
		}
		problems(w, balancers)
		for name, n := range s.Nodes {
			if n.Short {
				w.Pressure[name] = fmt.Sprintf("memory of node %s is short", name)
			}
		}
		nodes = placeNodes(s)
	})
	return w, js, nodes, ok
}

// current gives the deployment to plan: the running one, else the queued one.
func current(ds []*api.Deployment) *api.Deployment {
	for _, state := range []api.DeploymentState{api.DeployRunning, api.DeployQueued} {
		for _, d := range ds {
			if d.State == state {
				return d
			}
		}
	}
	return nil
}

// onTrial gives the deployment whose release has taken over and is still judged.
func onTrial(ds []*api.Deployment) *api.Deployment {
	for _, d := range slices.Backward(ds) {
		if d.Trial == api.TrialOn {
			return d
		}
	}
	return nil
}

// liveBalancers gives the word of every balancer whose node is alive; nil for one that has not spoken yet, or whose
// node has still time to join after an election: it may well serve requests.
func liveBalancers(s *store.State, joined bool) []*api.BalancerStatus {
	var out []*api.BalancerStatus
	for node := range s.Leases {
		out = append(out, s.Balancers[node])
	}
	for name, n := range s.Nodes {
		if _, alive := s.Leases[name]; !alive && !joined && !n.Down {
			out = append(out, nil)
		}
	}
	return out
}

// routed tells whether balancers send requests to the task's service.
func routed(w deploy.World, t *api.Task) bool {
	goal := w.Env.Release
	if w.Deployment != nil && !w.Deployment.Backwards {
		goal = w.Deployment.To
	}
	for _, n := range []uint64{goal, t.Release} {
		if r := w.Releases[n]; r != nil {
			if spec, ok := r.Spec.Services[t.Service]; ok {
				return spec.Routed()
			}
		}
	}
	return false
}

func picked(balancers []*api.BalancerStatus, task string) bool {
	for _, b := range balancers {
		if b == nil || !slices.Contains(b.Picks, task) {
			return false
		}
	}
	return true
}

func released(balancers []*api.BalancerStatus, task string) bool {
	for _, b := range balancers {
		if b == nil {
			return false
		}
		if n, ok := b.Drains[task]; !ok || n > 0 {
			return false
		}
	}
	return true
}

// problems notes for each service of the goal why one of its ports could not be opened.
func problems(w deploy.World, balancers []*api.BalancerStatus) {
	if w.Deployment == nil || w.Deployment.State != api.DeployRunning {
		return
	}
	r := w.Releases[w.Deployment.To]
	if r == nil {
		return
	}
	for name, spec := range r.Spec.Services {
		for _, p := range spec.Ports {
			for _, b := range balancers {
				if b == nil || p.Published == 0 {
					continue
				}
				if why := b.Problem[p.Listen()]; why != "" {
					w.Problems[name] = fmt.Sprintf("port %s cannot be opened on node %s: %s", p.Listen(), b.Node, why)
				}
			}
		}
	}
}

// placeNodes gives the nodes with what all environments have placed on them.
func placeNodes(s *store.State) []place.Node {
	var out []place.Node
	for name, n := range s.Nodes {
		_, alive := s.Leases[name]
		pn := place.Node{Node: *n, Services: map[string]int{}}
		pn.Down = !alive
		for _, t := range s.TasksOn(name) {
			if st := s.Statuses[t.ID]; st != nil && st.State.Final() {
				continue
			}
			var res api.Resources
			if r := s.Release(t.EnvRef, t.Release); r != nil {
				res = r.Spec.Services[t.Service].Resources // a job's are its service's
			}
			charge(&pn, t, res)
		}
		out = append(out, pn)
	}
	return out
}

func charge(n *place.Node, t *api.Task, res api.Resources) {
	n.Tasks++
	n.CPUMillis += res.ReserveCPUMillis
	n.Memory += res.ReserveMemory
	if t.Job == nil {
		n.Services[t.EnvRef.String()+"/"+t.Service]++
	}
}

// assign gives IDs and nodes to the plan's new tasks, and nodes to older ones that had found none.
func assign(p *deploy.Plan, w deploy.World, nodes []place.Node) {
	choose := func(t *api.Task) {
		r := w.Releases[t.Release]
		if r == nil {
			t.Reason = fmt.Sprintf("release %d is no longer kept", t.Release)
			return
		}
		spec := taskSpec(r, t)
		node, why := place.Pick(nodes, place.Request{Env: w.Env.EnvRef, Service: t.Service, Spec: spec})
		if node == "" {
			t.Reason = why
			if look := w.Now.Add(placeInterval); p.Wake.IsZero() || look.Before(p.Wake) {
				p.Wake = look // another environment may make room, of which this one is not told
			}
			return
		}
		t.Node = node
		i := slices.IndexFunc(nodes, func(n place.Node) bool { return n.Name == node })
		charge(&nodes[i], t, spec.Resources)
	}
	for i := range p.Create {
		t := &p.Create[i]
		t.EnvRef = w.Env.EnvRef
		if t.Job == nil { // a job's task has the job's
			t.ID = newID()
		}
		choose(t)
	}
	for i := range w.Tasks {
		t := w.Tasks[i].Task
		if t.Node != "" || t.Desired != api.WantRunning || planned(p, t.ID) {
			continue
		}
		was := t
		if t.Reason = ""; t.NotBefore.After(w.Now) {
			t.Reason = was.Reason
		}
		choose(&t)
		if t != was {
			p.Update = append(p.Update, t)
		}
	}
}

func planned(p *deploy.Plan, id string) bool {
	return slices.Contains(p.Forget, id) || slices.ContainsFunc(p.Update, func(t api.Task) bool { return t.ID == id })
}

// newID gives a task ID: ten letters and digits.
func newID() string { return strings.ToLower(rand.Text()[:10]) }

// write writes a plan down, unless a user has changed what it was made of.
func write(tx store.Tx, w deploy.World, p deploy.Plan) error {
	ref := w.Env.EnvRef
	env, err := store.Find[api.Environment](tx, store.EnvironmentKey(ref))
	if err != nil {
		return err
	}
	if env == nil || !reflect.DeepEqual(*env, w.Env) {
		return errStale
	}
	for _, was := range []*api.Deployment{w.Deployment, w.Bake} {
		if was == nil {
			continue
		}
		d, err := store.Find[api.Deployment](tx, store.DeploymentKey(ref, was.Number))
		if err != nil {
			return err
		}
		if d == nil || !reflect.DeepEqual(d, was) {
			return errStale
		}
	}
	for _, ts := range [][]api.Task{p.Create, p.Update} {
		for i := range ts {
			if err := store.Put(tx, store.Tasks+ts[i].ID, ts[i]); err != nil {
				return err
			}
		}
	}
	for _, id := range p.Forget {
		tx.Delete(store.Tasks + id)
		tx.Delete(store.Statuses + id)
	}
	if p.Env != nil {
		if err := store.Put(tx, store.EnvironmentKey(ref), p.Env); err != nil {
			return err
		}
	}
	for _, d := range []*api.Deployment{p.Deployment, p.Bake, p.Follow} {
		if d == nil {
			continue
		}
		if err := store.Put(tx, store.DeploymentKey(ref, d.Number), d); err != nil {
			return err
		}
	}
	for i, e := range p.Events {
		if d := cmp.Or(p.Deployment, w.Deployment); d != nil && strings.HasPrefix(e.Type, "deployment.") {
			e.Deployment = d.Number
		}
		e.Time = w.Now.Add(time.Duration(i)) // events sort by time, and are to stay in the plan's order
		if err := store.AddEvent(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// destroy removes an environment whose last task is gone, with everything that belongs to it.
func (l *Loop) destroy(ctx context.Context, w deploy.World) error {
	ref := w.Env.EnvRef
	l.stopCounting(ref)
	_, err := l.fence.Update(ctx, func(tx store.Tx) error {
		for _, prefix := range []string{store.Releases, store.Deployments, store.Secrets, store.Jobs, store.Crons} {
			entries, err := tx.List(prefix + ref.String() + "/")
			if err != nil {
				return err
			}
			for _, e := range entries {
				tx.Delete(e.Key)
			}
		}
		if w.Env.DropVolumes {
			if err := dropVolumes(tx, w); err != nil {
				return err
			}
		}
		tx.Delete(store.SettingsKey(ref))
		tx.Delete(store.EnvironmentKey(ref))
		return store.AddEvent(tx, api.Event{EnvRef: ref, Type: "environment.destroyed", Message: ref.String() + " is destroyed"})
	})
	return err
}

// dropVolumes tells every node to remove the named volumes of the environment; external ones are not ikada's, and what
// another environment has under the same name stays.
func dropVolumes(tx store.Tx, w deploy.World) error {
	names := map[string]bool{}
	for _, r := range w.Releases {
		for key, v := range r.Spec.Volumes {
			if !v.External {
				names[v.HostName(w.Env.EnvRef, key)] = true
			}
		}
	}
	all, err := store.List[api.Release](tx, store.Releases)
	if err != nil {
		return err
	}
	for _, r := range all {
		for key, v := range r.Spec.Volumes {
			if r.EnvRef != w.Env.EnvRef {
				delete(names, v.HostName(r.EnvRef, key))
			}
		}
	}
	nodes, err := store.List[api.Node](tx, store.Nodes)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		for v := range names {
			if !slices.Contains(n.Drop, v) {
				n.Drop = append(n.Drop, v)
			}
		}
		slices.Sort(n.Drop)
		if err := store.Put(tx, store.Nodes+n.Name, n); err != nil {
			return err
		}
	}
	return nil
}
