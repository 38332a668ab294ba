package store

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// resyncPause is waited before a snapshot that follows a failure.
const resyncPause = 200 * time.Millisecond

// Mirror is a decoded copy of the objects that the control loops read, kept current by a watch. What it shows is a
// state that the store was in, possibly a moment ago: [Mirror.Wait] makes it catch up with one's own write. Safe for
// concurrent use.
type Mirror struct {
	store Store
	log   *slog.Logger
	ready chan struct{}

	mu            sync.RWMutex
	state         *State
	applied       chan struct{} // closed and replaced whenever state.Rev has grown
	subscriptions map[*Subscription]struct{}
}

// NewMirror makes an empty mirror; Run fills it.
func NewMirror(s Store, log *slog.Logger) *Mirror {
	return &Mirror{
		store:         s,
		log:           log,
		ready:         make(chan struct{}),
		state:         newState(),
		applied:       make(chan struct{}),
		subscriptions: map[*Subscription]struct{}{},
	}
}

// Ready is closed once the first snapshot is in.
func (m *Mirror) Ready() <-chan struct{} { return m.ready }

// Run keeps the mirror current until ctx ends, then gives nil. It outlives a store that does not answer. An object
// that cannot be decoded is an error: to act without it could undo what it asks for.
func (m *Mirror) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		rev, err := m.load(ctx)
		if err == nil {
			err = m.follow(ctx, rev)
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end was asked for
		case api.IsKind(err, api.Internal):
			return err
		}
		m.log.Warn("mirror starts again from a snapshot", "error", err)
		select {
		case <-time.After(resyncPause):
		case <-ctx.Done():
		}
	}
	return nil
}

// load makes the state that of a snapshot and gives its revision.
func (m *Mirror) load(ctx context.Context) (int64, error) {
	var snapshot []decoded
	rev, err := m.store.View(ctx, func(tx Tx) error {
		snapshot = nil // View may run this again
		for _, prefix := range []string{Environments, Releases, Deployments, Tasks, Statuses, Jobs, Crons, Nodes, Leases, Balancers} {
			entries, err := tx.List(prefix)
			if err != nil {
				return err
			}
			for _, e := range entries {
				value, err := decodeObject(e)
				if err != nil {
					return err
				}
				snapshot = append(snapshot, decoded{key: e.Key, rev: e.Rev, value: value})
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	m.publish(func(s *State) *Dirty { return s.replace(snapshot, rev) })
	select {
	case <-m.ready:
	default:
		close(m.ready)
	}
	return rev, nil
}

// follow applies what changes after a revision until the watch ends. It watches every key, also those that are not
// mirrored, so that every revision is seen and Wait ends.
func (m *Mirror) follow(ctx context.Context, rev int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for batch := range m.store.Watch(ctx, Root, rev) {
		if batch.Err != nil {
			return batch.Err
		}
		var changes []decoded
		for _, c := range batch.Changes {
			d := decoded{key: c.Key, rev: c.Rev}
			if !c.Deleted {
				var err error
				if d.value, err = decodeObject(c.Entry); err != nil {
					return err
				}
			}
			changes = append(changes, d)
		}
		m.publish(func(s *State) *Dirty { return s.apply(changes, batch.Rev) })
	}
	return api.Errorf(api.Unavailable, "watch store: it ended")
}

// publish changes the state, then wakes those who wait for it.
func (m *Mirror) publish(change func(*State) *Dirty) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dirty := change(m.state)
	close(m.applied)
	m.applied = make(chan struct{})
	for s := range m.subscriptions {
		s.add(dirty)
	}
}

// Read runs fn on the state; fn must not block and must not keep the maps.
func (m *Mirror) Read(fn func(s *State)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	fn(m.state)
}

// Wait blocks until the mirror has applied a revision, so that a writer reads its own write. The error is of kind
// Timeout when ctx ends first.
func (m *Mirror) Wait(ctx context.Context, rev int64) error {
	for {
		m.mu.RLock()
		now, applied := m.state.Rev, m.applied
		m.mu.RUnlock()
		if now >= rev {
			return nil
		}
		select {
		case <-applied:
		case <-ctx.Done():
			return api.Errorf(api.Timeout, "wait for revision %d, now at %d: %w", rev, now, ctx.Err())
		}
	}
}

// Subscribe gives a subscription that begins with everything there is as dirty. Close it when done.
func (m *Mirror) Subscribe() *Subscription {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &Subscription{mirror: m, wake: make(chan struct{}, 1), dirty: newDirty()}
	m.subscriptions[s] = struct{}{}
	s.add(m.state.everything())
	return s
}
