// Package optimistic records what a transaction reads and writes, so that a store can run it on a snapshot and
// commit it only if nothing it read has changed since. It owns no state beyond one transaction and does no I/O of
// its own: a store gives it a [Snapshot], runs the caller's function on a [Tx], then validates [Tx.Reads] and
// [Tx.Prefixes] and applies [Tx.Writes] in one step. Not safe for concurrent use.
// Start at [Tx].
package optimistic

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// Snapshot reads the store as of one revision.
type Snapshot interface {
	Get(key string) (e store.Entry, ok bool, err error)
	List(prefix string) ([]store.Entry, error)
}

// Tx is a store.Tx that takes notes.
type Tx struct {
	snap     Snapshot
	readOnly bool
	reads    map[string]int64
	prefixes map[string]struct{}
	writes   map[string]Write
	err      error // the first failed read, or a write where none is allowed
}

// Write is a key's value to be set, or its deletion.
type Write struct {
	Key    string
	Value  []byte
	Lease  int64
	Delete bool
}

// New starts a transaction that may write.
func New(snap Snapshot) *Tx {
	return &Tx{snap: snap, reads: map[string]int64{}, prefixes: map[string]struct{}{}, writes: map[string]Write{}}
}

// NewView starts a transaction in which a write is an error.
func NewView(snap Snapshot) *Tx {
	t := New(snap)
	t.readOnly = true
	return t
}

// Get gives the entry of key, the transaction's own write first.
func (t *Tx) Get(key string) (store.Entry, bool, error) {
	if w, ok := t.writes[key]; ok {
		return w.entry(), !w.Delete, nil
	}
	e, ok, err := t.snap.Get(key)
	if err != nil {
		t.fail(err)
		return store.Entry{}, false, err
	}
	t.reads[key] = e.Rev
	return e, ok, nil
}

// List gives the entries under prefix, sorted by key, the transaction's own writes merged in.
func (t *Tx) List(prefix string) ([]store.Entry, error) {
	found, err := t.snap.List(prefix)
	if err != nil {
		t.fail(err)
		return nil, err
	}
	t.prefixes[prefix] = struct{}{}
	for _, e := range found {
		t.reads[e.Key] = e.Rev
	}
	return t.overlay(prefix, found), nil
}

// overlay merges the transaction's own writes under prefix into entries of the snapshot, which it may change.
func (t *Tx) overlay(prefix string, found []store.Entry) []store.Entry {
	own := 0
	for key := range t.writes {
		if strings.HasPrefix(key, prefix) {
			own++
		}
	}
	if own == 0 {
		return found
	}
	found = slices.DeleteFunc(found, func(e store.Entry) bool {
		_, overwritten := t.writes[e.Key]
		return overwritten
	})
	for key, w := range t.writes {
		if strings.HasPrefix(key, prefix) && !w.Delete {
			found = append(found, w.entry())
		}
	}
	slices.SortFunc(found, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	return found
}

// Put sets a value.
func (t *Tx) Put(key string, value []byte) { t.PutLeased(key, value, 0) }

// PutLeased sets a value that goes with the lease.
func (t *Tx) PutLeased(key string, value []byte, lease int64) {
	t.write(Write{Key: key, Value: bytes.Clone(value), Lease: lease})
}

// Delete removes a key.
func (t *Tx) Delete(key string) { t.write(Write{Key: key, Delete: true}) }

func (t *Tx) write(w Write) {
	if t.readOnly {
		t.fail(api.Errorf(api.Internal, "write %s: the transaction only reads", store.Describe(w.Key)))
		return
	}
	t.writes[w.Key] = w
}

func (t *Tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// Err gives the first failed read, or a write where none is allowed, or that the writes exceed the store's limits;
// a transaction with an error must not be committed even if its function swallowed it.
func (t *Tx) Err() error {
	if t.err != nil {
		return t.err
	}
	if len(t.writes) > store.MaxWrites {
		return api.Errorf(api.Exhausted, "the transaction writes %d keys; at most %d are allowed", len(t.writes), store.MaxWrites)
	}
	size := 0
	for _, w := range t.writes {
		size += len(w.Key) + len(w.Value)
	}
	if size > store.MaxTxBytes {
		return api.Errorf(api.Exhausted, "the transaction writes %d bytes; at most %d are allowed", size, store.MaxTxBytes)
	}
	return nil
}

// Reads gives the revision of every key that was read, 0 for one that was missing.
func (t *Tx) Reads() map[string]int64 { return t.reads }

// Prefixes gives the prefixes that were listed. Every key found under one is in Reads too.
func (t *Tx) Prefixes() []string { return slices.Sorted(maps.Keys(t.prefixes)) }

// Writes gives what is to be written, sorted by key.
func (t *Tx) Writes() []Write {
	return slices.SortedFunc(maps.Values(t.writes), func(a, b Write) int { return strings.Compare(a.Key, b.Key) })
}

func (w Write) entry() store.Entry { return store.Entry{Key: w.Key, Value: w.Value, Lease: w.Lease} }
