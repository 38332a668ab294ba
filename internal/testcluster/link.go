package testcluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/store"
)

// Link is one process's way to the store. It can be made to fail, and is cut for good when the process is killed.
type Link struct {
	store.Store
	over chan struct{} // closed by cut

	mu     sync.Mutex
	dead   bool
	deaf   bool
	denied int
	fail   func() error // asked before a transaction
	lose   func() bool  // asked after one: its answer is lost
	leases []store.Lease
}

func newLink(s store.Store) *Link { return &Link{Store: s, over: make(chan struct{})} }

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

// deafen keeps from the process that it loses an election.
func (l *Link) deafen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = true
}

// Refused gives how many writes of a deposed leader were refused.
func (l *Link) Refused() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.denied
}

func (l *Link) isDeaf() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deaf
}

// cut ends the link; leases that were granted over it run out.
func (l *Link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		close(l.over)
	}
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
	if errors.Is(err, leader.ErrDeposed) {
		l.denied++
	}
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

// Watch implements [store.Store].
func (l *Link) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	if !strings.HasPrefix(prefix, store.Elections) {
		return l.Store.Watch(ctx, prefix, after)
	}
	out := make(chan store.Batch)
	go func() {
		defer close(out)
		for b := range l.Store.Watch(ctx, prefix, after) {
			if l.isDeaf() {
				<-ctx.Done()
				return
			}
			select {
			case out <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
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
	return newHeldLease(lease, l), nil
}

// Revoke implements [store.Store].
func (l *Link) Revoke(ctx context.Context, lease int64) error {
	if err := l.before(); err != nil {
		return err
	}
	return l.Store.Revoke(ctx, lease)
}

// heldLease is a lease that cannot be revoked over a link that is cut, and whose end a deaf process is not told.
type heldLease struct {
	store.Lease
	link *Link
	lost chan struct{}
}

func newHeldLease(lease store.Lease, l *Link) heldLease {
	h := heldLease{lease, l, make(chan struct{})}
	go func() {
		select {
		case <-lease.Lost():
			if !l.isDeaf() {
				close(h.lost)
			}
		case <-l.over:
		}
	}()
	return h
}

func (h heldLease) Lost() <-chan struct{} { return h.lost }

func (h heldLease) Revoke(ctx context.Context) error {
	if err := h.link.before(); err != nil {
		return err
	}
	return h.Lease.Revoke(ctx)
}
