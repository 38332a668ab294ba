package testcluster

import (
	"context"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// Link is one process's way to the store. It can be made to fail, and is cut for good when the process is killed.
type Link struct {
	store.Store

	mu     sync.Mutex
	dead   bool
	fail   func() error // asked before a transaction
	lose   func() bool  // asked after one: its answer is lost
	leases []store.Lease
}

func newLink(s store.Store) *Link { return &Link{Store: s} }

// Fail has f asked before every transaction; its error becomes the transaction's. nil ends it.
func (l *Link) Fail(f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = f
}

// Lose has f asked after every commit; where it gives true the writer is told of an error although its write is kept.
func (l *Link) Lose(f func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = f
}

// cut ends the link; leases that were granted over it run out.
func (l *Link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, lease := range l.leases {
		lease.Abandon()
	}
}

func (l *Link) before() error {
	l.mu.Lock()
	dead, fail := l.dead, l.fail
	l.mu.Unlock()
	switch {
	case dead:
		return api.Errorf(api.Unavailable, "the link to the store is cut")
	case fail != nil:
		return fail()
	}
	return nil
}

// Update implements [store.Store].
func (l *Link) Update(ctx context.Context, fn func(tx store.Tx) error) (int64, error) {
	if err := l.before(); err != nil {
		return 0, err
	}
	rev, err := l.Store.Update(ctx, fn)
	l.mu.Lock()
	lose := l.lose
	l.mu.Unlock()
	if err == nil && lose != nil && lose() {
		return 0, api.Errorf(api.Unavailable, "the store's answer is lost")
	}
	return rev, err
}

// View implements [store.Store].
func (l *Link) View(ctx context.Context, fn func(tx store.Tx) error) (int64, error) {
	if err := l.before(); err != nil {
		return 0, err
	}
	return l.Store.View(ctx, fn)
}

// Grant implements [store.Store].
func (l *Link) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	if err := l.before(); err != nil {
		return nil, err
	}
	lease, err := l.Store.Grant(ctx, ttl)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leases = append(l.leases, lease)
	return heldLease{lease, l}, nil
}

// Revoke implements [store.Store].
func (l *Link) Revoke(ctx context.Context, lease int64) error {
	if err := l.before(); err != nil {
		return err
	}
	return l.Store.Revoke(ctx, lease)
}

// heldLease is a lease that cannot be revoked over a link that is cut.
type heldLease struct {
	store.Lease
	link *Link
}

func (h heldLease) Revoke(ctx context.Context) error {
	if err := h.link.before(); err != nil {
		return err
	}
	return h.Lease.Revoke(ctx)
}
