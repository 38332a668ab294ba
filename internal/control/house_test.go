package control

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
)

var shop = api.EnvRef{App: "shop", Env: "production"}

// tidied runs one tidying over a store and gives the keys that are left under prefix, without it.
func tidied(t *testing.T, s *mem.Store, prefix string) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	mirror := store.NewMirror(s, log)
	go func() { _ = mirror.Run(ctx) }()
	<-mirror.Ready()
	err := leader.New(s, "control", "s1", log).Run(ctx, func(ctx context.Context, fence leader.Fence) error {
		return New(Config{Mirror: mirror, Log: log}, fence).tidy(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	synctest.Wait()
	return keys(t, s, prefix)
}

func keys(t *testing.T, s *mem.Store, prefix string) (left []string) {
	t.Helper()
	_, err := s.View(t.Context(), func(tx store.Tx) error {
		left = nil
		entries, err := tx.List(prefix)
		for _, e := range entries {
			left = append(left, e.Key[len(prefix):])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func put(t *testing.T, s *mem.Store, fn func(tx store.Tx) error) {
	t.Helper()
	if _, err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestTidyReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		put(t, s, func(tx store.Tx) error {
			if err := store.Put(tx, store.EnvironmentKey(shop), api.Environment{EnvRef: shop, Release: 3, LastRelease: 30}); err != nil {
				return err
			}
			for n := uint64(1); n <= 30; n++ {
				spec := api.AppSpec{Secrets: map[string]api.SecretSpec{"key": {Version: fmt.Sprintf("v%02d", n)}}}
				if err := store.Put(tx, store.ReleaseKey(shop, n), api.Release{EnvRef: shop, Number: n, Spec: spec}); err != nil {
					return err
				}
				sealed := api.SealedSecret{EnvRef: shop, Version: fmt.Sprintf("v%02d", n), CreatedAt: time.Now().Add(-2 * time.Hour)}
				if err := store.Put(tx, store.SecretKey(shop, sealed.Version), sealed); err != nil {
					return err
				}
				state := api.DeploySucceeded
				switch {
				case n%2 == 0:
					state = api.DeployRolledBack
				case n == 29:
					state = api.DeployRunning
				}
				d := api.Deployment{EnvRef: shop, Number: n, From: 5, To: n, State: state}
				if err := store.Put(tx, store.DeploymentKey(shop, n), d); err != nil {
					return err
				}
			}
			fresh := api.SealedSecret{EnvRef: shop, Version: "fresh", CreatedAt: time.Now()}
			if err := store.Put(tx, store.SecretKey(shop, "fresh"), fresh); err != nil {
				return err
			}
			// A task of an old release, and one of an environment whose name begins alike.
			other := api.EnvRef{App: "shop", Env: "production-2"}
			if err := store.Put(tx, store.ReleaseKey(other, 1), api.Release{EnvRef: other, Number: 1}); err != nil {
				return err
			}
			return store.Put(tx, store.TaskKey("t1"), api.Task{ID: "t1", EnvRef: shop, Service: "web", Release: 4})
		})
		got := tidied(t, s, store.ReleasesOf(shop))
		// Committed 3; a task's 4; 29 under way and its way back 5; the newest 30; and the newest ten that were good.
		var want []string
		for _, n := range []int{3, 4, 5, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 30} {
			want = append(want, fmt.Sprintf("%010d", n))
		}
		if !slices.Equal(got, want) {
			t.Errorf("kept %v, want %v", got, want)
		}
		secrets := keys(t, s, store.SecretsOf(shop))
		want = []string{"fresh"}
		for _, n := range []int{3, 4, 5, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 30} {
			want = append(want, fmt.Sprintf("v%02d", n))
		}
		if !slices.Equal(secrets, want) {
			t.Errorf("kept secrets %v, want %v", secrets, want)
		}
		if left := keys(t, s, store.Releases+"shop/production-2/"); len(left) != 1 {
			t.Errorf("another environment's release is gone")
		}
	})
}

func TestTidyEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		for n := range 30 { // every day one
			put(t, s, func(tx store.Tx) error {
				return store.AddEvent(tx, api.Event{EnvRef: shop, Message: fmt.Sprint(n), Time: time.Now().AddDate(0, 0, n-29)})
			})
		}
		if left := tidied(t, s, store.Events); len(left) != 15 {
			t.Errorf("%d events are kept, the last 14 days have 15", len(left))
		}
		put(t, s, func(tx store.Tx) error {
			for n := range 2500 {
				if err := store.AddEvent(tx, api.Event{EnvRef: shop, Message: fmt.Sprint(n)}); err != nil {
					return err
				}
			}
			return nil
		})
		put(t, s, func(tx store.Tx) error {
			for n := range 2600 {
				if err := store.AddEvent(tx, api.Event{EnvRef: shop, Message: fmt.Sprint(n)}); err != nil {
					return err
				}
			}
			return nil
		})
		if left := tidied(t, s, store.Events); len(left) != keepEvents {
			t.Errorf("%d events are kept, want %d", len(left), keepEvents)
		}
	})
}

func TestTidyOrphanStatuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		put(t, s, func(tx store.Tx) error {
			if err := store.Put(tx, store.TaskKey("a"), api.Task{ID: "a", EnvRef: shop}); err != nil {
				return err
			}
			for _, id := range []string{"a", "b"} {
				if err := store.Put(tx, store.StatusKey(id), api.TaskStatus{Task: id}); err != nil {
					return err
				}
			}
			return nil
		})
		if left := tidied(t, s, store.Statuses); !slices.Equal(left, []string{"a"}) {
			t.Errorf("statuses of %v are kept", left)
		}
	})
}
