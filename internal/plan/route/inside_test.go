package route

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ikada/ikada/api"
)

func TestInsideOfEveryService(t *testing.T) {
	old := release(1, map[string]api.ServiceSpec{"api": {Replicas: 2}, "legacy": {Replicas: 1, Networks: []api.NetworkJoin{{Network: "back"}}}})
	goal := release(2, map[string]api.ServiceSpec{
		"api": {
			Replicas: 2,
			Ports:    []api.PortSpec{{Target: 8080, Protocol: api.ProtoHTTP}, {Target: 5432, Published: 5432, Protocol: api.ProtoTCP}, {Target: 9000}},
			Networks: []api.NetworkJoin{{Network: "front", Aliases: []string{"www", "api"}}, {Network: "back", Aliases: []string{"www", "backend", "www"}}},
		},
		"idle":  {Replicas: 1},
		"zero":  {Replicas: 0},
		"plain": {Replicas: 1}, // without an address
	})
	e := env(goal, []*api.Release{old, goal},
		task("t2", "api", 2),
		task("t1", "api", 1),
		task("t3", "api", 1, func(v *api.TaskView) { v.Desired = api.WantDraining }),
		task("t4", "api", 2, func(v *api.TaskView) { v.Status.Unhealthy = true }),
		task("t5", "legacy", 1),
		task("t6", "plain", 2),
	)
	e.Addresses = map[string]string{"legacy": "10.9.0.1", "api": "10.9.0.3", "idle": "10.9.0.2", "zero": "10.9.0.4", "gone": "10.9.0.5", "plain": ""}
	same(t, Table(1, []Env{e}).Inside, []api.Inside{
		{Address: "10.9.0.1", EnvRef: ref, Service: "legacy", Hold: api.DefaultHold, Names: []string{"legacy"}, Networks: []string{"back"},
			Targets: []api.Target{{Task: "t5", Release: 1, Address: "10.0.0.5"}}},
		{Address: "10.9.0.2", EnvRef: ref, Service: "idle", Hold: api.DefaultHold, Names: []string{"idle"}, Networks: []string{"default"}},
		{Address: "10.9.0.3", EnvRef: ref, Service: "api", Hold: api.DefaultHold,
			Names: []string{"api"}, Networks: []string{"back", "front"},
			Aliases:   map[string][]string{"front": {"www"}, "back": {"backend", "www"}},
			Protocols: map[uint16]string{8080: api.ProtoHTTP, 5432: api.ProtoTCP},
			Targets:   []api.Target{{Task: "t1", Release: 1, Address: "10.0.0.1"}, {Task: "t2", Release: 2, Address: "10.0.0.2"}}},
	})
	e.Stopped = true // what still serves is still reached
	if got := Table(1, []Env{e}).Inside; len(got) != 2 || got[0].Service != "legacy" || got[1].Service != "api" {
		t.Errorf("stopped: %+v", got)
	}
	e.Tasks = nil
	if got := Table(1, []Env{e}).Inside; len(got) != 0 {
		t.Errorf("stopped, without tasks: %+v", got)
	}
	e.Goal, e.Stopped = nil, false
	if got := Table(1, []Env{e}).Inside; len(got) != 0 {
		t.Errorf("without a goal: %+v", got)
	}
}

func TestRoutesCarryTheirPolicy(t *testing.T) {
	policy := api.RoutePolicy{Redirect: &api.Redirect{Scheme: "https"}, Sticky: &api.Sticky{}, MaxBody: 1 << 20}
	get := api.RoutePolicy{Methods: []string{"GET"}}
	beta := api.RoutePolicy{Headers: map[string]string{"X-Beta": "1"}}
	old := release(1, map[string]api.ServiceSpec{"web": {Replicas: 1, Routes: []api.RouteSpec{
		{Host: "a.com", Port: 1}, {Host: "a.com", Port: 2, RoutePolicy: get}, {Host: "a.com", Port: 3, RoutePolicy: beta}}}})
	goal := release(2, map[string]api.ServiceSpec{"web": {Replicas: 1, Routes: []api.RouteSpec{
		{Host: "b.com", Path: "/x", Port: 20, RoutePolicy: policy},
		{Host: "a.com", Port: 12, RoutePolicy: api.RoutePolicy{Methods: []string{"GET"}, Compress: true}},
		{Host: "A.com", Path: "/", Port: 11}, {Host: "a.com", Port: 13, RoutePolicy: api.RoutePolicy{Headers: map[string]string{"x-beta": "1"}}}}}})
	got := Table(1, []Env{env(goal, []*api.Release{old, goal}, task("t1", "web", 1))})
	for _, want := range []api.Route{
		{Host: "b.com", Path: "/x", Pool: "shop/production/web:20", RoutePolicy: policy},
		{Host: "a.com", Path: "/", Pool: "shop/production/web:12", RoutePolicy: api.RoutePolicy{Methods: []string{"GET"}, Compress: true}},
	} {
		if !slices.ContainsFunc(got.Routes, func(r api.Route) bool { return fmt.Sprint(r) == fmt.Sprint(want) }) {
			t.Errorf("no route %+v among %+v", want, got.Routes)
		}
	}
	// The old task listens where its own release says for the route that takes the same requests.
	for _, p := range got.Pools {
		want := map[string]string{"shop/production/web:11": "10.0.0.1:1", "shop/production/web:12": "10.0.0.1:2",
			"shop/production/web:13": "10.0.0.1:3", "shop/production/web:20": "10.0.0.1:20"}[p.Name]
		if len(p.Targets) != 1 || p.Targets[0].Address != want {
			t.Errorf("%s: %+v, want %s", p.Name, p.Targets, want)
		}
	}
}

func TestRoutesOfOneServiceKeepTheirOrder(t *testing.T) {
	var routes []api.RouteSpec
	for _, m := range []string{"PUT", "GET", "POST", ""} {
		r := api.RouteSpec{Host: "a.com"}
		if m != "" {
			r.Methods = []string{m}
		}
		routes = append(routes, r, api.RouteSpec{Host: "a.com", RoutePolicy: api.RoutePolicy{Methods: r.Methods, Headers: map[string]string{"b": "1", "a": "2"}}})
	}
	table := func() *api.RouteTable {
		goal := release(1, map[string]api.ServiceSpec{"web": {Replicas: 1, Ports: []api.PortSpec{{Target: 80}}, Routes: slices.Clone(routes)}})
		return Table(1, []Env{env(goal, []*api.Release{goal})})
	}
	first := table()
	for range routes {
		routes = append(routes[1:], routes[0])
		same(t, table(), first)
	}
}
