package dispatch

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
	"github.com/ikada/ikada/internal/wire"
)

// addressing starts a dispatcher with virtual addresses of a range.
func addressing(t *testing.T, s *mem.Store, from string) (d *Dispatcher, stop func()) {
	t.Helper()
	return start(t, s, Config{Addresses: netip.MustParsePrefix(from)})
}

// commit commits a release with one task a service.
func commit(t *testing.T, s *mem.Store, env api.EnvRef, number uint64, services ...string) {
	t.Helper()
	update(t, s, func(tx store.Tx) error {
		e, err := store.Find[api.Environment](tx, store.EnvironmentKey(env))
		if err != nil {
			return err
		}
		if e == nil {
			e = &api.Environment{EnvRef: env}
		}
		e.Release = number
		r := api.Release{EnvRef: env, Number: number, Spec: api.AppSpec{Services: map[string]api.ServiceSpec{}}}
		for _, name := range services {
			r.Spec.Services[name] = api.ServiceSpec{Replicas: 1}
		}
		if err := store.Put(tx, store.ReleaseKey(env, number), r); err != nil {
			return err
		}
		return store.Put(tx, store.EnvironmentKey(env), e)
	})
}

// follower is a session with the last table that came over it.
type follower struct {
	wire.Session
	table *api.RouteTable
}

func follow(t *testing.T, d *Dispatcher) *follower { return &follower{Session: open(t, d, "n1")} }

// inside gives the addresses in the newest table, by environment and service.
func (f *follower) inside(t *testing.T) map[string]string {
	t.Helper()
	synctest.Wait()
	select {
	case a := <-f.Assignments():
		f.table = a.Table
	default: // nothing has changed
	}
	out := map[string]string{}
	for _, s := range f.table.Inside {
		name := s.EnvRef.String() + "/" + s.Service
		a, err := netip.ParseAddr(s.Address)
		if err != nil {
			t.Errorf("%s has the address %q", name, s.Address)
		}
		for other, taken := range out {
			if taken == a.String() {
				t.Errorf("%s and %s both have %s", name, other, a)
			}
		}
		out[name] = a.String()
	}
	return out
}

func same(t *testing.T, what string, got, want map[string]string, names ...string) {
	t.Helper()
	if len(got) != len(names) {
		t.Errorf("%s: services %v, want %v", what, got, names)
	}
	for _, name := range names {
		if got[name] == "" || want[name] != "" && got[name] != want[name] {
			t.Errorf("%s: %s has %q, before %q", what, name, got[name], want[name])
		}
	}
}

func TestAddressesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const from = "10.98.0.0/26"
		s := mem.New(0)
		staging := api.EnvRef{App: "shop", Env: "staging"}
		d, stop := addressing(t, s, from)
		x := follow(t, d)
		commit(t, s, shop, 1, "web", "api")
		first := x.inside(t)
		same(t, "at first", first, nil, "shop/production/web", "shop/production/api")
		for name, a := range first {
			if !netip.MustParsePrefix(from).Contains(netip.MustParseAddr(a)) || a == "10.98.0.0" || a == "10.98.0.1" {
				t.Errorf("%s has %s", name, a)
			}
		}
		commit(t, s, staging, 1, "web", "api")
		both := x.inside(t)
		same(t, "with another environment", both, first, "shop/production/web", "shop/production/api", "shop/staging/web", "shop/staging/api")

		commit(t, s, shop, 2, "web") // without api, and then with it again
		same(t, "without api", x.inside(t), both, "shop/production/web", "shop/staging/web", "shop/staging/api")
		commit(t, s, shop, 3, "web", "api", "db")
		third := x.inside(t)
		same(t, "with api again", third, both, "shop/production/web", "shop/production/api", "shop/production/db", "shop/staging/web", "shop/staging/api")

		stop()
		d, stop = addressing(t, s, from)
		x = follow(t, d)
		same(t, "after a restart", x.inside(t), third, "shop/production/web", "shop/production/api", "shop/production/db", "shop/staging/web", "shop/staging/api")
		stop()

		d, stop = addressing(t, s, "10.97.0.0/24") // the node's range had to change
		defer stop()
		x = follow(t, d)
		for name, a := range x.inside(t) {
			if !netip.MustParsePrefix("10.97.0.0/24").Contains(netip.MustParseAddr(a)) {
				t.Errorf("%s keeps %s, which is nobody's", name, a)
			}
		}
	})
}

// TestAddressesRunOut fills a range, and frees it by destroying an environment.
func TestAddressesRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		d, stop := addressing(t, s, "10.98.0.0/29") // room for six
		defer stop()
		x := follow(t, d)
		var envs []api.EnvRef
		for i := range 3 {
			env := api.EnvRef{App: fmt.Sprint("app", i), Env: "production"}
			envs = append(envs, env)
			commit(t, s, env, 1, "a", "b")
		}
		if got := x.inside(t); len(got) != 6 {
			t.Errorf("six services have %v", got)
		}
		commit(t, s, shop, 1, "web") // is routed all the same
		if got := x.inside(t); len(got) != 6 || got["shop/production/web"] != "" {
			t.Errorf("six addresses for seven services: %v", got)
		}
		update(t, s, func(tx store.Tx) error {
			tx.Delete(store.EnvironmentKey(envs[1]))
			return nil
		})
		if got := x.inside(t); len(got) != 5 || got["shop/production/web"] == "" {
			t.Errorf("after one environment was destroyed: %v", got)
		}
	})
}

// TestAddressOfALeavingService keeps a service reachable that the goal has dropped and tasks of which still run.
func TestAddressOfALeavingService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		d, stop := addressing(t, s, "10.98.0.0/24")
		defer stop()
		x := follow(t, d)
		update(t, s, func(tx store.Tx) error {
			task := api.Task{ID: "t1", EnvRef: shop, Service: "legacy", Slot: 1, Release: 1, Node: "n1", Desired: api.WantRunning}
			if err := store.Put(tx, store.TaskKey("t1"), task); err != nil {
				return err
			}
			return store.Put(tx, store.StatusKey("t1"), api.TaskStatus{Task: "t1", State: api.TaskReady, Address: "10.0.0.2"})
		})
		commit(t, s, shop, 1, "legacy")
		commit(t, s, shop, 2, "web")
		same(t, "while it runs", x.inside(t), nil, "shop/production/legacy", "shop/production/web")
	})
}
