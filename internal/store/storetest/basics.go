package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

func testGetPutDelete(t *testing.T, s store.Store) {
	if _, ok := get(t, s, key("a")); ok {
		t.Fatal("a key that was never put is there")
	}
	put(t, s, key("a"), "one")
	if e, ok := get(t, s, key("a")); !ok || string(e.Value) != "one" || e.Key != key("a") {
		t.Fatalf("got %+v, %v", e, ok)
	}
	put(t, s, key("a"), "two")
	if e, _ := get(t, s, key("a")); string(e.Value) != "two" {
		t.Fatalf("got %q after overwriting", e.Value)
	}
	remove(t, s, key("a"))
	if _, ok := get(t, s, key("a")); ok {
		t.Fatal("a deleted key is there")
	}
	remove(t, s, key("a"))
	big := strings.Repeat("x", 5<<20)
	put(t, s, key("big"), big)
	if e, _ := get(t, s, key("big")); string(e.Value) != big {
		t.Fatalf("a value of %d bytes came back with %d", len(big), len(e.Value))
	}
}

func testRevisions(t *testing.T, s store.Store) {
	first := put(t, s, key("a"), "1")
	second := put(t, s, key("a"), "2")
	if second <= first {
		t.Fatalf("revision %d after %d", second, first)
	}
	if e, _ := get(t, s, key("a")); e.Created != first || e.Rev != second {
		t.Fatalf("created %d, changed %d; want %d, %d", e.Created, e.Rev, first, second)
	}
	remove(t, s, key("a"))
	third := put(t, s, key("a"), "3")
	if e, _ := get(t, s, key("a")); e.Created != third || e.Rev != third {
		t.Fatalf("made again: created %d, changed %d; want %d", e.Created, e.Rev, third)
	}
	both := update(t, s, func(tx store.Tx) error {
		tx.Put(key("b"), nil)
		tx.Put(key("c"), nil)
		return nil
	})
	b, _ := get(t, s, key("b"))
	c, _ := get(t, s, key("c"))
	if b.Rev != both || c.Rev != both {
		t.Fatalf("one transaction, revisions %d and %d; want %d", b.Rev, c.Rev, both)
	}
}

func testList(t *testing.T, s store.Store) {
	for _, name := range []string{"p/b", "p/a", "p/c/d", "p", "q/a", "p0", "p/a0"} {
		put(t, s, key("%s", name), name)
	}
	want := []string{key("p/a"), key("p/a0"), key("p/b"), key("p/c/d")}
	if got := keys(list(t, s, key("p/"))); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for _, e := range list(t, s, key("p/")) {
		if key("%s", e.Value) != e.Key || e.Rev == 0 || e.Created == 0 {
			t.Fatalf("entry %+v", e)
		}
	}
	if got := list(t, s, key("none/")); len(got) != 0 {
		t.Fatalf("got %q", keys(got))
	}
}

func testOwnWrites(t *testing.T, s store.Store) {
	put(t, s, key("a"), "old")
	put(t, s, key("b"), "old")
	update(t, s, func(tx store.Tx) error {
		tx.Put(key("a"), []byte("new"))
		tx.Delete(key("b"))
		tx.Put(key("c"), []byte("new"))
		if e, ok, err := tx.Get(key("a")); err != nil || !ok || string(e.Value) != "new" {
			t.Errorf("put over: %+v %v %v", e, ok, err)
		}
		if _, ok, err := tx.Get(key("b")); err != nil || ok {
			t.Errorf("deleted: %v %v", ok, err)
		}
		entries, err := tx.List(key(""))
		if got, want := keys(entries), []string{key("a"), key("c")}; err != nil || !slices.Equal(got, want) {
			t.Errorf("list: %q, want %q: %v", got, want, err)
		}
		tx.Delete(key("c"))
		tx.Put(key("b"), []byte("back"))
		return nil
	})
	if got, want := keys(list(t, s, key(""))), []string{key("a"), key("b")}; !slices.Equal(got, want) {
		t.Fatalf("committed %q, want %q", got, want)
	}
	if e, _ := get(t, s, key("b")); string(e.Value) != "back" {
		t.Fatalf("deleted, then put: %q", e.Value)
	}
}

func testSnapshot(t *testing.T, s store.Store) {
	put(t, s, key("a"), "1")
	before := put(t, s, key("b"), "1")
	rev, err := s.View(within(t), func(tx store.Tx) error {
		if e, _, err := tx.Get(key("a")); err != nil || string(e.Value) != "1" {
			t.Errorf("a: %q %v", e.Value, err)
		}
		put(t, s, key("b"), "2")
		put(t, s, key("c"), "2")
		if e, _, err := tx.Get(key("b")); err != nil || string(e.Value) != "1" {
			t.Errorf("b: %q %v: a change after the first read is seen", e.Value, err)
		}
		entries, err := tx.List(key(""))
		if got, want := keys(entries), []string{key("a"), key("b")}; err != nil || !slices.Equal(got, want) {
			t.Errorf("list: %q, want %q: %v", got, want, err)
		}
		return nil
	})
	if err != nil || rev != before {
		t.Fatalf("View: revision %d, want %d: %v", rev, before, err)
	}
}

func testError(t *testing.T, s store.Store) {
	_, err := s.Update(within(t), func(tx store.Tx) error {
		tx.Put(key("a"), []byte("1"))
		return errStop
	})
	if err != errStop { //nolint:errorlint // the contract is that very value
		t.Fatalf("got %v", err)
	}
	if _, ok := get(t, s, key("a")); ok {
		t.Fatal("a failed transaction has written")
	}
	if _, err := s.View(within(t), func(store.Tx) error { return errStop }); err != errStop { //nolint:errorlint // as above
		t.Fatalf("got %v", err)
	}
}

func testViewWrite(t *testing.T, s store.Store) {
	put(t, s, key("b"), "1")
	for _, write := range []func(tx store.Tx){
		func(tx store.Tx) { tx.Put(key("a"), nil) },
		func(tx store.Tx) { tx.PutLeased(key("a"), nil, 1) },
		func(tx store.Tx) { tx.Delete(key("b")) },
	} {
		_, err := s.View(within(t), func(tx store.Tx) error {
			write(tx)
			return nil
		})
		if !api.IsKind(err, api.Internal) {
			t.Fatalf("got %v", err)
		}
	}
	if got := keys(list(t, s, key(""))); !slices.Equal(got, []string{key("b")}) {
		t.Fatalf("a view has written: %q", got)
	}
}

func testEmpty(t *testing.T, s store.Store) {
	last := put(t, s, key("a"), "1")
	for name, run := range map[string]func(context.Context, func(store.Tx) error) (int64, error){"Update": s.Update, "View": s.View} {
		if rev, err := run(within(t), func(store.Tx) error { return nil }); err != nil || rev != last {
			t.Fatalf("%s without a read: revision %d, want %d: %v", name, rev, last, err)
		}
		rev, err := run(within(t), func(tx store.Tx) error {
			_, _, err := tx.Get(key("a"))
			return err
		})
		if err != nil || rev != last {
			t.Fatalf("%s with a read: revision %d, want %d: %v", name, rev, last, err)
		}
	}
	if rev := remove(t, s, key("missing")); rev != last {
		t.Fatalf("deleting nothing made revision %d after %d", rev, last)
	}
}

func testLimits(t *testing.T, s store.Store) {
	tooMany := func(tx store.Tx) error {
		for i := range store.MaxWrites + 1 {
			tx.Put(key("%d", i), nil)
		}
		return nil
	}
	tooBig := func(tx store.Tx) error {
		tx.Put(key("a"), make([]byte, store.MaxTxBytes))
		return nil
	}
	for _, fn := range []func(store.Tx) error{tooMany, tooBig} {
		if _, err := s.Update(within(t), fn); !api.IsKind(err, api.Exhausted) {
			t.Fatalf("got %v", err)
		}
	}
	update(t, s, func(tx store.Tx) error {
		for i := range store.MaxWrites {
			tx.Put(key("%d", i), bytes.Repeat([]byte("x"), 1000))
		}
		return nil
	})
	// All that one transaction may write, another can read and write again.
	update(t, s, func(tx store.Tx) error {
		entries, err := tx.List(key(""))
		if len(entries) != store.MaxWrites {
			t.Errorf("%d entries", len(entries))
		}
		for _, e := range entries {
			tx.Delete(e.Key)
		}
		return err
	})
	if left := list(t, s, key("")); len(left) != 0 {
		t.Fatalf("%d keys left", len(left))
	}
}

func testCancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Update(ctx, func(tx store.Tx) error {
		if _, _, err := tx.Get(key("a")); err != nil {
			return err
		}
		tx.Put(key("a"), nil)
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Update: %v", err)
	}
	if _, err := s.View(ctx, func(tx store.Tx) error { _, err := tx.List(key("")); return err }); !errors.Is(err, context.Canceled) {
		t.Fatalf("View: %v", err)
	}
	if _, ok := get(t, s, key("a")); ok {
		t.Fatal("a cancelled transaction has written")
	}
}

func testTyped(t *testing.T, s store.Store) {
	ref := api.EnvRef{App: "shop", Env: "prod"}
	other := api.EnvRef{App: "shop", Env: "prod2"}
	update(t, s, func(tx store.Tx) error {
		return errors.Join(
			store.Put(tx, store.EnvironmentKey(ref), &api.Environment{EnvRef: ref, Release: 2}),
			store.Put(tx, store.ReleaseKey(ref, 10), &api.Release{EnvRef: ref, Number: 10}),
			store.Put(tx, store.ReleaseKey(ref, 9), &api.Release{EnvRef: ref, Number: 9}),
			store.Put(tx, store.ReleaseKey(other, 1), &api.Release{EnvRef: other, Number: 1}),
		)
	})
	_, err := s.View(within(t), func(tx store.Tx) error {
		env, err := store.Get[api.Environment](tx, store.EnvironmentKey(ref))
		if err != nil || env.EnvRef != ref || env.Release != 2 {
			t.Errorf("Get: %+v %v", env, err)
		}
		releases, err := store.List[api.Release](tx, store.ReleasesOf(ref))
		if err != nil || len(releases) != 2 || releases[0].Number != 9 || releases[1].Number != 10 {
			t.Errorf("List: %+v %v", releases, err)
		}
		missing, err := store.Find[api.Release](tx, store.ReleaseKey(ref, 11))
		if err != nil || missing != nil {
			t.Errorf("Find: %+v %v", missing, err)
		}
		_, err = store.Get[api.Release](tx, store.ReleaseKey(ref, 11))
		if !api.IsKind(err, api.NotFound) || err.Error() != "release 11 of shop/prod does not exist" {
			t.Errorf("Get: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
