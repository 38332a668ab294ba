// Package store keeps the cluster's state: keys with JSON values, changed in transactions, watched without a gap.
//
// It declares [Store], which mem (tests) and etcd (the product) fulfil, both held to storetest's suite; names the
// keys of every kind of object; and gives typed access to them. [Mirror] is the read side: a decoded copy of
// everything that the control loops read, kept current by a watch. The package decides nothing. All of it but a
// transaction is safe for concurrent use. Start at [Store], then the keys in keys.go.
package store

import (
	"context"
	"errors"
	"time"
)

// Store is a linearizable key-value store with transactions. Safe for concurrent use.
type Store interface {
	// Update runs fn on a consistent snapshot and commits what it wrote if nothing it read has changed since, else
	// runs it again: fn must have no side effects besides tx. It gives the revision of the commit, or that of the
	// snapshot when fn wrote nothing. An error of fn is returned as it is and nothing is written.
	Update(ctx context.Context, fn func(tx Tx) error) (int64, error)

	// View runs fn on a consistent snapshot and gives its revision. Writes in fn are an error.
	View(ctx context.Context, fn func(tx Tx) error) (int64, error)

	// Watch delivers every change with a revision above after to keys under prefix, in order, one batch a revision
	// or several merged into one; then blocks for more until ctx ends, which closes the channel. When the changes
	// after that revision are no longer kept, or the watch breaks, the channel delivers a batch with Err set and is
	// closed: the caller takes a new snapshot.
	Watch(ctx context.Context, prefix string, after int64) <-chan Batch

	// Grant makes a lease: keys put under it are deleted when it is revoked or not kept alive for ttl.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)

	// Revoke ends any lease by its ID, also another holder's; one that is gone is no error.
	Revoke(ctx context.Context, lease int64) error
}

// Tx reads and writes within one transaction. Reads see the transaction's own writes; the entries of these have no
// revisions yet (0). Values that were read are shared and must not be changed. Not safe for concurrent use.
type Tx interface {
	// Get gives the entry of key; ok is false when there is none.
	Get(key string) (e Entry, ok bool, err error)
	// List gives the entries under prefix, sorted by key.
	List(prefix string) ([]Entry, error)
	// Put sets a value.
	Put(key string, value []byte)
	// PutLeased sets a value that goes with the lease.
	PutLeased(key string, value []byte, lease int64)
	// Delete removes a key; one that is missing is no error.
	Delete(key string)
}

// Entry is a key's value, the revision of its last change and of its creation, and its lease (0: none).
type Entry struct {
	Key     string
	Value   []byte
	Rev     int64
	Created int64
	Lease   int64
}

// Change is a key's new entry, or its deletion (Deleted true, Value nil).
type Change struct {
	Entry
	Deleted bool
}

// Batch is the changes of one or several revisions, and the last of these.
type Batch struct {
	Changes []Change
	Rev     int64
	Err     error
}

// Lease is a lease that this process holds and keeps alive.
type Lease interface {
	ID() int64
	// Lost is closed when the lease has ended.
	Lost() <-chan struct{}
	// Abandon stops keeping it alive: it ends by itself once its ttl has passed.
	Abandon()
	// Revoke ends it and deletes its keys.
	Revoke(ctx context.Context) error
}

// What a transaction may hold; one that asks for more fails with an error of kind Exhausted.
const (
	MaxWrites  = 4096    // keys that one transaction puts or deletes
	MaxTxBytes = 7 << 20 // bytes of the keys and values that one transaction puts
)

// ErrCompacted is in the chain of a Batch's Err when the changes asked for are no longer kept.
var ErrCompacted = errors.New("the changes after that revision are no longer kept")
