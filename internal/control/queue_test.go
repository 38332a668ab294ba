package control

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func take(t *testing.T, q *queue[string]) string {
	t.Helper()
	key, ok := q.next(t.Context())
	if !ok {
		t.Fatal("no key")
	}
	return key
}

// idle tells whether nothing is due.
func idle(t *testing.T, q *queue[string]) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool)
	var key string
	go func() {
		k, ok := q.next(ctx)
		key = k
		done <- ok
	}()
	synctest.Wait()
	cancel()
	ok := <-done
	if ok {
		t.Logf("%q is due", key)
	}
	return !ok
}

func TestQueueGivesAKeyOnceInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[string]()
		for _, k := range []string{"a", "b", "a", "c", "b", "a"} {
			q.add(k)
		}
		var got []string
		for range 3 {
			k := take(t, q)
			got = append(got, k)
			q.add("a") // however busy one key is, the others get their turn
		}
		if want := []string{"a", "b", "c"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if !idle(t, q) {
			t.Error("a key was given out while it is worked on")
		}
		q.done("b")
		q.done("c")
		q.done("a")
		if k := take(t, q); k != "a" {
			t.Errorf("got %q, which was added while it was worked on: a", k)
		}
		q.done("a")
		if !idle(t, q) || len(q.items) != 0 {
			t.Errorf("left: %v", q.items)
		}
	})
}

func TestQueueWaitsForAKeysTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[string]()
		began := time.Now()
		q.addAt("a", began.Add(time.Minute))
		q.addAt("a", began.Add(time.Hour)) // later than what is set already: nothing changes
		q.addAt("b", began.Add(time.Minute))
		q.addAt("b", began.Add(time.Second)) // earlier: this counts
		if !idle(t, q) {
			t.Error("due too early")
		}
		for _, want := range []struct {
			key   string
			after time.Duration
		}{{"b", time.Second}, {"a", time.Minute}} {
			if k := take(t, q); k != want.key || time.Since(began) != want.after {
				t.Errorf("got %q after %s, want %q after %s", k, time.Since(began), want.key, want.after)
			}
			q.done(want.key)
		}
		time.Sleep(2 * time.Hour)
		if !idle(t, q) {
			t.Error("due again")
		}
	})
}

func TestQueueHandsOneKeyEachToItsWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[string]()
		got := make(chan string, 4)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 3 {
			go func() {
				if k, ok := q.next(ctx); ok {
					got <- k
				}
			}()
		}
		synctest.Wait()
		for _, k := range []string{"a", "b", "c", "a"} {
			q.add(k)
		}
		synctest.Wait()
		keys := []string{<-got, <-got, <-got}
		slices.Sort(keys)
		if !slices.Equal(keys, []string{"a", "b", "c"}) || len(got) > 0 {
			t.Errorf("workers have %v", keys)
		}
	})
}

func TestQueueStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[string]()
		q.addAt("a", time.Now().Add(time.Second))
		q.stop()
		time.Sleep(time.Minute)
		if !idle(t, q) {
			t.Error("a timer goes on after the stop")
		}
	})
}
