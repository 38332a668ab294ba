// Package route makes the balancers' route table out of environments, releases and tasks.
//
// The package is pure: no I/O, no clock, no random source. Start at [Table].
package route

import (
	"cmp"
	"net"
	"slices"
	"strconv"

	"github.com/ikada/ikada/api"
)

// Env is one environment with what its table depends on.
type Env struct {
	api.Environment
	Goal     *api.Release            // whose ports and routes are open: the running deployment's, else the committed one
	Releases map[uint64]*api.Release // all that its tasks name
	Tasks    []api.TaskView          // those that have ended may be missing

	// Deployment is the one that runs, nil when none: it may share requests by weight.
	Deployment *api.Deployment
}

// Table makes the route table of all environments. Targets are the tasks that are ready, healthy and wanted, of
// whichever release: during a rollout both serve.
func Table(version uint64, envs []Env) *api.RouteTable {
	t := &api.RouteTable{Version: version}
	services := 0
	for i := range envs {
		services += len(envs[i].Addresses)
	}
	t.Routes, t.Pools, t.Inside = slices.Grow(t.Routes, services), slices.Grow(t.Pools, services), slices.Grow(t.Inside, services)
	for i := range envs {
		m := maker{Env: &envs[i], table: t, serving: make(map[string][]*api.TaskView, len(envs[i].Addresses)), pools: map[string]bool{},
			counts: map[string]counts{}}
		m.addEnv()
	}
	slices.SortFunc(t.Listeners, func(a, b api.Listener) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.HostIP, b.HostIP), cmp.Compare(a.Pool, b.Pool))
	})
	slices.SortFunc(t.Routes, compareRoutes)
	slices.SortFunc(t.Pools, func(a, b api.Pool) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(t.Inside, func(a, b api.Inside) int { return cmp.Compare(a.Address, b.Address) })
	slices.Sort(t.Leaving)
	return t
}

// compareRoutes orders routes by host, path and pool; those of one service by what else they ask for.
func compareRoutes(a, b api.Route) int {
	if c := cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Pool, b.Pool)); c != 0 {
		return c
	}
	return cmp.Compare(a.Claim(), b.Claim())
}

// maker adds one environment to a table.
type maker struct {
	*Env
	table   *api.RouteTable
	serving map[string][]*api.TaskView // service → tasks that take requests, by ID
	pools   map[string]bool            // that were added, by name
	counts  map[string]counts          // service → its targets by release; only of those asked for
}

func (m *maker) addEnv() {
	t := m.table
	for i := range m.Tasks {
		task := &m.Tasks[i]
		if task.Desired != api.WantRunning && !task.Status.State.Final() {
			t.Leaving = append(t.Leaving, task.Leave())
		}
		if serves(task) {
			m.serving[task.Service] = append(m.serving[task.Service], task)
		}
	}
	for _, tasks := range m.serving {
		slices.SortFunc(tasks, func(a, b *api.TaskView) int { return cmp.Compare(a.ID, b.ID) })
	}
	m.addInside()
	if m.Goal == nil {
		return
	}
	for name, spec := range m.Goal.Spec.Services {
		if m.Replicas(name, spec) == 0 {
			continue
		}
		for i := range spec.Ports {
			p := &spec.Ports[i]
			if p.Published == 0 {
				continue
			}
			pool := m.addPool(name, p.Target, func(s api.ServiceSpec) uint16 { return published(s, p) })
			t.Listeners = append(t.Listeners, api.Listener{HostIP: p.HostIP, Port: p.Published, Protocol: p.Protocol, Pool: pool})
		}
		for i := range spec.Routes {
			r := &spec.Routes[i]
			port := cmp.Or(r.Port, spec.FirstPort())
			pool := m.addPool(name, port, func(s api.ServiceSpec) uint16 { return routed(s, r) })
			t.Routes = append(t.Routes, api.Route{Host: r.Host, Path: cmp.Or(r.Path, "/"), Pool: pool, RoutePolicy: r.RoutePolicy})
		}
	}
}

// published gives the container's port that a release of the service publishes as the same port, at the same address
// rather than at another; 0 when it does not.
func published(s api.ServiceSpec, as *api.PortSpec) (target uint16) {
	for _, p := range s.Ports {
		switch {
		case p.Published != as.Published:
		case p.HostIP == as.HostIP:
			return p.Target
		case target == 0:
			target = p.Target
		}
	}
	return target
}

// routed gives the container's port to which a release of the service takes a route, 0 when it has no such route.
func routed(s api.ServiceSpec, r *api.RouteSpec) uint16 {
	claim := r.Claim()
	for _, o := range s.Routes {
		if o.Claim() == claim {
			return cmp.Or(o.Port, s.FirstPort())
		}
	}
	return 0
}

// addPool adds the pool of a service's port, once, and gives its name. A task of another release listens where its
// own release says; where that does not say, where the goal does.
func (m *maker) addPool(service string, port uint16, own func(api.ServiceSpec) uint16) string {
	name := m.EnvRef.String() + "/" + service + ":" + strconv.Itoa(int(port))
	if m.pools[name] {
		return name
	}
	m.pools[name] = true
	serving := m.serving[service]
	pool := api.Pool{Name: name, EnvRef: m.EnvRef, Service: service, Hold: api.DefaultHold, Targets: slices.Grow([]api.Target(nil), len(serving))}
	ports := map[uint64]uint16{m.Goal.Number: port} // by release
	for _, task := range serving {
		at, known := ports[task.Release]
		if !known {
			at = port
			if spec, ok := specOf(m.Releases[task.Release], service); ok {
				at = cmp.Or(own(spec), port)
			}
			ports[task.Release] = at
		}
		pool.Targets = append(pool.Targets, api.Target{Task: task.ID, Release: task.Release,
			Address: net.JoinHostPort(task.Status.Address, strconv.Itoa(int(at)))})
	}
	pool.Weights, pool.Match = m.share(service, pool.Targets)
	m.table.Pools = append(m.table.Pools, pool)
	return name
}

// specOf gives what a release says of a service, and whether it has it; no release has none.
func specOf(r *api.Release, service string) (spec api.ServiceSpec, ok bool) {
	if r != nil {
		spec, ok = r.Spec.Services[service]
	}
	return spec, ok
}

// serves tells whether a task takes requests.
func serves(t *api.TaskView) bool {
	return t.Desired == api.WantRunning && t.Status.State == api.TaskReady && !t.Status.Unhealthy && t.Status.Address != ""
}
