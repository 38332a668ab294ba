package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
)

var (
	prod = api.EnvRef{App: "shop", Env: "prod"}
	test = api.EnvRef{App: "shop", Env: "test"}
)

// mirrored starts a mirror on a store and waits for its first snapshot.
func mirrored(t *testing.T, s store.Store) *store.Mirror {
	t.Helper()
	m := store.NewMirror(s, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-m.Ready()
	return m
}

// write puts objects by key, deletes those that are nil, and waits until the mirror has them.
func write(t *testing.T, s store.Store, m *store.Mirror, objects map[string]any) int64 {
	t.Helper()
	rev, err := s.Update(t.Context(), func(tx store.Tx) error {
		for key, v := range objects {
			if v == nil {
				tx.Delete(key)
			} else if err := store.Put(tx, key, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if m != nil {
		if err := m.Wait(t.Context(), rev); err != nil {
			t.Fatal(err)
		}
	}
	return rev
}

func task(id string, r api.EnvRef, node string) *api.Task {
	return &api.Task{ID: id, EnvRef: r, Service: "web", Node: node}
}

func ids(tasks []*api.Task) string {
	var list []string
	for _, t := range tasks {
		list = append(list, t.ID)
	}
	return fmt.Sprint(list)
}

func TestMirrorFollowsTheStore(t *testing.T) {
	s := mem.New(0)
	write(t, s, nil, map[string]any{
		store.EnvironmentKey(prod): &api.Environment{EnvRef: prod},
		store.ReleaseKey(prod, 2):  &api.Release{EnvRef: prod, Number: 2},
		store.ReleaseKey(prod, 10): &api.Release{EnvRef: prod, Number: 10},
		store.TaskKey("b"):         task("b", prod, "n1"),
	})
	m := mirrored(t, s)
	write(t, s, m, map[string]any{
		store.TaskKey("a"):           task("a", prod, ""),
		store.TaskKey("c"):           task("c", test, "n1"),
		store.StatusKey("a"):         &api.TaskStatus{Task: "a", State: api.TaskReady},
		store.DeploymentKey(prod, 1): &api.Deployment{EnvRef: prod, Number: 1},
		store.NodeKey("n1"):          &api.Node{Name: "n1"},
		store.LeaseKey("n1"):         "",
		store.BalancerKey("n1"):      &api.BalancerStatus{Node: "n1", Version: 3},
		store.Tokens + "t":           &api.Token{},
	})
	m.Read(func(st *store.State) {
		if got := ids(st.TasksOf(prod)); got != "[a b]" {
			t.Errorf("tasks of prod: %s", got)
		}
		if got := ids(st.TasksOn("n1")) + ids(st.TasksOn("")); got != "[b c][a]" {
			t.Errorf("tasks by node: %s", got)
		}
		if rs := st.ReleasesOf(prod); len(rs) != 2 || rs[0].Number != 2 || st.Release(prod, 10) != rs[1] || st.Release(prod, 3) != nil {
			t.Errorf("releases: %v", rs)
		}
		if st.Deployment(prod, 1) == nil || st.Environments[prod] == nil || st.Nodes["n1"] == nil || st.Balancers["n1"].Version != 3 {
			t.Errorf("state: %+v", st)
		}
		view := st.Tasks["a"].View(st.Statuses["a"])
		if _, alive := st.Leases["n1"]; !alive || view.State() != api.TaskReady {
			t.Errorf("state: %+v", st)
		}
	})
	var before []*api.Task
	m.Read(func(st *store.State) { before = st.TasksOf(prod) })
	write(t, s, m, map[string]any{
		store.TaskKey("a"):        task("a", prod, "n2"),
		store.TaskKey("b"):        nil,
		store.ReleaseKey(prod, 2): nil,
		store.LeaseKey("n1"):      nil,
		store.StatusKey("a"):      nil,
	})
	m.Read(func(st *store.State) {
		if got := ids(st.TasksOf(prod)) + ids(st.TasksOn("n1")) + ids(st.TasksOn("")) + ids(st.TasksOn("n2")); got != "[a][c][][a]" {
			t.Errorf("tasks: %s", got)
		}
		if len(st.ReleasesOf(prod)) != 1 || len(st.Leases) != 0 || len(st.Statuses) != 0 {
			t.Errorf("state: %+v", st)
		}
	})
	if got := ids(before); got != "[a b]" || before[0].Node != "" {
		t.Errorf("a slice that was handed out has changed: %s", got)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mirrored(t, mem.New(0))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Wait(ctx, 1<<40); !api.IsKind(err, api.Timeout) {
			t.Fatalf("got %v", err)
		}
	})
}

// drain takes what is dirty, written down as "environments | nodes".
func drain(s *store.Subscription) string {
	d := s.Take()
	var envs []string
	for r := range d.Environments {
		envs = append(envs, r.Env)
	}
	slices.Sort(envs)
	return fmt.Sprint(envs, slices.Sorted(maps.Keys(d.Nodes)))
}

func TestSubscriptionTellsWhomAChangeConcerns(t *testing.T) {
	s := mem.New(0)
	m := mirrored(t, s)
	sub := m.Subscribe()
	defer sub.Close()
	node := api.Node{Name: "n1", Labels: map[string]string{"disk": "ssd"}}
	later := node
	later.SeenAt = time.Unix(1, 0)
	drained := later
	drained.Drained = true
	steps := []struct {
		name    string
		objects map[string]any
		want    string
	}{
		{"environments", map[string]any{
			store.EnvironmentKey(prod): &api.Environment{EnvRef: prod},
			store.EnvironmentKey(test): &api.Environment{EnvRef: test},
		}, "[prod test] []"},
		{"not mirrored", map[string]any{store.Tokens + "t": &api.Token{}}, "[] []"},
		{"release", map[string]any{store.ReleaseKey(test, 1): &api.Release{EnvRef: test, Number: 1}}, "[test] []"},
		{"new task", map[string]any{store.TaskKey("a"): task("a", prod, "")}, "[prod] []"},
		{"placed task", map[string]any{store.TaskKey("a"): task("a", prod, "n1")}, "[prod] [n1]"},
		{"moved task", map[string]any{store.TaskKey("a"): task("a", prod, "n2")}, "[prod] [n1 n2]"},
		{"status", map[string]any{store.StatusKey("a"): &api.TaskStatus{Task: "a", Node: "n2"}}, "[prod] [n2]"},
		{"new node", map[string]any{store.NodeKey("n1"): &node}, "[prod test] [n1]"},
		{"heartbeat", map[string]any{store.NodeKey("n1"): &later}, "[] [n1]"},
		{"drained node", map[string]any{store.NodeKey("n1"): &drained}, "[prod test] [n1]"},
		{"picked", map[string]any{store.BalancerKey("n1"): &api.BalancerStatus{Node: "n1", Picks: []string{"a"}}}, "[prod] [n1]"},
		{"no news", map[string]any{store.BalancerKey("n1"): &api.BalancerStatus{Node: "n1", Picks: []string{"a"}, Version: 2}}, "[] [n1]"},
		{"draining", map[string]any{store.BalancerKey("n1"): &api.BalancerStatus{Node: "n1", Drains: map[string]int{"a": 2}}}, "[prod] [n1]"},
		{"fewer requests", map[string]any{store.BalancerKey("n1"): &api.BalancerStatus{Node: "n1", Drains: map[string]int{"a": 1}}}, "[prod] [n1]"},
		{"drain ended", map[string]any{store.BalancerKey("n1"): &api.BalancerStatus{Node: "n1"}}, "[prod] [n1]"},
		{"node alive", map[string]any{store.LeaseKey("n1"): ""}, "[prod test] [n1]"},
		{"node dead", map[string]any{store.LeaseKey("n1"): nil}, "[prod test] [n1]"},
		{"task gone", map[string]any{store.TaskKey("a"): nil, store.StatusKey("a"): nil}, "[prod] [n2]"},
		{"environment gone", map[string]any{store.EnvironmentKey(test): nil}, "[test] []"},
	}
	for _, step := range steps {
		write(t, s, m, step.objects)
		if got := drain(sub); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
}

func TestSubscriptionBeginsWithEverything(t *testing.T) {
	s := mem.New(0)
	write(t, s, nil, map[string]any{
		store.EnvironmentKey(prod): &api.Environment{EnvRef: prod},
		store.TaskKey("a"):         task("a", prod, "n1"),
	})
	m := mirrored(t, s)
	sub := m.Subscribe()
	<-sub.Wake()
	if got := drain(sub); got != "[prod] [n1]" {
		t.Fatalf("got %s", got)
	}
	if got := drain(sub); got != "[] []" {
		t.Fatalf("then %s", got)
	}
}

func TestSlowSubscriberLosesNothing(t *testing.T) {
	s := mem.New(0)
	m := mirrored(t, s)
	slow := m.Subscribe()
	defer slow.Close()
	const tasks = 500
	var wg sync.WaitGroup
	for i := range tasks {
		wg.Go(func() {
			id := fmt.Sprintf("t%03d", i)
			write(t, s, m, map[string]any{store.TaskKey(id): task(id, prod, "")}) // Wait would hang if the mirror were held up
		})
	}
	wg.Wait()
	<-slow.Wake()
	if got := len(slow.Take().Keys); got != tasks {
		t.Fatalf("%d keys, want %d", got, tasks)
	}
	slow.Close()
	write(t, s, m, map[string]any{store.TaskKey("x"): task("x", prod, "")})
	if got := len(slow.Take().Keys); got != 0 {
		t.Fatalf("%d keys after Close", got)
	}
}

// interrupted is a store whose watches can be broken off and which can stay away for a while.
type interrupted struct {
	*mem.Store
	mu   sync.Mutex
	cut  context.CancelFunc
	away bool
}

func (s *interrupted) View(ctx context.Context, fn func(store.Tx) error) (int64, error) {
	s.mu.Lock()
	away := s.away
	s.mu.Unlock()
	if away {
		return 0, api.Errorf(api.Unavailable, "the store does not answer")
	}
	return s.Store.View(ctx, fn)
}

func (s *interrupted) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	watching, cut := context.WithCancel(ctx)
	s.cut = cut
	out := make(chan store.Batch)
	go func() {
		defer close(out)
		defer cut()
		for b := range s.Store.Watch(watching, prefix, after) {
			out <- b
		}
		select {
		case out <- store.Batch{Err: api.Errorf(api.Unavailable, "the watch was cut off")}:
		case <-ctx.Done():
		}
	}()
	return out
}

func TestMirrorTakesANewSnapshotWhenTheWatchBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &interrupted{Store: mem.New(0)}
		write(t, s, nil, map[string]any{
			store.TaskKey("kept"):    task("kept", prod, ""),
			store.TaskKey("changed"): task("changed", prod, ""),
			store.TaskKey("deleted"): task("deleted", test, ""),
		})
		m := mirrored(t, s)
		sub := m.Subscribe()
		sub.Take()
		synctest.Wait()
		s.mu.Lock()
		s.away = true
		s.cut()
		s.mu.Unlock()
		synctest.Wait()
		rev := write(t, s, nil, map[string]any{
			store.TaskKey("changed"): task("changed", prod, "n1"),
			store.TaskKey("deleted"): nil,
			store.TaskKey("new"):     task("new", prod, ""),
		})
		if err := s.Compact(t.Context(), rev); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.mu.Lock()
		s.away = false
		s.mu.Unlock()
		if err := m.Wait(t.Context(), rev); err != nil {
			t.Fatal(err)
		}
		d := sub.Take()
		want := []string{store.TaskKey("changed"), store.TaskKey("deleted"), store.TaskKey("new")}
		if got := slices.Sorted(maps.Keys(d.Keys)); !slices.Equal(got, want) {
			t.Errorf("dirty %q, want %q", got, want)
		}
		if _, ok := d.Environments[test]; !ok {
			t.Error("the environment of a task that was deleted meanwhile is not dirty")
		}
		m.Read(func(st *store.State) {
			if got := ids(st.TasksOf(prod)) + ids(st.TasksOf(test)); got != "[changed kept new][]" {
				t.Errorf("tasks: %s", got)
			}
		})
	})
}

func TestMirrorRefusesWhatItCannotDecode(t *testing.T) {
	s := mem.New(0)
	if _, err := s.Update(t.Context(), func(tx store.Tx) error { tx.Put(store.TaskKey("a"), []byte("{")); return nil }); err != nil {
		t.Fatal(err)
	}
	err := store.NewMirror(s, slog.New(slog.DiscardHandler)).Run(t.Context())
	if !api.IsKind(err, api.Internal) {
		t.Fatalf("got %v", err)
	}
}
