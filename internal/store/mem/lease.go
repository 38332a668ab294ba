package mem

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/optimistic"
)

// lease lives for as long as its holder does, which is this process; only one that was abandoned runs out.
type lease struct {
	store *Store
	id    int64
	ttl   time.Duration
	keys  map[string]struct{} // under store.mu
	lost  chan struct{}
	leave sync.Once
}

// Grant makes a lease. See store.Store.
func (s *Store) Grant(_ context.Context, ttl time.Duration) (store.Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastLease++
	l := &lease{store: s, id: s.lastLease, ttl: ttl, keys: map[string]struct{}{}, lost: make(chan struct{})}
	s.leases[l.id] = l
	return l, nil
}

// Revoke ends any lease by its ID. See store.Store.
func (s *Store) Revoke(_ context.Context, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.leases[id]
	if !ok {
		return nil
	}
	delete(s.leases, id)
	var writes []optimistic.Write
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		writes = append(writes, optimistic.Write{Key: key, Delete: true})
	}
	s.apply(writes)
	close(l.lost)
	return nil
}

func (l *lease) ID() int64             { return l.id }
func (l *lease) Lost() <-chan struct{} { return l.lost }

func (l *lease) Abandon() {
	l.leave.Do(func() {
		time.AfterFunc(l.ttl, func() { _ = l.store.Revoke(context.Background(), l.id) })
	})
}

func (l *lease) Revoke(ctx context.Context) error { return l.store.Revoke(ctx, l.id) }
