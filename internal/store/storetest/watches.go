package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/internal/store"
)

func testWatch(t *testing.T, s store.Store) {
	before := put(t, s, key("w/old"), "0")
	ch := s.Watch(within(t), key("w/"), before)
	first := update(t, s, func(tx store.Tx) error {
		tx.Put(key("w/a"), []byte("1"))
		tx.Put(key("w/b"), []byte("1"))
		return nil
	})
	b := next(t, ch)
	if b.Rev != first || len(b.Changes) != 2 {
		t.Fatalf("batch %+v, want both keys at %d", b, first)
	}
	for i, name := range []string{"a", "b"} {
		c := b.Changes[i]
		if c.Key != key("w/%s", name) || c.Deleted || string(c.Value) != "1" || c.Rev != first || c.Created != first {
			t.Fatalf("change %+v", c)
		}
	}
	put(t, s, key("other"), "1")
	gone := remove(t, s, key("w/a"))
	b = next(t, ch)
	if len(b.Changes) != 1 || b.Rev != gone {
		t.Fatalf("batch %+v, want the deletion at %d", b, gone)
	}
	if c := b.Changes[0]; c.Key != key("w/a") || !c.Deleted || c.Value != nil || c.Rev != gone {
		t.Fatalf("change %+v", c)
	}
}

// testWatchNoGap lets a watcher come and go while others write: what it puts together from all its watches is
// every change, once, in order.
func testWatchNoGap(t *testing.T, s store.Store) {
	const writers, rounds = 4, 40
	start := put(t, s, key("start"), "")
	ctx := within(t)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				_, err := s.Update(ctx, func(tx store.Tx) error {
					tx.Put(key("gap/%d/a", w), fmt.Append(nil, i))
					tx.Put(key("gap/%d/b", w), fmt.Append(nil, i))
					return nil
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	seen := map[string][]string{}
	last, total := start, 0
	for total < 2*writers*rounds {
		watching, stop := context.WithCancel(ctx)
		ch := s.Watch(watching, key("gap/"), last)
		for range 3 {
			b := next(t, ch)
			for _, c := range b.Changes {
				if c.Rev <= last && c.Rev > b.Rev {
					t.Fatalf("change of %d in a batch up to %d after %d", c.Rev, b.Rev, last)
				}
				seen[c.Key] = append(seen[c.Key], string(c.Value))
			}
			if b.Rev <= last {
				t.Fatalf("batch of %d after %d", b.Rev, last)
			}
			last = b.Rev
			if total += len(b.Changes); total >= 2*writers*rounds {
				break
			}
		}
		stop()
	}
	wg.Wait()
	var want []string
	for i := range rounds {
		want = append(want, fmt.Sprint(i))
	}
	for w := range writers {
		for _, name := range []string{"a", "b"} {
			if got := seen[key("gap/%d/%s", w, name)]; !slices.Equal(got, want) {
				t.Fatalf("%d/%s: %v", w, name, got)
			}
		}
	}
}

func testWatchPast(t *testing.T, s store.Store) {
	start := put(t, s, key("past/a"), "0")
	for i := range 10 {
		put(t, s, key("past/a"), fmt.Sprint(i+1))
	}
	ch := s.Watch(within(t), key("past/"), start)
	for want := 1; want <= 10; {
		for _, c := range next(t, ch).Changes {
			if string(c.Value) != fmt.Sprint(want) {
				t.Fatalf("got %s, want %d", c.Value, want)
			}
			want++
		}
	}
}

func testWatchCompacted(t *testing.T, s store.Store) {
	start := put(t, s, key("a"), "0")
	var last int64
	for i := range 10 {
		last = put(t, s, key("a"), fmt.Sprint(i))
	}
	if err := s.(Compactor).Compact(within(t), last); err != nil {
		t.Fatal(err)
	}
	ch := s.Watch(within(t), key(""), start)
	select {
	case b := <-ch:
		if !errors.Is(b.Err, store.ErrCompacted) {
			t.Fatalf("batch %+v, want ErrCompacted", b)
		}
	case <-time.After(patience):
		t.Fatal("the watch delivered nothing")
	}
	if _, open := <-ch; open {
		t.Fatal("the watch goes on after its error")
	}
	// From what is kept a watch still works.
	ch = s.Watch(within(t), key(""), last)
	after := put(t, s, key("a"), "after")
	if b := next(t, ch); b.Rev != after {
		t.Fatalf("batch of %d, want %d", b.Rev, after)
	}
}

func testWatchEnds(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	start := put(t, s, key("a"), "0")
	ch := s.Watch(ctx, key(""), start)
	put(t, s, key("a"), "1")
	next(t, ch)
	cancel()
	select {
	case b, open := <-ch:
		if open {
			t.Fatalf("batch %+v", b)
		}
	case <-time.After(patience):
		t.Fatal("the watch did not end")
	}
}
