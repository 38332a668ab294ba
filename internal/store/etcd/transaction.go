package etcd

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/optimistic"
)

// errConflict tells that an attempt must be run again on a newer snapshot.
var errConflict = errors.New("something that was read has changed")

const maxBackoff = 20 * time.Millisecond

// Update runs fn until it commits without a conflict. See store.Store.
//
// Transactions that have lost once run one at a time, so that many that want the same key do not go on defeating
// each other: a commit can fail only because another one succeeded.
func (s *Server) Update(ctx context.Context, fn func(tx store.Tx) error) (int64, error) {
	rev, err := s.attempt(ctx, fn)
	if !errors.Is(err, errConflict) {
		return rev, err
	}
	select {
	case s.retry <- struct{}{}:
		defer func() { <-s.retry }()
	case <-ctx.Done():
		return 0, s.failed("update store", ctx.Err())
	}
	for backoff := time.Duration(0); ; backoff = min(2*backoff+time.Millisecond, maxBackoff) {
		if rev, err := s.attempt(ctx, fn); !errors.Is(err, errConflict) {
			return rev, err
		}
		select {
		case <-time.After(rand.N(backoff + time.Microsecond)):
		case <-ctx.Done():
			return 0, s.failed("update store", ctx.Err())
		}
	}
}

// View runs fn on a snapshot. See store.Store.
func (s *Server) View(ctx context.Context, fn func(tx store.Tx) error) (int64, error) {
	for {
		snap := &snapshot{server: s, ctx: ctx}
		tx := optimistic.NewView(snap)
		err := fn(tx)
		if snap.compacted && ctx.Err() == nil {
			continue
		}
		if err == nil {
			err = tx.Err()
		}
		if err != nil {
			return 0, err
		}
		return snap.revision()
	}
}

// attempt runs fn once; errConflict when it has to be run again.
func (s *Server) attempt(ctx context.Context, fn func(tx store.Tx) error) (int64, error) {
	snap := &snapshot{server: s, ctx: ctx}
	tx := optimistic.New(snap)
	err := fn(tx)
	if snap.compacted {
		return 0, errConflict
	}
	if err == nil {
		err = tx.Err()
	}
	if err != nil {
		return 0, err
	}
	writes := tx.Writes()
	if len(writes) == 0 {
		return snap.revision()
	}
	resp, err := s.client.Txn(ctx).If(conditions(tx, snap.rev)...).Then(operations(writes)...).Commit()
	if err != nil {
		return 0, s.failed("commit transaction", err)
	}
	if !resp.Succeeded {
		return 0, errConflict
	}
	return resp.Header.GetRevision(), nil
}

// conditions hold as long as nothing that tx read at revision rev has changed: every key that was read, and every
// key that was found under a prefix, is unchanged and still there, and nothing under a prefix is newer.
func conditions(tx *optimistic.Tx, rev int64) []clientv3.Cmp {
	var cmps []clientv3.Cmp
	for key, mod := range tx.Reads() {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(key), "=", mod))
	}
	for _, prefix := range tx.Prefixes() {
		cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(prefix).WithPrefix(), "<", rev+1))
	}
	return cmps
}

func operations(writes []optimistic.Write) []clientv3.Op {
	ops := make([]clientv3.Op, 0, len(writes))
	for _, w := range writes {
		switch {
		case w.Delete:
			ops = append(ops, clientv3.OpDelete(w.Key))
		case w.Lease != 0:
			ops = append(ops, clientv3.OpPut(w.Key, string(w.Value), clientv3.WithLease(clientv3.LeaseID(w.Lease))))
		default:
			ops = append(ops, clientv3.OpPut(w.Key, string(w.Value)))
		}
	}
	return ops
}

// snapshot reads at the revision that its first read found.
type snapshot struct {
	server    *Server
	ctx       context.Context
	rev       int64
	compacted bool // the revision is gone: everything has to be read again
}

func (v *snapshot) Get(key string) (store.Entry, bool, error) {
	kvs, err := v.read(key)
	if err != nil || len(kvs) == 0 {
		return store.Entry{}, false, err
	}
	return entry(kvs[0]), true, nil
}

func (v *snapshot) List(prefix string) ([]store.Entry, error) {
	kvs, err := v.read(prefix, clientv3.WithPrefix()) // comes sorted by key
	if err != nil {
		return nil, err
	}
	list := make([]store.Entry, len(kvs))
	for i, kv := range kvs {
		list[i] = entry(kv)
	}
	return list, nil
}

func (v *snapshot) read(key string, opts ...clientv3.OpOption) ([]*mvccpb.KeyValue, error) {
	if v.rev != 0 { // this member has it already: no need to ask the others again
		opts = append(opts, clientv3.WithRev(v.rev), clientv3.WithSerializable())
	}
	resp, err := v.server.client.Get(v.ctx, key, opts...)
	if err != nil {
		v.compacted = v.compacted || errors.Is(err, rpctypes.ErrCompacted)
		return nil, v.server.failed("read store", err)
	}
	if v.rev == 0 {
		v.rev = resp.Header.GetRevision()
	}
	return resp.Kvs, nil
}

// revision gives the snapshot's revision, the present one if nothing was read.
func (v *snapshot) revision() (int64, error) {
	if v.rev == 0 {
		if _, err := v.read(store.Root, clientv3.WithCountOnly()); err != nil {
			return 0, err
		}
	}
	return v.rev, nil
}

func entry(kv *mvccpb.KeyValue) store.Entry {
	return store.Entry{
		Key: string(kv.Key), Value: kv.Value, Rev: kv.ModRevision, Created: kv.CreateRevision, Lease: kv.Lease,
	}
}

// Compact drops the history up to and including rev: reads and watches can no longer start there.
func (s *Server) Compact(ctx context.Context, rev int64) error {
	_, err := s.client.Compact(ctx, rev, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return s.failed("compact store", err)
	}
	return nil
}
