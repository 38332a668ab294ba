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
	var short *bool       // as was sent
	var problems []string // as was sent; a session begins with none
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.dirty:
		case <-a.cfg.Balancer.Changed():
		}
		r, marked := a.changes()
		if b := a.balancer(); sent == nil || !reflect.DeepEqual(*sent, *b) {
			r.Balancer = b
		}
		if now := a.short.Load(); short == nil && now || short != nil && *short != now {
			r.Short = &now
		}
		if now := a.ailments(); !slices.Equal(problems, now) {
			r.Problems = &now
		}
		if len(r.Statuses)+len(r.Events)+len(r.Dropped) == 0 && r.Balancer == nil && r.Short == nil && r.Problems == nil {
			continue
		}
		if err := s.Report(ctx, r); err != nil {
			a.unsent(marked, r)
			if ctx.Err() != nil {
				return
			}
			a.log.Warn("report statuses", "error", err)
			pause(ctx, 200*time.Millisecond)
			a.poke()
			continue
		}
		for i, t := range marked {
			t.reported(r.Statuses[i])
		}
		if r.Balancer != nil {
			sent = r.Balancer
		}
		if r.Short != nil {
			short = r.Short
		}
		if r.Problems != nil {
			problems = *r.Problems
		}
		a.mu.Lock()
		a.dropped = slices.DeleteFunc(a.dropped, func(v string) bool { return slices.Contains(r.Dropped, v) })
		a.mu.Unlock()
	}
}

// changes takes what was not reported yet, and gives the tasks whose statuses are in it, in their order.
func (a *Agent) changes() (r wire.Report, marked []*task) {
	a.mu.Lock()
	tasks := slices.Collect(maps.Values(a.tasks))
	r.Events, r.Dropped = a.events, slices.Clone(a.dropped)
	a.events = nil
	a.mu.Unlock()
	for _, t := range tasks {
		if st, ok := t.take(); ok {
			r.Statuses = append(r.Statuses, st)
			marked = append(marked, t)
		}
	}
	return r, marked
}

// unsent marks again what a failed report carried.
func (a *Agent) unsent(tasks []*task, r wire.Report) {
	for _, t := range tasks {
		t.report()
	}
	a.mu.Lock()
	a.events = append(r.Events, a.events...)
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
	for _, leave := range table.Leaving {
		drains[leave] = st.Drains[api.LeavingTask(leave)]
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
