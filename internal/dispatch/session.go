package dispatch

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/wire"
)

// session is one node's connection. Its fields are constant; out is written and closed under the dispatcher's mutex.
type session struct {
	d     *Dispatcher
	node  string
	lease store.Lease
	out   chan wire.Assignments
	over  chan struct{} // closed by end
	ended bool          // under d.mu
}

// offer replaces what the agent has not received yet; d.mu is held.
func (s *session) offer(a wire.Assignments) {
	if s.ended {
		return
	}
	select {
	case <-s.out:
	default:
	}
	s.out <- a
}

// end closes the session; d.mu is held.
func (s *session) end() {
	if s.ended {
		return
	}
	s.ended = true
	close(s.over)
	close(s.out)
	if s.d.sessions[s.node] == s {
		delete(s.d.sessions, s.node)
	}
}

// guard ends the session when its lease is lost: the node counts as dead then, and must join again.
func (s *session) guard() {
	select {
	case <-s.over:
	case <-s.lease.Lost():
		s.d.cfg.Log.Warn("node lost its lease", "node", s.node)
		s.d.mu.Lock()
		s.end()
		s.d.mu.Unlock()
	}
}

// open fails when the session has ended: a newer one may speak for the node.
func (s *session) open() error {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.ended {
		return api.Errorf(api.Unavailable, "the session of node %s has ended", s.node)
	}
	return nil
}

// Assignments implements [wire.Session].
func (s *session) Assignments() <-chan wire.Assignments { return s.out }

// Release implements [wire.Session].
func (s *session) Release(ctx context.Context, env api.EnvRef, number uint64) (*api.Release, error) {
	var r *api.Release
	s.d.cfg.Mirror.Read(func(st *store.State) { r = st.Release(env, number) })
	if r != nil {
		return r, nil
	}
	_, err := s.d.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		r, err = store.Get[api.Release](tx, store.ReleaseKey(env, number))
		return err
	})
	return r, err
}

// Secret implements [wire.Session].
func (s *session) Secret(ctx context.Context, env api.EnvRef, version string) ([]byte, error) {
	var sealed *api.SealedSecret
	_, err := s.d.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		sealed, err = store.Get[api.SealedSecret](tx, store.SecretKey(env, version))
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.d.cfg.Unseal(sealed)
}

// Report implements [wire.Session].
func (s *session) Report(ctx context.Context, r wire.Report) error {
	if err := s.open(); err != nil {
		return err
	}
	_, err := s.d.cfg.Store.Update(ctx, func(tx store.Tx) error {
		for i := range r.Statuses {
			if err := putStatus(tx, &r.Statuses[i]); err != nil {
				return err
			}
		}
		for _, e := range r.Events {
			if err := store.AddEvent(tx, e); err != nil {
				return err
			}
		}
		if len(r.Dropped) > 0 || r.Short != nil || r.Problems != nil {
			if err := s.tend(tx, r); err != nil {
				return err
			}
		}
		if r.Balancer == nil {
			return nil
		}
		return store.Put(tx, store.BalancerKey(s.node), r.Balancer)
	})
	return err
}

// tend notes which volumes are gone, whether memory is short, and what else ails the node.
func (s *session) tend(tx store.Tx, r wire.Report) error {
	n, err := store.Find[api.Node](tx, store.NodeKey(s.node))
	if err != nil || n == nil {
		return err
	}
	n.Drop = slices.DeleteFunc(n.Drop, func(v string) bool { return slices.Contains(r.Dropped, v) })
	if r.Short != nil {
		n.Short = *r.Short
	}
	if r.Problems != nil {
		n.Problems = *r.Problems
	}
	return store.Put(tx, store.NodeKey(s.node), n)
}

// putStatus writes a task's status unless it would go backwards, and the event of it when it is bad news. The status
// of a task that has been forgotten goes with it.
func putStatus(tx store.Tx, st *api.TaskStatus) error {
	task, err := store.Find[api.Task](tx, store.TaskKey(st.Task))
	if err != nil {
		return err
	}
	if task == nil {
		tx.Delete(store.StatusKey(st.Task))
		return nil
	}
	was, err := store.Find[api.TaskStatus](tx, store.StatusKey(st.Task))
	if err != nil {
		return err
	}
	if was == nil {
		was = &api.TaskStatus{}
	}
	if st.State.Before(was.State) || was.State.Final() || reflect.DeepEqual(st, was) {
		return nil
	}
	e := api.Event{EnvRef: task.EnvRef, Service: task.Service, Task: task.ID, Node: st.Node, Time: time.Now().UTC().Round(0)}
	switch {
	case task.Job != nil: // what is worth telling of a job, its plan tells
	case st.State == api.TaskFailed && st.Cause == api.CauseLost:
		e.Type, e.Level, e.Message = "task.lost", api.LevelWarn, fmt.Sprintf("%s is lost: %s", task.Name(), st.Message)
	case st.State == api.TaskFailed:
		e.Type, e.Level, e.Message = "task.failed", api.LevelError, fmt.Sprintf("%s failed: %s", task.Name(), st.Message)
	case st.Unhealthy && !was.Unhealthy:
		e.Type, e.Level, e.Message = "task.unhealthy", api.LevelWarn, fmt.Sprintf("%s: %s", task.Name(), st.Message)
	case st.State == api.TaskReady && was.State != api.TaskReady:
		e.Type, e.Message = "task.ready", fmt.Sprintf("%s of release %d is ready", task.Name(), task.Release)
	case st.State == api.TaskStopped:
		e.Type, e.Message = "task.stopped", fmt.Sprintf("%s of release %d stopped", task.Name(), task.Release)
		if task.Reason != "" {
			e.Message += ": " + task.Reason
		}
	}
	if e.Type != "" {
		if err := store.AddEvent(tx, e); err != nil {
			return err
		}
	}
	return store.Put(tx, store.StatusKey(st.Task), st)
}

// Close implements [wire.Session]. The node counts as alive until its lease has run out, so that an agent which is
// restarted, or only opens a new session, loses no task.
func (s *session) Close() {
	s.d.mu.Lock()
	s.end()
	s.d.mu.Unlock()
	s.lease.Abandon()
}
