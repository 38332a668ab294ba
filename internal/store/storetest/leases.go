package storetest

import (
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

func grant(t *testing.T, s store.Store, ttl time.Duration) store.Lease {
	t.Helper()
	l, err := s.Grant(within(t), ttl)
	if err != nil {
		t.Fatalf("Grant: %v", err)
	}
	return l
}

func putLeased(t *testing.T, s store.Store, key string, l store.Lease) int64 {
	t.Helper()
	return update(t, s, func(tx store.Tx) error {
		tx.PutLeased(key, []byte("leased"), l.ID())
		return nil
	})
}

// gone waits for the watch to tell that the keys are deleted, in whatever order.
func gone(t *testing.T, ch <-chan store.Batch, keys ...string) {
	t.Helper()
	left := map[string]bool{}
	for _, k := range keys {
		left[k] = true
	}
	for len(left) > 0 {
		for _, c := range next(t, ch).Changes {
			if !c.Deleted || !left[c.Key] {
				t.Fatalf("change %+v", c)
			}
			delete(left, c.Key)
		}
	}
}

func testLeaseRevoked(t *testing.T, s store.Store) {
	l := grant(t, s, time.Minute)
	putLeased(t, s, key("a"), l)
	rev := putLeased(t, s, key("b"), l)
	if e, _ := get(t, s, key("a")); e.Lease != l.ID() {
		t.Fatalf("lease %d, want %d", e.Lease, l.ID())
	}
	ch := s.Watch(within(t), key(""), rev)
	if err := l.Revoke(within(t)); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	if left := list(t, s, key("")); len(left) != 0 {
		t.Fatalf("%q left", keys(left))
	}
	gone(t, ch, key("a"), key("b"))
	ended(t, "the lease", l.Lost())
	if err := l.Revoke(within(t)); err != nil {
		t.Fatalf("Revoke again: %v", err)
	}
}

func testLeaseRevokedByID(t *testing.T, s store.Store) {
	l := grant(t, s, 2*time.Second)
	rev := putLeased(t, s, key("a"), l)
	ch := s.Watch(within(t), key(""), rev)
	if err := s.Revoke(within(t), l.ID()); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	gone(t, ch, key("a"))
	ended(t, "the lease", l.Lost())
	if err := s.Revoke(within(t), l.ID()); err != nil {
		t.Fatalf("Revoke again: %v", err)
	}
}

// testLeaseKeptAlive sets a lease that is held against one that was abandoned later and has the longer ttl: the
// first must still be there when the second has run out. A machine that stands still for longer than a ttl ends a lease
// whoever holds it, so a longer one is tried then.
func testLeaseKeptAlive(t *testing.T, s store.Store) {
	for _, ttl := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		held := grant(t, s, ttl)
		clock := grant(t, s, 3*ttl)
		name := ttl.String()
		putLeased(t, s, key("held/%s", name), held)
		rev := putLeased(t, s, key("clock/%s", name), clock)
		ch := s.Watch(within(t), key("clock/%s", name), rev)
		clock.Abandon()
		gone(t, ch, key("clock/%s", name))
		lost := false
		select {
		case <-held.Lost():
			lost = true
		default:
		}
		if _, ok := get(t, s, key("held/%s", name)); ok && !lost {
			return
		}
	}
	t.Fatal("a lease that is held has ended")
}

func testLeaseRunsOut(t *testing.T, s store.Store) {
	l := grant(t, s, time.Second)
	rev := putLeased(t, s, key("a"), l)
	put(t, s, key("b"), "stays")
	ch := s.Watch(within(t), key("a"), rev)
	l.Abandon()
	l.Abandon()
	gone(t, ch, key("a"))
	ended(t, "the lease", l.Lost())
	if _, ok := get(t, s, key("b")); !ok {
		t.Fatal("a key without the lease has gone")
	}
}

// testLeaseLetsGo overwrites and deletes leased keys: they no longer go with the lease.
func testLeaseLetsGo(t *testing.T, s store.Store) {
	l, other := grant(t, s, time.Minute), grant(t, s, time.Minute)
	for _, name := range []string{"plain", "other", "again"} {
		putLeased(t, s, key("%s", name), l)
	}
	put(t, s, key("plain"), "mine")
	putLeased(t, s, key("other"), other)
	remove(t, s, key("again"))
	put(t, s, key("again"), "mine")
	if err := l.Revoke(within(t)); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	for _, name := range []string{"plain", "other", "again"} {
		if _, ok := get(t, s, key("%s", name)); !ok {
			t.Errorf("%s has gone with a lease that it no longer has", name)
		}
	}
	if err := other.Revoke(within(t)); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	if _, ok := get(t, s, key("other")); ok {
		t.Error("other has outlived its lease")
	}
}

func testLeaseGone(t *testing.T, s store.Store) {
	l := grant(t, s, time.Minute)
	if err := l.Revoke(within(t)); err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	_, err := s.Update(within(t), func(tx store.Tx) error {
		tx.Put(key("a"), nil)
		tx.PutLeased(key("b"), nil, l.ID())
		return nil
	})
	if !api.IsKind(err, api.Conflict) {
		t.Fatalf("got %v", err)
	}
	if left := list(t, s, key("")); len(left) != 0 {
		t.Fatalf("%q written with a lease that has ended", keys(left))
	}
}
