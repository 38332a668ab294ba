package route

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/ikada/ikada/api"
)

var ref = api.EnvRef{App: "shop", Env: "production"}

func release(number uint64, services map[string]api.ServiceSpec) *api.Release {
	return &api.Release{EnvRef: ref, Number: number, Spec: api.AppSpec{App: ref.App, Env: ref.Env, Services: services}}
}

func task(id, service string, release uint64, change ...func(*api.TaskView)) api.TaskView {
	v := api.TaskView{Task: api.Task{ID: id, EnvRef: ref, Service: service, Release: release, Node: "n1", Desired: api.WantRunning},
		Status: api.TaskStatus{Task: id, State: api.TaskReady, Address: "10.0.0." + id[1:]}}
	for _, f := range change {
		f(&v)
	}
	return v
}

func env(goal *api.Release, releases []*api.Release, tasks ...api.TaskView) Env {
	e := Env{Environment: api.Environment{EnvRef: ref}, Goal: goal, Releases: map[uint64]*api.Release{}, Tasks: tasks}
	for _, r := range releases {
		e.Releases[r.Number] = r
	}
	return e
}

func same(t *testing.T, got, want any) {
	t.Helper()
	g, _ := json.MarshalIndent(got, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	if string(g) != string(w) {
		t.Errorf("got %s\nwant %s", g, w)
	}
}

func TestTableDuringARollout(t *testing.T) {
	old := release(1, map[string]api.ServiceSpec{"web": {Replicas: 2, Ports: []api.PortSpec{{Published: 80, Target: 3000}},
		Routes: []api.RouteSpec{{Host: "example.com"}}}})
	goal := release(2, map[string]api.ServiceSpec{"web": {Replicas: 2, Ports: []api.PortSpec{{HostIP: "127.0.0.1", Published: 80, Target: 8080, Protocol: api.ProtoHTTP}},
		Routes: []api.RouteSpec{{Host: "example.com"}, {Host: "example.com", Path: "/admin", Port: 9000}}}})
	got := Table(7, []Env{env(goal, []*api.Release{old, goal},
		task("t4", "web", 2),
		task("t3", "web", 1),
		task("t1", "web", 1, func(v *api.TaskView) { v.Desired = api.WantDraining }),
		task("t2", "web", 1, func(v *api.TaskView) { v.Desired, v.Status.State = api.WantStopped, api.TaskStopped }),
		task("t5", "web", 2, func(v *api.TaskView) { v.Status.State = api.TaskRunning }),
		task("t6", "web", 2, func(v *api.TaskView) { v.Status.Unhealthy = true }),
		task("t7", "web", 2, func(v *api.TaskView) { v.Status.Address = "" }),
	)})
	targets := func(port3, port4 int) []api.Target {
		return []api.Target{{Task: "t3", Release: 1, Address: fmt.Sprintf("10.0.0.3:%d", port3)}, {Task: "t4", Release: 2, Address: fmt.Sprintf("10.0.0.4:%d", port4)}}
	}
	same(t, got, &api.RouteTable{
		Version:   7,
		Listeners: []api.Listener{{HostIP: "127.0.0.1", Port: 80, Protocol: api.ProtoHTTP, Pool: "shop/production/web:8080"}},
		Routes: []api.Route{{Host: "example.com", Path: "/", Pool: "shop/production/web:8080"},
			{Host: "example.com", Path: "/admin", Pool: "shop/production/web:9000"}},
		Pools: []api.Pool{
			{Name: "shop/production/web:8080", EnvRef: ref, Service: "web", Hold: api.DefaultHold, Targets: targets(3000, 8080)},
			{Name: "shop/production/web:9000", EnvRef: ref, Service: "web", Hold: api.DefaultHold, Targets: targets(9000, 9000)},
		},
		Leaving: []string{"t1"},
	})
}

// TestOnePortAtTwoAddresses publishes one port twice, at addresses of their own, for different ports of the container.
func TestOnePortAtTwoAddresses(t *testing.T) {
	web := func(inner, outer uint16) map[string]api.ServiceSpec {
		return map[string]api.ServiceSpec{"web": {Replicas: 1, Ports: []api.PortSpec{
			{HostIP: "127.0.0.1", Published: 80, Target: inner}, {HostIP: "10.0.0.9", Published: 80, Target: outer}}}}
	}
	// moved publishes at an address that no release before knew.
	moved := release(3, map[string]api.ServiceSpec{"web": {Replicas: 1, Ports: []api.PortSpec{{HostIP: "10.0.0.8", Published: 80, Target: 5}}}})
	old, goal := release(1, web(1, 2)), release(2, web(3, 4))
	tasks := []api.TaskView{task("t1", "web", 1), task("t2", "web", 2)}
	for _, c := range []struct {
		goal *api.Release
		want map[string][]string // by the goal's port
	}{
		{goal, map[string][]string{"shop/production/web:3": {"10.0.0.1:1", "10.0.0.2:3"}, "shop/production/web:4": {"10.0.0.1:2", "10.0.0.2:4"}}},
		{moved, map[string][]string{"shop/production/web:5": {"10.0.0.1:1", "10.0.0.2:3"}}},
	} {
		got := map[string][]string{}
		for _, p := range Table(1, []Env{env(c.goal, []*api.Release{old, goal, moved}, tasks...)}).Pools {
			for _, target := range p.Targets {
				got[p.Name] = append(got[p.Name], target.Address)
			}
		}
		same(t, got, c.want)
	}
}

func TestTableWithoutAGoal(t *testing.T) {
	got := Table(1, []Env{env(nil, nil, task("t1", "web", 1, func(v *api.TaskView) { v.Desired = api.WantDraining }))})
	same(t, got, &api.RouteTable{Version: 1, Leaving: []string{"t1"}})
}

func TestTableOfWhatIsStopped(t *testing.T) {
	goal := release(1, map[string]api.ServiceSpec{"web": {Replicas: 1, Ports: []api.PortSpec{{Published: 80, Target: 80}}},
		"zero": {Replicas: 0, Ports: []api.PortSpec{{Published: 81, Target: 80}}}})
	e := env(goal, []*api.Release{goal})
	if got := Table(1, []Env{e}); len(got.Listeners) != 1 || got.Listeners[0].Port != 80 {
		t.Errorf("listeners %+v", got.Listeners)
	}
	e.Stopped = true
	same(t, Table(1, []Env{e}), &api.RouteTable{Version: 1})
}

func TestTableKeepsItsOrder(t *testing.T) {
	services := map[string]api.ServiceSpec{}
	var tasks []api.TaskView
	for i := range 20 {
		name := fmt.Sprintf("s%02d", i)
		services[name] = api.ServiceSpec{Replicas: 1, Ports: []api.PortSpec{{Published: uint16(1000 + i), Target: 80}, {Target: 81}},
			Routes: []api.RouteSpec{{Host: name, Path: "/b"}, {Host: name, Path: "/a"}}}
		tasks = append(tasks, task(fmt.Sprintf("t%d", i), name, 1))
	}
	goal := release(1, services)
	first := Table(1, []Env{env(goal, []*api.Release{goal}, tasks...)})
	if len(first.Pools) != 20 || len(first.Routes) != 40 || len(first.Listeners) != 20 {
		t.Errorf("%d pools, %d routes, %d listeners", len(first.Pools), len(first.Routes), len(first.Listeners))
	}
	for range 20 {
		slices.Reverse(tasks)
		same(t, Table(1, []Env{env(goal, []*api.Release{goal}, tasks...)}), first)
	}
}
