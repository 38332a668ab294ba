// Package storetest holds every store to the contract of package store: mem and etcd pass the same suite, so what
// is tested on the one holds on the other. Start at [Run].
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ikada/ikada/internal/store"
)

// patience bounds every wait of the suite: no test depends on its length, it only ends one that hangs.
const patience = 30 * time.Second

// Compactor is what a store under test offers besides store.Store, so that history can be made to end.
type Compactor interface {
	Compact(ctx context.Context, rev int64) error
}

// Run runs the suite; open gives a fresh, empty store, which must also be a Compactor.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, s store.Store)
	}{
		{"GetPutDelete", testGetPutDelete},
		{"Revisions", testRevisions},
		{"ListIsSortedAndExact", testList},
		{"OwnWritesAreVisible", testOwnWrites},
		{"SnapshotIsConsistent", testSnapshot},
		{"ErrorWritesNothing", testError},
		{"ViewCannotWrite", testViewWrite},
		{"EmptyTransactions", testEmpty},
		{"Limits", testLimits},
		{"CancelledContext", testCancelled},
		{"ChangedReadRunsAgain", testChangedRead},
		{"DeletedReadRunsAgain", testDeletedRead},
		{"PhantomRunsAgain", testPhantom},
		{"UnrelatedChangeDoesNot", testUnrelated},
		{"Counter", testCounter},
		{"WriteSkew", testWriteSkew},
		{"CancelledWhileConflicting", testCancelledConflict},
		{"WatchDelivers", testWatch},
		{"WatchHasNoGap", testWatchNoGap},
		{"WatchFromThePast", testWatchPast},
		{"WatchCompacted", testWatchCompacted},
		{"WatchEndsWithContext", testWatchEnds},
		{"LeaseRevoked", testLeaseRevoked},
		{"LeaseRevokedByID", testLeaseRevokedByID},
		{"LeaseKeptAlive", testLeaseKeptAlive},
		{"LeaseRunsOut", testLeaseRunsOut},
		{"LeaseLetsGo", testLeaseLetsGo},
		{"LeaseGone", testLeaseGone},
		{"TypedAccess", testTyped},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// key names a key of the suite's own.
func key(format string, args ...any) string {
	return store.Root + "test/" + fmt.Sprintf(format, args...)
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func update(t *testing.T, s store.Store, fn func(tx store.Tx) error) int64 {
	t.Helper()
	rev, err := s.Update(within(t), fn)
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	return rev
}

func put(t *testing.T, s store.Store, key, value string) int64 {
	t.Helper()
	return update(t, s, func(tx store.Tx) error {
		tx.Put(key, []byte(value))
		return nil
	})
}

func remove(t *testing.T, s store.Store, key string) int64 {
	t.Helper()
	return update(t, s, func(tx store.Tx) error {
		tx.Delete(key)
		return nil
	})
}

func get(t *testing.T, s store.Store, key string) (e store.Entry, ok bool) {
	t.Helper()
	_, err := s.View(within(t), func(tx store.Tx) (err error) {
		e, ok, err = tx.Get(key)
		return err
	})
	if err != nil {
		t.Fatalf("View: %v", err)
	}
	return e, ok
}

func list(t *testing.T, s store.Store, prefix string) (entries []store.Entry) {
	t.Helper()
	_, err := s.View(within(t), func(tx store.Tx) (err error) {
		entries, err = tx.List(prefix)
		return err
	})
	if err != nil {
		t.Fatalf("View: %v", err)
	}
	return entries
}

func keys(entries []store.Entry) []string {
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Key)
	}
	return names
}

// next gives the next batch of a watch that must not fail.
func next(t *testing.T, ch <-chan store.Batch) store.Batch {
	t.Helper()
	select {
	case b, ok := <-ch:
		if !ok {
			t.Fatal("the watch ended")
		}
		if b.Err != nil {
			t.Fatalf("the watch failed: %v", b.Err)
		}
		return b
	case <-time.After(patience):
		t.Fatal("the watch delivered nothing")
	}
	return store.Batch{}
}

func ended(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("%s did not end", what)
	}
}

var errStop = errors.New("stop")
