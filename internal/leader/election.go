// Package leader elects one process of several to do what only one may do, and fences what it writes.
//
// An election is a key in the store, put under a lease: whoever holds the key leads, and when it dies the lease runs
// out and the key goes. Because a leader can be paused for longer than its lease and not notice, holding the key is
// no proof; what it writes goes through [Fence.Update], which fails when the key is no longer that very one. The
// package decides nothing else and keeps no state of its own. Start at [Election.Run].
package leader

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

const (
	ttl        = 10 * time.Second       // for which a dead leader still holds the election
	retryPause = 200 * time.Millisecond // after the store did not answer
	resignTime = 2 * time.Second        // spent on giving the election back at the end
)

// Election is one process's part in an election.
type Election struct {
	store    store.Store
	key      string
	identity string
	log      *slog.Logger
}

// holder is the value of an election's key.
type holder struct {
	Identity string    `json:"identity"`
	Since    time.Time `json:"since"`
}

// New makes a candidate for the election called name. The identity must be that of one process at a time and the
// same after its restart (the name of the node): a candidate takes over at once from its own earlier incarnation.
func New(s store.Store, name, identity string, log *slog.Logger) *Election {
	return &Election{
		store:    s,
		key:      store.Elections + name,
		identity: identity,
		log:      log.With("election", name, "identity", identity),
	}
}

// Run campaigns and, while this process holds the election, runs lead; it cancels lead's context when the election
// is lost, waits for lead to return, and campaigns again. When lead returns by itself Run gives its error; when ctx
// ends it gives nil. In both cases the election is free for the next at once.
func (e *Election) Run(ctx context.Context, lead func(ctx context.Context, fence Fence) error) error {
	for ctx.Err() == nil {
		term, err := e.campaign(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it fails because of that
			}
			e.log.Warn("campaign failed", "error", err)
			pause(ctx, retryPause)
			continue
		}
		e.log.Info("election won", "fence", term.fence.created)
		lost, err := e.serve(ctx, term, lead)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end was asked for
		case !lost:
			return err
		}
		e.log.Warn("election lost", "fence", term.fence.created)
	}
	return nil
}

// term is a time in office.
type term struct {
	lease store.Lease
	fence Fence
}

// serve runs lead until it returns; lost tells that the election was lost meanwhile.
func (e *Election) serve(ctx context.Context, t term, lead func(context.Context, Fence) error) (lost bool, err error) {
	inOffice, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var guards sync.WaitGroup
	guards.Go(func() {
		select {
		case <-t.lease.Lost():
			cancel(errLost)
		case <-inOffice.Done():
		}
	})
	guards.Go(func() { e.guard(inOffice, t.fence, func() { cancel(errLost) }) })
	err = lead(inOffice, t.fence)
	// lead may learn it from a fenced update before the guards do.
	lost = errors.Is(context.Cause(inOffice), errLost) || errors.Is(err, ErrDeposed)
	cancel(nil)
	guards.Wait()

	e.giveBack(ctx, t.lease)
	return lost, err
}

// giveBack ends a lease, even though ctx may have ended; one that cannot be revoked now runs out.
func (e *Election) giveBack(ctx context.Context, lease store.Lease) {
	lease.Abandon()
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), resignTime)
	defer done()
	if err := lease.Revoke(ctx); err != nil {
		e.log.Warn("election not given back, it ends with its lease", "error", err)
	}
}

// ErrDeposed is in the chain of an error of Fence.Update after this process has lost the election.
var ErrDeposed = errors.New("another process has been elected since, or none")

var errLost = errors.New("the election was lost")

// guard calls lost once the key is no longer ours. It is told sooner than by the lease, whose end this process learns
// only when it next keeps it alive.
func (e *Election) guard(ctx context.Context, fence Fence, lost func()) {
	for ctx.Err() == nil {
		rev, held, err := fence.held(ctx)
		if err == nil && !held {
			lost()
			return
		}
		if err == nil {
			err = e.untilChanged(ctx, rev)
		}
		if err != nil {
			pause(ctx, retryPause)
		}
	}
}

// campaign blocks until the election is won.
func (e *Election) campaign(ctx context.Context) (term, error) {
	for {
		if err := e.untilFree(ctx); err != nil {
			return term{}, err
		}
		lease, err := e.store.Grant(ctx, ttl)
		if err != nil {
			return term{}, err
		}
		created, err := e.claim(ctx, lease)
		if err == nil {
			return term{lease: lease, fence: Fence{store: e.store, key: e.key, created: created}}, nil
		}
		e.giveBack(ctx, lease)
		if !errors.Is(err, errTaken) {
			return term{}, err
		}
	}
}

var errTaken = errors.New("another candidate was faster")

// claim puts the key if it is free and gives the revision of its creation.
func (e *Election) claim(ctx context.Context, lease store.Lease) (int64, error) {
	return e.store.Update(ctx, func(tx store.Tx) error {
		_, taken, err := tx.Get(e.key)
		switch {
		case err != nil:
			return err
		case taken:
			return errTaken
		}
		return store.PutLeased(tx, e.key, holder{Identity: e.identity, Since: time.Now().UTC()}, lease.ID())
	})
}

// untilFree blocks until nobody holds the election, ending what an earlier incarnation of this process left.
func (e *Election) untilFree(ctx context.Context) error {
	for {
		var held store.Entry
		var by *holder
		rev, err := e.store.View(ctx, func(tx store.Tx) (err error) {
			if held, _, err = tx.Get(e.key); err != nil {
				return err
			}
			by, err = store.Find[holder](tx, e.key)
			return err
		})
		switch {
		case err != nil:
			return err
		case by == nil:
			return nil
		case by.Identity == e.identity:
			if err := e.store.Revoke(ctx, held.Lease); err != nil {
				return err
			}
			continue
		}
		if err := e.untilChanged(ctx, rev); err != nil {
			return err
		}
	}
}

// untilChanged blocks until the key is changed after a revision, or the watch breaks.
func (e *Election) untilChanged(ctx context.Context, rev int64) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	for batch := range e.store.Watch(watching, e.key, rev) {
		if errors.Is(batch.Err, store.ErrCompacted) || touches(batch, e.key) {
			return nil
		}
		if batch.Err != nil {
			return batch.Err
		}
	}
	if err := ctx.Err(); err != nil {
		return api.Errorf(api.Timeout, "wait for election: %w", err)
	}
	return nil
}

// touches tells whether the batch changes the key itself, not just one whose name begins with it.
func touches(b store.Batch, key string) bool {
	for _, c := range b.Changes {
		if c.Key == key {
			return true
		}
	}
	return false
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
