package leader_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
)

const electionKey = store.Elections + "control"

// candidate is a process that runs for leader; its terms are delivered on began, and end with its context.
type candidate struct {
	began chan leader.Fence
	ended chan error // what lead's context ended with
	done  chan error // what Run gave
	stop  context.CancelFunc
}

func run(t *testing.T, s store.Store, identity string) *candidate {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c := &candidate{
		began: make(chan leader.Fence, 10), ended: make(chan error, 10), done: make(chan error, 1), stop: stop,
	}
	election := leader.New(s, "control", identity, slog.New(slog.NewTextHandler(t.Output(), nil)))
	go func() {
		c.done <- election.Run(ctx, func(ctx context.Context, f leader.Fence) error {
			c.began <- f
			<-ctx.Done()
			c.ended <- ctx.Err()
			return ctx.Err()
		})
	}()
	return c
}

func (c *candidate) leads() bool { return len(c.began) > len(c.ended) }

func put(tx store.Tx) error {
	tx.Put(store.Root+"test/a", []byte("x"))
	return nil
}

func holderLease(t *testing.T, s store.Store) int64 {
	t.Helper()
	var lease int64
	_, err := s.View(t.Context(), func(tx store.Tx) error {
		e, ok, err := tx.Get(electionKey)
		if !ok {
			t.Error("nobody holds the election")
		}
		lease = e.Lease
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		a := run(t, s, "a")
		synctest.Wait()
		b := run(t, s, "b")
		time.Sleep(time.Hour)
		synctest.Wait()
		if !a.leads() || b.leads() {
			t.Fatalf("a leads: %v, b leads: %v", a.leads(), b.leads())
		}
		a.stop()
		if err := <-a.done; err != nil {
			t.Fatalf("Run: %v", err)
		}
		synctest.Wait()
		if !b.leads() {
			t.Fatal("b does not lead though a has resigned")
		}
		b.stop()
		<-b.done
		if first, second := <-a.began, <-b.began; second.Token() <= first.Token() {
			t.Fatalf("fence %d after %d", second.Token(), first.Token())
		}
	})
}

func TestManyCandidatesOneLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		var all []*candidate
		for _, identity := range []string{"a", "b", "c", "d", "e"} {
			all = append(all, run(t, s, identity))
		}
		for left := len(all); left > 0; left-- {
			synctest.Wait()
			var leading []*candidate
			for _, c := range all {
				if c.leads() {
					leading = append(leading, c)
				}
			}
			if len(leading) != 1 {
				t.Fatalf("%d lead", len(leading))
			}
			leading[0].stop()
			<-leading[0].done
		}
	})
}

func TestLostLeaseEndsTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		a := run(t, s, "a")
		fence := <-a.began
		if _, err := fence.Update(t.Context(), put); err != nil {
			t.Fatalf("Update in office: %v", err)
		}
		if err := s.Revoke(t.Context(), holderLease(t, s)); err != nil {
			t.Fatal(err)
		}
		if err := <-a.ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("lead's context ended with %v", err)
		}
		again := <-a.began
		if again.Token() <= fence.Token() {
			t.Fatalf("fence %d after %d", again.Token(), fence.Token())
		}
		if _, err := fence.Update(t.Context(), put); !api.IsKind(err, api.Conflict) || !errors.Is(err, leader.ErrDeposed) {
			t.Fatalf("Update with the fence of an ended term: %v", err)
		}
		if _, err := again.Update(t.Context(), put); err != nil {
			t.Fatalf("Update in the second term: %v", err)
		}
		a.stop()
		<-a.done
	})
}

func TestDeletedKeyEndsTheTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		a := run(t, s, "a")
		<-a.began
		synctest.Wait()
		if _, err := s.Update(t.Context(), func(tx store.Tx) error { tx.Delete(electionKey); return nil }); err != nil {
			t.Fatal(err)
		}
		<-a.ended
		<-a.began
		a.stop()
		<-a.done
	})
}

func TestDeposedBetweenReadAndCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		a := run(t, s, "a")
		fence := <-a.began
		attempts := 0
		_, err := fence.Update(t.Context(), func(tx store.Tx) error {
			attempts++
			if err := s.Revoke(t.Context(), holderLease(t, s)); err != nil {
				return err
			}
			return put(tx)
		})
		if !errors.Is(err, leader.ErrDeposed) || attempts != 1 {
			t.Fatalf("after %d attempts: %v", attempts, err)
		}
		a.stop()
		<-a.done
	})
}

// TestKilledLeader leaves the key of a process that died: another waits for the lease, the same one does not.
func TestKilledLeader(t *testing.T) {
	for identity, want := range map[string]time.Duration{"other": 10 * time.Second, "dead": 0} {
		synctest.Test(t, func(t *testing.T) {
			s := mem.New(0)
			lease, err := s.Grant(t.Context(), 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Update(t.Context(), func(tx store.Tx) error {
				return store.PutLeased(tx, electionKey, map[string]string{"identity": "dead"}, lease.ID())
			})
			if err != nil {
				t.Fatal(err)
			}
			lease.Abandon()
			start := time.Now()
			c := run(t, s, identity)
			<-c.began
			if took := time.Since(start); took != want {
				t.Errorf("%s took over after %v, want %v", identity, took, want)
			}
			c.stop()
			<-c.done
		})
	}
}

func TestLeadThatReturnsEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		failure := errors.New("cannot go on")
		err := leader.New(s, "control", "a", slog.New(slog.DiscardHandler)).
			Run(t.Context(), func(context.Context, leader.Fence) error { return failure })
		if !errors.Is(err, failure) {
			t.Fatalf("Run: %v", err)
		}
		b := run(t, s, "b")
		synctest.Wait()
		if !b.leads() {
			t.Fatal("the election was not given back")
		}
		b.stop()
		<-b.done
	})
}

// TestLeadThatLearnsFirst has lead return because of its fence, before anything else has told of the loss.
func TestLeadThatLearnsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		ctx, stop := context.WithCancel(t.Context())
		terms := 0
		err := leader.New(s, "control", "a", slog.New(slog.DiscardHandler)).
			Run(ctx, func(ctx context.Context, f leader.Fence) error {
				if terms++; terms == 3 {
					stop()
					return nil
				}
				if err := s.Revoke(ctx, holderLease(t, s)); err != nil {
					return err
				}
				_, err := f.Update(context.WithoutCancel(ctx), put)
				return err
			})
		if err != nil || terms != 3 {
			t.Fatalf("Run after %d terms: %v", terms, err)
		}
	})
}

// unreliable fails every call while it is down.
type unreliable struct {
	store.Store
	down atomic.Bool
}

var errDown = api.Errorf(api.Unavailable, "the store does not answer")

func (u *unreliable) View(ctx context.Context, fn func(store.Tx) error) (int64, error) {
	if u.down.Load() {
		return 0, errDown
	}
	return u.Store.View(ctx, fn)
}

func (u *unreliable) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	if u.down.Load() {
		return nil, errDown
	}
	return u.Store.Grant(ctx, ttl)
}

func TestCampaignOutlivesTheStoresAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &unreliable{Store: mem.New(0)}
		s.down.Store(true)
		a := run(t, s, "a")
		time.Sleep(time.Minute)
		if a.leads() {
			t.Fatal("leads without a store")
		}
		s.down.Store(false)
		<-a.began
		a.stop()
		<-a.done
	})
}
