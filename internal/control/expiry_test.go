package control

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
)

// controlled runs the control loop over a store until the test ends or stop is called.
func controlled(t *testing.T, s *mem.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	mirror := store.NewMirror(s, log)
	go func() { _ = mirror.Run(ctx) }()
	go func() {
		_ = leader.New(s, "control", "s1", log).Run(ctx, func(ctx context.Context, fence leader.Fence) error {
			return New(Config{Mirror: mirror, Log: log}, fence).Run(ctx)
		})
	}()
	stop = func() {
		cancel()
		synctest.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// events gives the types of the environments' events, sorted: those of one moment have no order.
func events(t *testing.T, s *mem.Store) (types []string) {
	t.Helper()
	_, err := s.View(t.Context(), func(tx store.Tx) error {
		types = nil
		all, err := store.List[api.Event](tx, store.Events)
		for _, e := range all {
			if strings.HasPrefix(e.Type, "environment.") {
				types = append(types, e.Type)
			}
		}
		slices.Sort(types)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// TestExpiry destroys an environment at its time, tells of it before, and is not put off by a restart in between.
func TestExpiry(t *testing.T) {
	for _, c := range []struct{ ttl, warns time.Duration }{
		{3 * 24 * time.Hour, time.Hour},
		{50 * time.Minute, 5 * time.Minute},
		{10 * time.Second, time.Second},
	} {
		t.Run(c.ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := mem.New(0)
				env := api.Environment{EnvRef: shop, Release: 1, LastRelease: 1, LastDeployment: 1}
				env.Expire(api.Duration(c.ttl), time.Now())
				put(t, s, func(tx store.Tx) error {
					spec := api.AppSpec{Volumes: map[string]api.VolumeSpec{"data": {}, "both": {Name: "both"}}}
					other := api.Release{EnvRef: api.EnvRef{App: "blog", Env: "production"}, Number: 1,
						Spec: api.AppSpec{Volumes: map[string]api.VolumeSpec{"b": {Name: "both"}}}}
					for key, v := range map[string]any{
						store.EnvironmentKey(shop):         env,
						store.ReleaseKey(shop, 1):          api.Release{EnvRef: shop, Number: 1, Spec: spec},
						store.ReleaseKey(other.EnvRef, 1):  other,
						store.SettingsKey(shop):            api.Settings{EnvRef: shop},
						store.SecretKey(shop, "v"):         api.SealedSecret{EnvRef: shop, Version: "v", CreatedAt: time.Now()},
						store.NodeKey("n1"):                api.Node{Name: "n1"},
						store.DeploymentKey(shop, 1):       api.Deployment{EnvRef: shop, Number: 1, To: 1, State: api.DeploySucceeded},
						store.EnvironmentKey(other.EnvRef): api.Environment{EnvRef: other.EnvRef, Release: 1, Stopped: true},
					} {
						if err := store.Put(tx, key, v); err != nil {
							return err
						}
					}
					return nil
				})
				stop := controlled(t, s)
				time.Sleep(c.ttl - c.warns - time.Second/2)
				if got := events(t, s); len(got) != 0 {
					t.Errorf("too early: %q", got)
				}
				time.Sleep(time.Second)
				if got := events(t, s); !slices.Equal(got, []string{"environment.expiring"}) {
					t.Errorf("%s before: %q", c.warns, got)
				}
				stop()
				controlled(t, s)
				time.Sleep(c.warns - time.Second)
				if got := keys(t, s, store.EnvironmentKey(shop)); len(got) != 1 {
					t.Error("it went too early")
				}
				time.Sleep(2 * time.Second)
				if got := events(t, s); !slices.Equal(got, []string{"environment.destroyed", "environment.expired", "environment.expiring"}) {
					t.Errorf("at last: %q", got)
				}
				for _, prefix := range []string{store.EnvironmentKey(shop), store.ReleasesOf(shop), store.SettingsKey(shop), store.Secrets, store.DeploymentsOf(shop)} {
					if got := keys(t, s, prefix); len(got) != 0 {
						t.Errorf("%s is left: %v", prefix, got)
					}
				}
				var node *api.Node
				if _, err := s.View(t.Context(), func(tx store.Tx) (err error) {
					node, err = store.Get[api.Node](tx, store.NodeKey("n1"))
					return err
				}); err != nil || !slices.Equal(node.Drop, []string{"shop_production_data"}) {
					t.Errorf("volumes to drop: %v, %v", node, err)
				}
			})
		})
	}
}

// TestTidyKeepsSettings keeps the versions that an environment's settings name, and no others.
func TestTidyKeepsSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		put(t, s, func(tx store.Tx) error {
			for _, v := range []string{"old", "set"} {
				sealed := api.SealedSecret{EnvRef: shop, Version: v, CreatedAt: time.Now().Add(-2 * time.Hour)}
				if err := store.Put(tx, store.SecretKey(shop, v), sealed); err != nil {
					return err
				}
			}
			settings := api.Settings{EnvRef: shop, Secrets: map[string]api.SecretSetting{"db": {Version: "set"}}}
			if err := store.Put(tx, store.SettingsKey(shop), settings); err != nil {
				return err
			}
			return store.Put(tx, store.EnvironmentKey(shop), api.Environment{EnvRef: shop})
		})
		if left := tidied(t, s, store.SecretsOf(shop)); !slices.Equal(left, []string{"set"}) {
			t.Errorf("kept %v", left)
		}
	})
}
