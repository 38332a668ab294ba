package mem_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
	"github.com/ikada/ikada/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return mem.New(0) })
}

func TestHistoryIsBounded(t *testing.T) {
	s := mem.New(10)
	start, _ := s.Update(t.Context(), write)
	for range 30 {
		if _, err := s.Update(t.Context(), write); err != nil {
			t.Fatal(err)
		}
	}
	if b := <-s.Watch(t.Context(), store.Root, start); !errors.Is(b.Err, store.ErrCompacted) {
		t.Fatalf("got %+v", b)
	}
	if b := <-s.Watch(t.Context(), store.Root, start+20); b.Err != nil || b.Rev != start+30 || len(b.Changes) != 10 {
		t.Fatalf("got revision %d, %d changes, %v", b.Rev, len(b.Changes), b.Err)
	}
}

func TestLeasesFollowTheBubblesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		l, err := s.Grant(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		l.Abandon()
		start := time.Now()
		<-l.Lost()
		if took := time.Since(start); took != time.Minute {
			t.Fatalf("ran out after %v", took)
		}
	})
}

func write(tx store.Tx) error {
	tx.Put(store.Root+"test/a", []byte("x"))
	return nil
}
