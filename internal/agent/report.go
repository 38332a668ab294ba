package agent

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/wire"
)

// reports sends what changed, again and again until the control plane has taken it; what changes while one report is
// on its way goes together into the next.
func (a *Agent) reports(ctx context.Context, s wire.Session) {
	var sent *api.BalancerStatus
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.dirty:
		case <-a.cfg.Balancer.Changed():
		}
		statuses, events, marked := a.changes()
		r := wire.Report{Statuses: statuses, Events: events}
		if b := a.balancer(); sent == nil || !reflect.DeepEqual(*sent, *b) {
			r.Balancer = b
		}
		if len(r.Statuses)+len(r.Events) == 0 && r.Balancer == nil {
			continue
		}
		if err := s.Report(ctx, r); err != nil {
			if ctx.Err() != nil {
				return
			}
			a.log.Warn("report statuses", "error", err)
			a.unsent(marked, events)
			pause(ctx, 200*time.Millisecond)
			a.poke()
			continue
		}
		if r.Balancer != nil {
			sent = r.Balancer
		}
	}
}

// changes takes the statuses and events that were not reported yet.
func (a *Agent) changes() ([]api.TaskStatus, []api.Event, []*task) {
	a.mu.Lock()
	tasks := slices.Collect(maps.Values(a.tasks))
	events := a.events
	a.events = nil
	a.mu.Unlock()
	var out []api.TaskStatus
	var marked []*task
	for _, t := range tasks {
		if st, ok := t.take(); ok {
			out = append(out, st)
			marked = append(marked, t)
		}
	}
	return out, events, marked
}

// unsent marks again what a failed report carried.
func (a *Agent) unsent(tasks []*task, events []api.Event) {
	for _, t := range tasks {
		t.report()
	}
	a.mu.Lock()
	a.events = append(events, a.events...)
	a.mu.Unlock()
}

// balancer gives the balancer's word, and for tasks that leave without ever having been a target the same as for
// those that were: nothing is sent to them.
func (a *Agent) balancer() *api.BalancerStatus {
	st := a.cfg.Balancer.Status()
	st.Node = a.cfg.Node.Name
	a.mu.Lock()
	table := a.table
	a.mu.Unlock()
	if table == nil || st.Version < table.Version {
		return &st
	}
	drains := map[string]int{}
	for _, id := range table.Leaving {
		drains[id] = st.Drains[id]
	}
	st.Drains = drains
	return &st
}

// event notes something worth telling a user; it goes with the next report.
func (a *Agent) event(e api.Event) {
	e.Node = a.cfg.Node.Name
	a.mu.Lock()
	a.events = append(a.events, e)
	a.mu.Unlock()
	a.poke()
}
