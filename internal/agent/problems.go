package agent

import (
	"context"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

// problemsEvery is how often the node is asked what ails it.
const problemsEvery = 5 * time.Second

// ailments gives what ails the node now.
func (a *Agent) ailments() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.problems
}

// watchProblems keeps up to date what ails the node until ctx ends; what is new of it becomes an event.
func (a *Agent) watchProblems(ctx context.Context) {
	tick := time.NewTicker(problemsEvery)
	defer tick.Stop()
	for {
		now := a.cfg.Problems()
		a.mu.Lock()
		was := a.problems
		a.problems = now
		a.mu.Unlock()
		for _, p := range now {
			if !slices.Contains(was, p) {
				a.log.Warn("problem of the node", "problem", p)
				a.event(api.Event{Type: "node.problem", Level: api.LevelWarn, Message: p})
			}
		}
		if !slices.Equal(was, now) {
			a.poke()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
