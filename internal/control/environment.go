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
	"github.com/ikada/ikada/internal/plan/job"
	"github.com/ikada/ikada/internal/plan/place"
	"github.com/ikada/ikada/internal/plan/round"
	"github.com/ikada/ikada/internal/store"
)

// errStale tells that a plan was made of what a user has changed since.
var errStale = errors.New("the plan is stale")

// reconcile plans one environment and writes the plan down, until there is nothing more to do now; it gives the time
// to look again.
func (l *Loop) reconcile(ctx context.Context, env api.EnvRef) (time.Time, error) {
	for {
		w, js, nodes, ok := l.world(env)
		if !ok {
			l.stopCounting(env)
			l.forgetHashes(env)
			l.dropQuestions(env)
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
		w.Hashes = l.hashesOf(env)
		l.answers(&w, js)
		p := round.Make(round.World{World: w, Jobs: js.values(), Heard: l.began.Add(api.AttachLease.Std()), Joined: l.began.Add(joinTime),
			Nodes: nodes, NewID: newID, Crons: func(env api.Environment) []job.Cron { return l.dueCrons(js, w, env) }})
		l.pose(ctx, w, p.Ask)
		l.receipt(&p.Plan, w)
		if p.Empty() {
			return earlier(p.Wake, goes), nil
		}
		rev, err := l.fence.Update(ctx, func(tx store.Tx) error { return errors.Join(write(tx, w, p.Plan), js.write(tx, &p.Jobs)) })
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

// hashesOf gives what plans of an environment remember. An environment is one worker's at a time.
func (l *Loop) hashesOf(env api.EnvRef) *deploy.Hashes {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hashes[env]
	if h == nil {
		h = &deploy.Hashes{}
		l.hashes[env] = h
	}
	return h
}

func (l *Loop) forgetHashes(env api.EnvRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.hashes, env)
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
			Pressure: pressure(s)}
		if !e.Destroying {
			w.Deployment = round.Current(s.DeploymentsOf(env))
		}
		w.Bake = round.OnTrial(s.DeploymentsOf(env))
		for _, r := range s.ReleasesOf(env) {
			w.Releases[r.Number] = r
		}
		js = readJobs(s, env)
		w.Commands = round.Commands(js.all, w.Deployment)
		joined := time.Since(l.began) > joinTime
		round.See(&w, s.TasksOf(env), round.Reports{
			Status: func(task string) *api.TaskStatus { return s.Statuses[task] },
			Lost: func(node string) bool {
				_, alive := s.Leases[node]
				return !alive && joined
			},
			Balancers: liveBalancers(s, joined),
		})
		nodes = placeNodes(s, api.EnvRef{})
	})
	return w, js, nodes, ok
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

// pressure says why nothing stays warm on nodes.
func pressure(s *store.State) map[string]string {
	out := map[string]string{}
	for name, n := range s.Nodes {
		if n.Short {
			out[name] = fmt.Sprintf("memory of node %s is short", name)
		}
	}
	return out
}

// placeNodes gives the nodes with what all environments have placed on them, but for one.
func placeNodes(s *store.State, besides api.EnvRef) []place.Node {
	var out []place.Node
	for name, n := range s.Nodes {
		_, alive := s.Leases[name]
		pn := place.Node{Node: *n, Services: map[string]int{}}
		pn.Down = !alive
		for _, t := range s.TasksOn(name) {
			if st := s.Statuses[t.ID]; t.EnvRef == besides || st != nil && st.State.Final() {
				continue
			}
			var res api.Resources
			if r := s.Release(t.EnvRef, t.Release); r != nil {
				res = r.Spec.Services[t.Service].Resources // a job's are its service's
			}
			pn.Charge(t, res)
		}
		out = append(out, pn)
	}
	return out
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
			if err := store.Put(tx, store.TaskKey(ts[i].ID), ts[i]); err != nil {
				return err
			}
		}
	}
	for _, id := range p.Forget {
		tx.Delete(store.TaskKey(id))
		tx.Delete(store.StatusKey(id))
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
		if d := cmp.Or(p.Deployment, w.Deployment); d != nil && e.Deployment == 0 && strings.HasPrefix(e.Type, "deployment.") {
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
	l.dropQuestions(ref)
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
		if err := store.Put(tx, store.NodeKey(n.Name), n); err != nil {
			return err
		}
	}
	return nil
}
