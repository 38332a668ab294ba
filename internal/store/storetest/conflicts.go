package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/ikada/ikada/internal/store"
)

// interfered runs a transaction whose first attempt is crossed by another write, and gives how often it ran.
func interfered(t *testing.T, s store.Store, cross func(), fn func(tx store.Tx) error) int {
	t.Helper()
	attempts := 0
	update(t, s, func(tx store.Tx) error {
		attempts++
		if err := fn(tx); err != nil {
			return err
		}
		if attempts == 1 {
			cross()
		}
		return nil
	})
	return attempts
}

func copyKey(from, to string) func(tx store.Tx) error {
	return func(tx store.Tx) error {
		e, _, err := tx.Get(from)
		tx.Put(to, e.Value)
		return err
	}
}

func testChangedRead(t *testing.T, s store.Store) {
	put(t, s, key("a"), "1")
	n := interfered(t, s, func() { put(t, s, key("a"), "2") }, copyKey(key("a"), key("copy")))
	if e, _ := get(t, s, key("copy")); n != 2 || string(e.Value) != "2" {
		t.Fatalf("%d attempts, copied %q", n, e.Value)
	}
	// A key that was missing is read too.
	n = interfered(t, s, func() { put(t, s, key("new"), "3") }, copyKey(key("new"), key("copy")))
	if e, _ := get(t, s, key("copy")); n != 2 || string(e.Value) != "3" {
		t.Fatalf("%d attempts, copied %q", n, e.Value)
	}
}

func testDeletedRead(t *testing.T, s store.Store) {
	count := func(tx store.Tx) error {
		entries, err := tx.List(key("list/"))
		tx.Put(key("count"), []byte(strconv.Itoa(len(entries))))
		return err
	}
	put(t, s, key("list/a"), "")
	put(t, s, key("list/b"), "")
	n := interfered(t, s, func() { remove(t, s, key("list/a")) }, count)
	if e, _ := get(t, s, key("count")); n != 2 || string(e.Value) != "1" {
		t.Fatalf("%d attempts, counted %q", n, e.Value)
	}
	n = interfered(t, s, func() { remove(t, s, key("list/b")) }, count)
	if e, _ := get(t, s, key("count")); n != 2 || string(e.Value) != "0" {
		t.Fatalf("last one: %d attempts, counted %q", n, e.Value)
	}
}

func testPhantom(t *testing.T, s store.Store) {
	count := func(tx store.Tx) error {
		entries, err := tx.List(key("list/"))
		tx.Put(key("count"), []byte(strconv.Itoa(len(entries))))
		return err
	}
	for want := 1; want <= 2; want++ { // into an empty prefix, then into one with a key
		n := interfered(t, s, func() { put(t, s, key("list/%d", want), "") }, count)
		if e, _ := get(t, s, key("count")); n != 2 || string(e.Value) != strconv.Itoa(want) {
			t.Fatalf("%d attempts, counted %q, want %d", n, e.Value, want)
		}
	}
	// Swapping one key for another keeps the number.
	n := interfered(t, s, func() {
		update(t, s, func(tx store.Tx) error {
			tx.Delete(key("list/1"))
			tx.Put(key("list/3"), nil)
			return nil
		})
	}, count)
	if n != 2 {
		t.Fatalf("swapped: %d attempts", n)
	}
}

func testUnrelated(t *testing.T, s store.Store) {
	put(t, s, key("a"), "1")
	put(t, s, key("list/a"), "1")
	n := interfered(t, s, func() { put(t, s, key("b"), "1"); put(t, s, key("lisu"), "1") }, func(tx store.Tx) error {
		if _, err := tx.List(key("list/")); err != nil {
			return err
		}
		return copyKey(key("a"), key("copy"))(tx)
	})
	if n != 1 {
		t.Fatalf("%d attempts", n)
	}
}

func testCounter(t *testing.T, s store.Store) {
	const writers, rounds = 16, 20
	ctx := within(t)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				_, err := s.Update(ctx, func(tx store.Tx) error {
					e, ok, err := tx.Get(key("counter"))
					if err != nil {
						return err
					}
					n := 0
					if ok {
						if n, err = strconv.Atoi(string(e.Value)); err != nil {
							return err
						}
					}
					tx.Put(key("counter"), []byte(strconv.Itoa(n+1)))
					return nil
				})
				if err != nil {
					t.Errorf("Update: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if e, _ := get(t, s, key("counter")); string(e.Value) != strconv.Itoa(writers*rounds) {
		t.Fatalf("%s, want %d", e.Value, writers*rounds)
	}
}

// testWriteSkew has two transactions read both keys and each clear one: at least one key must stay set.
func testWriteSkew(t *testing.T, s store.Store) {
	for round := range 20 {
		a, b := key("%d/a", round), key("%d/b", round)
		put(t, s, a, "on")
		put(t, s, b, "on")
		var wg sync.WaitGroup
		for _, mine := range []string{a, b} {
			wg.Go(func() {
				update(t, s, func(tx store.Tx) error {
					entries, err := tx.List(key("%d/", round))
					if len(entries) == 2 {
						tx.Delete(mine)
					}
					return err
				})
			})
		}
		wg.Wait()
		if left := list(t, s, key("%d/", round)); len(left) != 1 {
			t.Fatalf("round %d: %d keys left", round, len(left))
		}
	}
}

func testCancelledConflict(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	attempts := 0
	_, err := s.Update(ctx, func(tx store.Tx) error {
		if _, _, err := tx.Get(key("a")); err != nil {
			return err
		}
		tx.Put(key("b"), nil)
		put(t, s, key("a"), strconv.Itoa(attempts)) // every attempt is crossed
		if attempts++; attempts == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("after %d attempts: %v", attempts, err)
	}
	if _, ok := get(t, s, key("b")); ok {
		t.Fatal("a cancelled transaction has written")
	}
}
