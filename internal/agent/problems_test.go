package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/wire"
)

// quiet is a balancer that has nothing to say.
type quiet struct{ Balancer }

func (quiet) Status() api.BalancerStatus { return api.BalancerStatus{} }
func (quiet) Changed() <-chan struct{}   { return nil }

// heard is a session that keeps what was reported of the node.
type heard struct {
	wire.Session
	mu       sync.Mutex
	problems []string
	events   []string
}

func (h *heard) Report(_ context.Context, r wire.Report) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Problems != nil {
		h.problems = *r.Problems
	}
	for _, e := range r.Events {
		h.events = append(h.events, e.Type+": "+e.Message)
	}
	return nil
}

func (h *heard) want(t *testing.T, problems, events []string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.problems, problems) || !slices.Equal(h.events, events) {
		t.Errorf("heard of %q with events %q\nwant %q with %q", h.problems, h.events, problems, events)
	}
	h.events = nil
}

// What ails the node is reported while it lasts, to each session, and is an event when it begins.
func TestProblemsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ails []string
		set := func(problems ...string) {
			mu.Lock()
			defer mu.Unlock()
			ails = problems
		}
		a := New(Config{Node: api.Node{Name: "n1"}, Balancer: quiet{}, Log: slog.New(slog.DiscardHandler), Problems: func() []string {
			mu.Lock()
			defer mu.Unlock()
			return ails
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { a.watchProblems(ctx) })
		session := func() (h *heard, end func()) {
			h = &heard{}
			sctx, cancel := context.WithCancel(ctx)
			var reporter sync.WaitGroup
			a.poke()
			reporter.Go(func() { a.reports(sctx, h) })
			return h, func() {
				cancel()
				reporter.Wait()
			}
		}
		pass := func() {
			pause(ctx, problemsEvery)
			synctest.Wait()
		}
		first, end := session()
		pass()
		first.want(t, nil, nil)
		set("the disk is full")
		pass()
		first.want(t, []string{"the disk is full"}, []string{"node.problem: the disk is full"})
		set("the disk is full", "names are not answered")
		pass()
		first.want(t, []string{"the disk is full", "names are not answered"}, []string{"node.problem: names are not answered"})
		end()
		second, end := session()
		synctest.Wait()
		second.want(t, []string{"the disk is full", "names are not answered"}, nil)
		set()
		pass()
		second.want(t, nil, nil)
		end()
		cancel()
		wg.Wait()
	})
}
