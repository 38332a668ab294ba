package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
)

// BenchmarkReroute looks whether the route table has changed, which it has not: 2,000 services of 200 apps with two tasks each.
func BenchmarkReroute(b *testing.B) {
	s, log := mem.New(0), slog.New(slog.DiscardHandler)
	for app := range 200 {
		ref := api.EnvRef{App: fmt.Sprintf("app%d", app), Env: "production"}
		if _, err := s.Update(b.Context(), func(tx store.Tx) error { return tenServices(tx, ref) }); err != nil {
			b.Fatal(err)
		}
	}
	mirror := store.NewMirror(s, log)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- mirror.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	<-mirror.Ready()
	d := New(Config{Store: s, Mirror: mirror, Addresses: netip.MustParsePrefix("10.99.0.0/16"), Log: log})
	if !d.reroute(ctx) || len(d.table.Pools) != 2000 || len(d.table.Inside) != 2000 {
		b.Fatalf("%d pools, %d inside", len(d.table.Pools), len(d.table.Inside))
	}
	for b.Loop() {
		if d.reroute(ctx) {
			b.Fatal("the table has changed")
		}
	}
}

// tenServices commits a release of ten services with a route and two ready tasks each.
func tenServices(tx store.Tx, ref api.EnvRef) error {
	spec := api.AppSpec{App: ref.App, Env: ref.Env, Services: map[string]api.ServiceSpec{}}
	for i := range 10 {
		name := fmt.Sprintf("s%d", i)
		spec.Services[name] = api.ServiceSpec{Replicas: 2, Ports: []api.PortSpec{{Target: 80}}, Routes: []api.RouteSpec{{Host: name + "." + ref.App + ".example.com"}}}
		for slot := range 2 {
			task := api.Task{ID: fmt.Sprintf("%s-%s-%d", ref.App, name, slot), EnvRef: ref, Service: name, Slot: slot + 1, Release: 1, Desired: api.WantRunning}
			if err := store.Put(tx, store.TaskKey(task.ID), task); err != nil {
				return err
			}
			if err := store.Put(tx, store.StatusKey(task.ID), api.TaskStatus{Task: task.ID, State: api.TaskReady, Address: "10.0.0.1"}); err != nil {
				return err
			}
		}
	}
	if err := store.Put(tx, store.ReleaseKey(ref, 1), api.Release{EnvRef: ref, Number: 1, Spec: spec}); err != nil {
		return err
	}
	return store.Put(tx, store.EnvironmentKey(ref), api.Environment{EnvRef: ref, Release: 1})
}
