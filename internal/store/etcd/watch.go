package etcd

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// lastWord bounds how long Close waits for a receiver to take the error that ends its watch.
const lastWord = time.Second

var errWatchEnded = errors.New("the watch has ended")

// Watch delivers changes from the kept history, then new ones. See store.Store.
func (s *Server) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	ch := make(chan store.Batch)
	s.tasks.Go(func() {
		defer close(ch)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for resp := range s.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1)) {
			if resp.Err() != nil {
				s.deliver(ctx, ch, store.Batch{Rev: after, Err: watchError(resp)})
				return
			}
			if len(resp.Events) == 0 {
				continue
			}
			batch := store.Batch{Changes: make([]store.Change, len(resp.Events))}
			for i, e := range resp.Events {
				batch.Changes[i] = store.Change{Entry: entry(e.Kv), Deleted: e.Type == mvccpb.Event_DELETE}
			}
			// Not the response's own revision: that is the store's, of which this response may hold only a part.
			batch.Rev = batch.Changes[len(batch.Changes)-1].Rev
			after = batch.Rev
			if !s.deliver(ctx, ch, batch) {
				return
			}
		}
		if ctx.Err() == nil {
			s.deliver(ctx, ch, store.Batch{Rev: after, Err: api.Errorf(api.Unavailable, "watch store: %w", errWatchEnded)})
		}
	})
	return ch
}

// deliver sends a batch; false when the receiver has gone. While the server closes, a receiver that does not listen
// is waited for only as long as lastWord.
func (s *Server) deliver(ctx context.Context, ch chan<- store.Batch, b store.Batch) bool {
	select {
	case ch <- b:
		return true
	case <-ctx.Done():
		return false
	case <-s.client.Ctx().Done():
	}
	select {
	case ch <- b:
		return true
	case <-ctx.Done():
	case <-time.After(lastWord):
	}
	return false
}

func watchError(resp clientv3.WatchResponse) error {
	if resp.CompactRevision != 0 {
		return api.Errorf(api.Unavailable, "watch store: %w", store.ErrCompacted)
	}
	return api.Errorf(api.Unavailable, "watch store: %w", resp.Err())
}
