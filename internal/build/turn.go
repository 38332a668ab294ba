package build

import (
	"context"
	"slices"
	"sync"

	"github.com/ikada/ikada/api"
)

// turns says who may build: most builds at a time, first come, first served. Where others hold all places, an
// environment that builds nothing gets one besides, up to as many again, so that one environment's builds, however long
// they hang, hold up no other's. All share one control group, so more builds need no more memory. Safe for concurrent
// use.
type turns struct {
	most int

	mu      sync.Mutex
	running map[api.EnvRef]int
	total   int
	waiting []*turn // by arrival
}

// turn is one who waits.
type turn struct {
	env  api.EnvRef
	come chan struct{} // closed when it may build
}

func newTurns(most int) *turns { return &turns{most: most, running: map[api.EnvRef]int{}} }

// take waits for a place, which release gives back. wait is called first where there is none, with how many builds run
// and how many wait before this one. The error is ctx's.
func (t *turns) take(ctx context.Context, env api.EnvRef, wait func(running, ahead int)) error {
	t.mu.Lock()
	if t.free(env) {
		t.begin(env)
		t.mu.Unlock()
		return nil
	}
	own := &turn{env: env, come: make(chan struct{})}
	running, ahead := t.total, len(t.waiting)
	t.waiting = append(t.waiting, own)
	t.mu.Unlock()
	wait(running, ahead)
	select {
	case <-own.come:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	at := slices.Index(t.waiting, own)
	if at >= 0 {
		t.waiting = slices.Delete(t.waiting, at, at+1)
	}
	t.mu.Unlock()
	if at < 0 { // its turn came at the same moment
		t.release(env)
	}
	return context.Cause(ctx)
}

// release gives a place back, and has those build who may now.
func (t *turns) release(env api.EnvRef) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total--
	if t.running[env]--; t.running[env] == 0 {
		delete(t.running, env)
	}
	t.waiting = slices.DeleteFunc(t.waiting, func(w *turn) bool {
		if !t.free(w.env) {
			return false
		}
		t.begin(w.env)
		close(w.come)
		return true
	})
}

func (t *turns) free(env api.EnvRef) bool {
	return t.total < t.most || t.running[env] == 0 && t.total < 2*t.most
}

func (t *turns) begin(env api.EnvRef) {
	t.running[env]++
	t.total++
}
