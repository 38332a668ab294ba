// Package mem is a store in memory, for tests: the same transactions, watches and leases as the product's store,
// without a disk, and with time that testing/synctest can run.
//
// State is an immutable radix tree that every commit replaces, so a snapshot costs nothing and transactions truly
// run at once and conflict. Nothing survives the process. Safe for concurrent use. Start at [New].
package mem

import (
	"context"
	"strings"
	"sync"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/optimistic"
)

// DefaultHistory is the number of revisions whose changes a watch can start from.
const DefaultHistory = 10_000

// Store is a store.Store in memory.
type Store struct {
	history int

	mu        sync.Mutex
	rev       int64
	tree      *iradix.Tree[store.Entry]
	batches   []store.Batch // one a revision, without gaps: batches[i].Rev == floor+1+i
	floor     int64         // the last revision whose changes are no longer kept
	changed   chan struct{} // closed and replaced by every commit
	leases    map[int64]*lease
	lastLease int64
}

// New gives an empty store that keeps the changes of the last history revisions; 0 is DefaultHistory.
func New(history int) *Store {
	if history <= 0 {
		history = DefaultHistory
	}
	return &Store{
		history: history,
		rev:     1,
		floor:   1,
		tree:    iradix.New[store.Entry](),
		changed: make(chan struct{}),
		leases:  map[int64]*lease{},
	}
}

// Update runs fn until it commits without a conflict. See store.Store.
func (s *Store) Update(ctx context.Context, fn func(tx store.Tx) error) (int64, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, api.Errorf(api.Timeout, "update store: %w", err)
		}
		snap := s.snapshot()
		tx := optimistic.New(snap)
		if err := fn(tx); err != nil {
			return 0, err
		}
		if err := tx.Err(); err != nil {
			return 0, err
		}
		writes := tx.Writes()
		if len(writes) == 0 {
			return snap.rev, nil
		}
		if rev, ok, err := s.commit(tx, writes); ok || err != nil {
			return rev, err
		}
	}
}

// View runs fn on a snapshot. See store.Store.
func (s *Store) View(ctx context.Context, fn func(tx store.Tx) error) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, api.Errorf(api.Timeout, "view store: %w", err)
	}
	snap := s.snapshot()
	tx := optimistic.NewView(snap)
	if err := fn(tx); err != nil {
		return 0, err
	}
	return snap.rev, tx.Err()
}

// Compact drops the changes up to and including rev from what a watch can start from.
func (s *Store) Compact(_ context.Context, rev int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compact(min(rev, s.rev))
	return nil
}

func (s *Store) compact(rev int64) {
	if rev <= s.floor {
		return
	}
	s.batches = append([]store.Batch(nil), s.batches[rev-s.floor:]...)
	s.floor = rev
}

// commit applies the writes if nothing that tx read has changed; ok is false when something has.
func (s *Store) commit(tx *optimistic.Tx, writes []optimistic.Write) (rev int64, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unchanged(tx) {
		return 0, false, nil
	}
	for _, w := range writes {
		if _, held := s.leases[w.Lease]; w.Lease != 0 && !held {
			return 0, false, api.Errorf(api.Conflict, "write %s: its lease has ended", store.Describe(w.Key))
		}
	}
	s.apply(writes)
	return s.rev, true, nil
}

func (s *Store) unchanged(tx *optimistic.Tx) bool {
	reads := tx.Reads()
	for key, rev := range reads {
		if e, _ := s.tree.Get([]byte(key)); e.Rev != rev {
			return false
		}
	}
	for _, prefix := range tx.Prefixes() {
		phantom := false
		s.tree.Root().WalkPrefix([]byte(prefix), func(key []byte, _ store.Entry) bool {
			rev, read := reads[string(key)]
			phantom = !read || rev == 0
			return phantom
		})
		if phantom {
			return false
		}
	}
	return true
}

// apply makes the writes the next revision, unless they change nothing. It needs s.mu.
func (s *Store) apply(writes []optimistic.Write) {
	next := s.rev + 1
	txn := s.tree.Txn()
	var changes []store.Change
	for _, w := range writes {
		old, existed := txn.Get([]byte(w.Key))
		if existed && old.Lease != 0 && s.leases[old.Lease] != nil {
			delete(s.leases[old.Lease].keys, w.Key)
		}
		switch {
		case w.Delete && existed:
			txn.Delete([]byte(w.Key))
			changes = append(changes, store.Change{Entry: store.Entry{Key: w.Key, Rev: next}, Deleted: true})
		case !w.Delete:
			e := store.Entry{Key: w.Key, Value: w.Value, Rev: next, Created: next, Lease: w.Lease}
			if existed {
				e.Created = old.Created
			}
			if w.Lease != 0 {
				s.leases[w.Lease].keys[w.Key] = struct{}{}
			}
			txn.Insert([]byte(w.Key), e)
			changes = append(changes, store.Change{Entry: e})
		}
	}
	if len(changes) == 0 {
		return
	}
	s.tree, s.rev = txn.Commit(), next
	s.batches = append(s.batches, store.Batch{Changes: changes, Rev: next})
	if len(s.batches) >= 2*s.history { // in bulk, so that a commit stays cheap
		s.compact(s.rev - int64(s.history))
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Store) snapshot() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return snapshot{tree: s.tree, rev: s.rev}
}

// snapshot is the store as of one revision.
type snapshot struct {
	tree *iradix.Tree[store.Entry]
	rev  int64
}

func (v snapshot) Get(key string) (store.Entry, bool, error) {
	e, ok := v.tree.Get([]byte(key))
	return e, ok, nil
}

func (v snapshot) List(prefix string) ([]store.Entry, error) {
	var list []store.Entry
	v.tree.Root().WalkPrefix([]byte(prefix), func(_ []byte, e store.Entry) bool {
		list = append(list, e)
		return false
	})
	return list, nil
}

// Watch delivers changes from the kept history, then new ones. See store.Store.
func (s *Store) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	ch := make(chan store.Batch)
	go func() {
		defer close(ch)
		for {
			batch, changed := s.since(prefix, after)
			after = max(after, batch.Rev)
			if len(batch.Changes) > 0 || batch.Err != nil {
				select {
				case ch <- batch:
				case <-ctx.Done():
					return
				}
			}
			if batch.Err != nil {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch
}

// since merges the kept changes after a revision into one batch, and gives a channel that the next commit closes.
func (s *Store) since(prefix string, after int64) (store.Batch, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after < s.floor {
		return store.Batch{Rev: after, Err: api.Errorf(api.Unavailable, "watch store: %w", store.ErrCompacted)}, s.changed
	}
	merged := store.Batch{Rev: after}
	if after >= s.rev {
		return merged, s.changed
	}
	for _, b := range s.batches[after-s.floor:] {
		for _, c := range b.Changes {
			if strings.HasPrefix(c.Key, prefix) {
				merged.Changes = append(merged.Changes, c)
				merged.Rev = b.Rev
			}
		}
	}
	if len(merged.Changes) == 0 {
		merged.Rev = s.rev
	}
	return merged, s.changed
}
