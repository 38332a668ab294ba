package dispatch

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
	"github.com/ikada/ikada/internal/wire"
)

var shop = api.EnvRef{App: "shop", Env: "production"}

// start starts a dispatcher over a store, which may hold something already.
func start(t *testing.T, s *mem.Store, cfg Config) (d *Dispatcher, stop func()) {
	t.Helper()
	cfg.Store, cfg.Log = s, slog.New(slog.NewTextHandler(t.Output(), nil))
	cfg.Mirror = store.NewMirror(s, cfg.Log)
	d = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- cfg.Mirror.Run(ctx) }()
	go func() { done <- d.Run(ctx) }()
	synctest.Wait()
	return d, func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

// dispatching starts a dispatcher over an empty store; the test's end stops it.
func dispatching(t *testing.T) (*Dispatcher, *mem.Store) {
	t.Helper()
	s := mem.New(0)
	d, stop := start(t, s, Config{Unseal: func(s *api.SealedSecret) ([]byte, error) { return s.Sealed, nil }})
	t.Cleanup(stop)
	return d, s
}

func open(t *testing.T, d *Dispatcher, node string) wire.Session {
	t.Helper()
	s, err := d.Open(t.Context(), api.Node{Name: node})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func update(t *testing.T, s *mem.Store, fn func(tx store.Tx) error) {
	t.Helper()
	if _, err := s.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func has(t *testing.T, s *mem.Store, key string) (ok bool) {
	t.Helper()
	update(t, s, func(tx store.Tx) (err error) {
		_, ok, err = tx.Get(key)
		return err
	})
	return ok
}

func ended(s wire.Session) bool {
	synctest.Wait()
	for {
		select {
		case _, ok := <-s.Assignments():
			if !ok {
				return true
			}
		default:
			return false
		}
	}
}

func TestSessionGetsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := dispatching(t)
		x := open(t, d, "n1")
		if a := <-x.Assignments(); a.Table == nil || len(a.Tasks) != 0 {
			t.Errorf("an empty cluster assigns %+v", a)
		}
		for _, id := range []string{"a", "b", "c"} { // nobody listens meanwhile
			update(t, s, func(tx store.Tx) error {
				return store.Put(tx, store.TaskKey(id), api.Task{ID: id, EnvRef: shop, Node: "n1", Service: "web", Slot: 1, Desired: api.WantRunning})
			})
		}
		update(t, s, func(tx store.Tx) error {
			return store.Put(tx, store.TaskKey("d"), api.Task{ID: "d", EnvRef: shop, Node: "n2", Desired: api.WantRunning})
		})
		if a := <-x.Assignments(); len(a.Tasks) != 3 {
			t.Errorf("assigned %+v", a.Tasks)
		}
		x.Close()
		x.Close()
	})
}

func TestOneSessionANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := dispatching(t)
		first := open(t, d, "n1")
		second := open(t, d, "n1")
		if !ended(first) || ended(second) {
			t.Error("the older session is to end, the newer to stay")
		}
		first.Close()
		if err := first.Report(t.Context(), wire.Report{Balancer: &api.BalancerStatus{Node: "n1", Version: 7}}); !api.IsKind(err, api.Unavailable) {
			t.Errorf("a report over the older session gives %v", err)
		}
		if has(t, s, store.BalancerKey("n1")) {
			t.Error("the report was kept")
		}
		time.Sleep(3 * LeaseTime)
		if !has(t, s, store.LeaseKey("n1")) {
			t.Error("the node lost its lease with its older session")
		}
		second.Close()
		time.Sleep(LeaseTime - time.Second)
		if !has(t, s, store.LeaseKey("n1")) {
			t.Error("the node is dead as soon as its session is closed")
		}
		time.Sleep(2 * time.Second)
		if has(t, s, store.LeaseKey("n1")) {
			t.Error("the node lives on without a session")
		}
	})
}

func TestSessionEndsWithItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := dispatching(t)
		x := open(t, d, "n1")
		var lease int64
		update(t, s, func(tx store.Tx) error {
			e, _, err := tx.Get(store.LeaseKey("n1"))
			lease = e.Lease
			return err
		})
		if err := s.Revoke(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
		if !ended(x) {
			t.Error("the session goes on although the node counts as dead")
		}
		x.Close()
	})
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := dispatching(t)
		x := open(t, d, "n1")
		defer x.Close()
		update(t, s, func(tx store.Tx) error {
			n, err := store.Get[api.Node](tx, store.NodeKey("n1"))
			if err != nil {
				return err
			}
			n.Drop = []string{"a", "b"}
			if err := store.Put(tx, store.NodeKey("n1"), n); err != nil {
				return err
			}
			return store.Put(tx, store.TaskKey("t1"), api.Task{ID: "t1", EnvRef: shop, Service: "web", Slot: 2, Release: 3, Node: "n1"})
		})
		report := func(r wire.Report) {
			t.Helper()
			if err := x.Report(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		code := 9
		for _, st := range []api.TaskStatus{
			{Task: "t1", State: api.TaskReady},
			{Task: "t1", State: api.TaskRunning}, // late: ignored
			{Task: "t1", State: api.TaskFailed, Cause: api.CauseExit, ExitCode: &code, Message: "exited with code 9"},
			{Task: "t1", State: api.TaskStopped}, // the end stays as it is
			{Task: "unknown", State: api.TaskReady},
		} {
			st.Node = "n1"
			report(wire.Report{Statuses: []api.TaskStatus{st}})
		}
		report(wire.Report{Problems: &[]string{"no disk space is left"}})
		report(wire.Report{Dropped: []string{"a"}})
		update(t, s, func(tx store.Tx) error {
			st, err := store.Get[api.TaskStatus](tx, store.StatusKey("t1"))
			if err != nil {
				return err
			}
			if st.State != api.TaskFailed || *st.ExitCode != 9 {
				t.Errorf("status %+v", st)
			}
			n, err := store.Get[api.Node](tx, store.NodeKey("n1"))
			if err != nil {
				return err
			}
			if len(n.Drop) != 1 || n.Drop[0] != "b" {
				t.Errorf("still to drop: %v", n.Drop)
			}
			if len(n.Problems) != 1 || n.Problems[0] != "no disk space is left" {
				t.Errorf("problems %q", n.Problems)
			}
			var told []string
			events, err := store.List[api.Event](tx, store.Events)
			for _, e := range events {
				told = append(told, e.Message)
			}
			if want := []string{"node n1 joined", "web.2 of release 3 is ready", "web.2 failed: exited with code 9"}; len(told) != 3 {
				t.Errorf("events %q, want %q", told, want)
			}
			return err
		})
		if has(t, s, store.StatusKey("unknown")) {
			t.Error("the status of a task that is not there was kept")
		}
	})
}

func TestWhatUsersSetOfANodeStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := dispatching(t)
		open(t, d, "n1").Close()
		update(t, s, func(tx store.Tx) error {
			n, err := store.Get[api.Node](tx, store.NodeKey("n1"))
			if err != nil {
				return err
			}
			n.Drained, n.Drop, n.Labels, n.Down = true, []string{"v"}, map[string]string{"disk": "ssd"}, true
			return store.Put(tx, store.NodeKey("n1"), n)
		})
		x := open(t, d, "n1")
		defer x.Close()
		if a := <-x.Assignments(); len(a.Volumes) != 1 {
			t.Errorf("to drop: %v", a.Volumes)
		}
		update(t, s, func(tx store.Tx) error {
			n, err := store.Get[api.Node](tx, store.NodeKey("n1"))
			if err == nil && (!n.Drained || n.Labels["disk"] != "ssd" || n.Down) {
				t.Errorf("node %+v", n)
			}
			return err
		})
	})
}

func TestStoppedDispatcherOpensNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(0)
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		mirror := store.NewMirror(s, log)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = mirror.Run(ctx) }()
		d := New(Config{Store: s, Mirror: mirror, Log: log})
		over, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(over) }()
		x := open(t, d, "n1")
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !ended(x) {
			t.Error("a session outlives its dispatcher")
		}
		x.Close()
		if _, err := d.Open(t.Context(), api.Node{Name: "n1"}); !api.IsKind(err, api.Unavailable) {
			t.Errorf("open gives %v", err)
		}
		cancel()
	})
}
