package etcd

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ikada/ikada/internal/store"
)

// lease is a lease that a goroutine of the server keeps alive.
type lease struct {
	server *Server
	id     clientv3.LeaseID
	ttl    time.Duration
	lost   chan struct{}
	cancel context.CancelFunc // ends the keeping alive

	abandoned atomic.Bool
	revoke    sync.Once
	revoked   chan struct{}
}

// Grant makes a lease; etcd rounds its ttl up to a whole second. See store.Store.
func (s *Server) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	seconds := max(1, int64((ttl+time.Second-1)/time.Second))
	resp, err := s.client.Grant(ctx, seconds)
	if err != nil {
		return nil, s.failed("grant lease", err)
	}
	alive, cancel := context.WithCancel(s.client.Ctx())
	answers, err := s.client.KeepAlive(alive, resp.ID)
	if err != nil {
		cancel()
		return nil, s.failed("keep lease alive", err)
	}
	l := &lease{
		server:  s,
		id:      resp.ID,
		ttl:     time.Duration(resp.TTL) * time.Second,
		lost:    make(chan struct{}),
		cancel:  cancel,
		revoked: make(chan struct{}),
	}
	s.tasks.Go(func() { l.follow(answers) })
	return l, nil
}

// Revoke ends any lease by its ID. See store.Store.
func (s *Server) Revoke(ctx context.Context, id int64) error {
	_, err := s.client.Revoke(ctx, clientv3.LeaseID(id))
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return s.failed("revoke lease", err)
	}
	return nil
}

// follow closes lost once the lease has ended: it was not found any more, revoked, not kept alive in time, or
// abandoned for as long as its ttl.
func (l *lease) follow(answers <-chan *clientv3.LeaseKeepAliveResponse) {
	defer close(l.lost)
	defer l.cancel()
	for range answers {
	}
	if !l.abandoned.Load() {
		return
	}
	select {
	case <-time.After(l.ttl):
	case <-l.revoked:
	case <-l.server.client.Ctx().Done():
	}
}

func (l *lease) ID() int64             { return int64(l.id) }
func (l *lease) Lost() <-chan struct{} { return l.lost }

func (l *lease) Abandon() {
	l.abandoned.Store(true)
	l.cancel()
}

func (l *lease) Revoke(ctx context.Context) error {
	if err := l.server.Revoke(ctx, l.ID()); err != nil {
		return err
	}
	l.revoke.Do(func() { close(l.revoked) })
	l.cancel()
	return nil
}
