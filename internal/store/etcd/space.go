package etcd

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ikada/ikada/internal/store"
)

// reclaimPause is the least time between two attempts: rewriting the database file holds up every transaction.
const reclaimPause = time.Minute

// askForSpace has reclaimWhenFull look for space; it never blocks.
func (s *Server) askForSpace() {
	select {
	case s.full <- struct{}{}:
	default:
	}
}

// reclaimWhenFull gives back what history and deleted keys hold in the database file after the quota was reached.
// etcd refuses writes from then on, also when there is space again, until it is told that there is.
func (s *Server) reclaimWhenFull(ctx context.Context) {
	for {
		select {
		case <-s.full:
		case <-ctx.Done():
			return
		}
		if err := s.reclaim(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("reclaim store space", "error", err)
		}
		select {
		case <-time.After(reclaimPause):
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) reclaim(ctx context.Context) error {
	rev, err := s.View(ctx, func(store.Tx) error { return nil })
	if err != nil {
		return err
	}
	if err := s.Compact(ctx, rev); err != nil {
		return err
	}
	backend := s.etcd.Server.Backend()
	before := backend.Size()
	if err := backend.Defrag(); err != nil {
		return s.failed("defragment store", err)
	}
	after := backend.Size()
	s.log.Warn("store has reached its quota", "quota", s.config.Quota, "before", before, "after", after)
	if after >= s.config.Quota-s.config.Quota/10 {
		return nil // what is left is in use: writes stay refused until something is deleted
	}
	if _, err := s.client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return s.failed("disarm store alarm", err)
	}
	return nil
}
