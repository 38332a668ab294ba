package testcluster

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// check holds every change of the store, every route table and every stop signal against what must always be true:
//
//   - a task's state and what is desired of it never go backwards, and its exit code stays;
//   - a bounded service is never below its lower bound, in the store and in every route table, nor above its upper one;
//   - a task is only sent its stop signal when no balancer picks it and none of its requests is in flight, or its drain
//     deadline has passed;
//   - a slot of an exclusive service has at most one live task.
type check struct {
	t    *testing.T
	stop context.CancelFunc
	done chan struct{}

	mu       sync.Mutex
	tasks    map[string]*api.Task
	statuses map[string]*api.TaskStatus
	releases map[string]*api.Release
	draining map[string]time.Time // task → since when
	bounds   map[string][2]int
	doubt    bool
}

func newCheck(t *testing.T, s store.Store) *check {
	ctx, stop := context.WithCancel(context.Background())
	k := &check{t: t, stop: stop, done: make(chan struct{}), tasks: map[string]*api.Task{}, statuses: map[string]*api.TaskStatus{},
		releases: map[string]*api.Release{}, draining: map[string]time.Time{}, bounds: map[string][2]int{}}
	rev, err := s.View(ctx, func(store.Tx) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	changes := s.Watch(ctx, store.Root, rev)
	go func() {
		defer close(k.done)
		for b := range changes {
			k.batch(b)
		}
	}()
	return k
}

func (k *check) close() {
	k.stop()
	<-k.done
}

func (k *check) bound(service string, low, high int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bounds[service] = [2]int{low, high}
}

func (k *check) allowDoubt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doubt = true
}

// batch looks at the state after every revision.
func (k *check) batch(b store.Batch) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for changes := b.Changes; len(changes) > 0; {
		n := 1
		for n < len(changes) && changes[n].Rev == changes[0].Rev {
			n++
		}
		k.revision(changes[:n])
		changes = changes[n:]
	}
}

// revision looks at the changes of one transaction: tasks first, since one may go together with its status.
func (k *check) revision(changes []store.Change) {
	for _, c := range changes {
		switch {
		case strings.HasPrefix(c.Key, store.Tasks):
			k.task(c)
		case strings.HasPrefix(c.Key, store.Releases) && !c.Deleted:
			k.releases[c.Key] = decode[api.Release](k.t, c)
		}
	}
	for _, c := range changes {
		if strings.HasPrefix(c.Key, store.Statuses) {
			k.status(c)
		}
	}
	k.counts()
}

func (k *check) task(c store.Change) {
	id := strings.TrimPrefix(c.Key, store.Tasks)
	was := k.tasks[id]
	if c.Deleted {
		if st := k.statuses[id]; was.Node != "" && (st == nil || !st.State.Final()) {
			k.t.Errorf("live task %s %s was forgotten", id, was.Name())
		}
		delete(k.tasks, id)
		return
	}
	is := decode[api.Task](k.t, c)
	k.tasks[id] = is
	rank := map[api.Desired]int{api.WantRunning: 0, api.WantWarm: 0, api.WantDraining: 1, api.WantStopped: 2}
	if was == nil {
		return
	}
	if rank[is.Desired] < rank[was.Desired] || was.Node != "" && is.Node != was.Node || is.Release != was.Release {
		k.t.Errorf("task %s went from %+v to %+v", id, *was, *is)
	}
	if is.Desired != was.Desired && is.Reason == "" {
		k.t.Errorf("task %s is to be %s without a reason", id, is.Desired)
	}
	if is.Desired == api.WantStopped && was.Desired == api.WantRunning && is.Job == nil {
		k.t.Errorf("task %s is to stop without a drain", id)
	}
	if is.Desired != was.Desired && was.Desired == api.WantRunning {
		k.draining[id] = is.DesiredAt
	}
}

func (k *check) status(c store.Change) {
	id := strings.TrimPrefix(c.Key, store.Statuses)
	was := k.statuses[id]
	if c.Deleted {
		delete(k.statuses, id)
		return
	}
	is := decode[api.TaskStatus](k.t, c)
	k.statuses[id] = is
	if was == nil {
		return
	}
	if is.State.Before(was.State) || was.State.Final() && is.State != was.State {
		k.t.Errorf("task %s went back from %s to %s", id, was.State, is.State)
	}
	if was.ExitCode != nil && (is.ExitCode == nil || *is.ExitCode != *was.ExitCode) {
		k.t.Errorf("task %s lost its exit code %d", id, *was.ExitCode)
	}
}

func (k *check) counts() {
	ready, live := map[string]int{}, map[string]int{}
	slots := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(k.tasks)) {
		t := k.tasks[id]
		v := t.View(k.statuses[id])
		if v.Status.State.Final() || t.Job != nil {
			continue
		}
		live[t.Service]++
		if serves(&v) {
			ready[t.Service]++
		}
		if r := k.releases[store.ReleaseKey(t.EnvRef, t.Release)]; r != nil && r.Spec.Services[t.Service].Exclusive && t.Node != "" {
			if other := slots[t.Name()]; other != "" {
				k.t.Errorf("exclusive %s runs twice: %s and %s", t.Name(), other, id)
			}
			slots[t.Name()] = id
		}
	}
	for service, b := range k.bounds {
		if ready[service] < b[0] {
			k.t.Errorf("%d tasks of %s serve, at least %d must", ready[service], service, b[0])
		}
		if live[service] > b[1] {
			k.t.Errorf("%d tasks of %s live, at most %d may", live[service], service, b[1])
		}
	}
}

// table looks at a route table that a node's balancer has put in force.
func (k *check) table(n *Node, t *api.RouteTable) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range t.Pools {
		if b, ok := k.bounds[p.Service]; ok && len(p.Targets) < b[0] {
			k.t.Errorf("the balancer of %s has %d targets for %s, at least %d must be", n.Name, len(p.Targets), p.Service, b[0])
		}
	}
}

// signal looks at a stop signal that is about to be sent. Tasks that are wanted, but never became ready, get one too.
func (k *check) signal(n *Node, id string) {
	k.mu.Lock()
	since, drained := k.draining[id]
	task := k.tasks[id]
	drain := api.DefaultDrain
	if task != nil {
		if r := k.releases[store.ReleaseKey(task.EnvRef, task.Release)]; r != nil && r.Spec.Services[task.Service].Drain > 0 {
			drain = r.Spec.Services[task.Service].Drain
		}
	}
	doubt := k.doubt
	k.mu.Unlock()
	if !drained || doubt || time.Since(since) >= drain.Std() {
		return
	}
	for _, other := range n.c.nodes() {
		if other.Balancer.Picks(id) {
			k.t.Errorf("task %s gets its stop signal although the balancer of %s picks it", id, other.Name)
		}
		if f := other.Balancer.InFlight(id); f > 0 {
			k.t.Errorf("task %s gets its stop signal with %d requests in flight on %s", id, f, other.Name)
		}
	}
}

func decode[T any](t *testing.T, c store.Change) *T {
	v := new(T)
	if err := json.Unmarshal(c.Value, v); err != nil {
		t.Errorf("decode %s: %v", c.Key, err)
	}
	return v
}
