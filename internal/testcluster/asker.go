package testcluster

import (
	"context"
	"sync"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
)

// asker answers releases' own checks for every control plane, but those that run a command.
type asker struct {
	mu sync.Mutex
	f  func(ctx context.Context, q deploy.Question) deploy.Answer
}

// SetAnswers has f answer releases' own checks from now on; nil has them pass at once.
func (c *Cluster) SetAnswers(f func(ctx context.Context, q deploy.Question) deploy.Answer) {
	c.asker.mu.Lock()
	defer c.asker.mu.Unlock()
	c.asker.f = f
}

// Ask implements control.Checks.
func (a *asker) Ask(ctx context.Context, _ *api.Release, q deploy.Question) deploy.Answer {
	a.mu.Lock()
	f := a.f
	a.mu.Unlock()
	if f == nil {
		return deploy.Answer{Result: api.VerdictPass, Reason: "fine"}
	}
	return f(ctx, q)
}
