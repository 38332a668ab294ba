package control

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/store"
)

const (
	workers    = 4                // environments worked on at once
	joinTime   = 15 * time.Second // after an election, for nodes to open their sessions anew
	retryPause = 200 * time.Millisecond
)

// Config is what a loop is made of.
type Config struct {
	Mirror  *store.Mirror
	Traffic Traffic // nil: receipts say that nothing was counted
	Checks  Checks  // nil: users' own checks of releases cannot be answered
	Log     *slog.Logger
}

// Loop is the control loop of all environments. It serves one time in office.
type Loop struct {
	cfg   Config
	fence leader.Fence
	queue *queue[api.EnvRef]
	began time.Time

	mu       sync.Mutex
	counting map[api.EnvRef]uint64 // the deployment whose requests are counted
	observed map[api.EnvRef]*observed
	hashes   map[api.EnvRef]*deploy.Hashes
	posed    map[api.EnvRef]*questions
	asking   sync.WaitGroup
	lanes    chan struct{} // one for each question that may be under way
}

// New makes a loop for a time in office.
func New(cfg Config, fence leader.Fence) *Loop {
	return &Loop{cfg: cfg, fence: fence, queue: newQueue[api.EnvRef](), counting: map[api.EnvRef]uint64{},
		observed: map[api.EnvRef]*observed{}, hashes: map[api.EnvRef]*deploy.Hashes{},
		posed: map[api.EnvRef]*questions{}, lanes: make(chan struct{}, questionsAtOnce)}
}

// Run controls until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	l.began = time.Now()
	select {
	case <-ctx.Done():
		return nil
	case <-l.cfg.Mirror.Ready():
	}
	sub := l.cfg.Mirror.Subscribe()
	defer sub.Close()
	defer l.queue.stop()
	var wg sync.WaitGroup
	defer l.asking.Wait() // after all that may ask more
	defer wg.Wait()
	for range workers {
		wg.Go(func() { l.work(ctx) })
	}
	wg.Go(func() { l.watchNodes(ctx) })
	wg.Go(func() { l.keepHouse(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.Wake():
			for env := range sub.Take().Environments {
				l.queue.add(env)
			}
		}
	}
}

func (l *Loop) work(ctx context.Context) {
	for {
		env, ok := l.queue.next(ctx)
		if !ok {
			return
		}
		again, err := l.reconcile(ctx, env)
		switch {
		case errors.Is(err, errStale):
			l.queue.add(env)
		case err != nil && ctx.Err() == nil && !errors.Is(err, leader.ErrDeposed):
			l.cfg.Log.Error("reconcile environment", "app", env.App, "env", env.Env, "error", err)
			l.queue.addAt(env, time.Now().Add(retryPause))
		case !again.IsZero():
			l.queue.addAt(env, again)
		}
		l.queue.done(env)
	}
}
