package route

import (
	"fmt"
	"testing"

	"github.com/ikada/ikada/api"
)

// BenchmarkTable makes the table of 2,000 services with two tasks each: of one app, and of 200; at rest, and where each has
// tasks of two releases on a deployment's way.
func BenchmarkTable(b *testing.B) {
	const services = 2000
	for _, apps := range []int{1, 200} {
		for _, rolling := range []bool{false, true} {
			var envs []Env
			for n := range apps {
				envs = append(envs, manyServices(fmt.Sprintf("app%d", n), services/apps, rolling))
			}
			b.Run(fmt.Sprintf("apps=%d/rolling=%v", apps, rolling), func(b *testing.B) {
				for b.Loop() {
					if t := Table(1, envs); len(t.Pools) != services || len(t.Inside) != services {
						b.Fatalf("%d pools, %d inside", len(t.Pools), len(t.Inside))
					}
				}
			})
		}
	}
}

// manyServices gives an environment of services with a port, a route, an address and two tasks each.
func manyServices(app string, services int, rolling bool) Env {
	specs := [2]map[string]api.ServiceSpec{{}, {}}
	var tasks []api.TaskView
	addresses := map[string]string{}
	for i := range services {
		name := fmt.Sprintf("s%04d", i)
		for r := range specs {
			specs[r][name] = api.ServiceSpec{Image: fmt.Sprintf("v%d", r+1), Replicas: 2, Ports: []api.PortSpec{{Published: uint16(10000 + i), Target: 80}},
				Routes: []api.RouteSpec{{Host: name + "." + app + ".example.com"}}}
			of := uint64(1)
			if rolling {
				of += uint64(r)
			}
			tasks = append(tasks, task(fmt.Sprintf("t%s%d%d", app, i, r), name, of))
		}
		addresses[name] = fmt.Sprintf("10.1.%d.%d", i/250, i%250)
	}
	old, goal := release(1, specs[0]), release(2, specs[1])
	e := env(old, []*api.Release{old, goal}, tasks...)
	if e.EnvRef.App = app; rolling {
		e.Goal, e.Deployment = goal, &api.Deployment{From: 1, To: 2, State: api.DeployRunning}
	}
	e.Addresses = addresses
	return e
}
