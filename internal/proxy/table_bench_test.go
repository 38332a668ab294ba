package proxy

import (
	"fmt"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// BenchmarkApply puts tables of 2,000 services in force, of which each swaps one task of one service.
func BenchmarkApply(b *testing.B) {
	const services = 2000
	p, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	t := &api.RouteTable{}
	for i := range services {
		name := fmt.Sprintf("service-%d", i)
		pool := api.Pool{Name: fmt.Sprintf("shop/production/%s:80", name), EnvRef: testEnv, Service: name, Hold: api.DefaultHold}
		in := api.Inside{Address: fmt.Sprintf("10.100.%d.%d", i/250, i%250), EnvRef: testEnv, Service: name, Hold: api.DefaultHold,
			Names: []string{name}, Networks: []string{"default"}}
		for n := range 2 {
			task := fmt.Sprintf("task%06d", 2*i+n)
			pool.Targets = append(pool.Targets, api.Target{Task: task, Release: 1, Address: fmt.Sprintf("10.1.%d.%d:80", i/250, n)})
			in.Targets = append(in.Targets, api.Target{Task: task, Release: 1, Address: fmt.Sprintf("10.1.%d.%d", i/250, n)})
		}
		t.Pools = append(t.Pools, pool)
		t.Inside = append(t.Inside, in)
		route := api.Route{Host: name + ".example.com", Path: "/", Pool: pool.Name}
		if i%4 == 0 {
			route.RateLimit = &api.RateLimit{Requests: 100, Per: api.Duration(time.Second)}
		}
		t.Routes = append(t.Routes, route)
	}
	t.Version = 1
	p.Apply(t)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		next := *t
		next.Version++
		i := n % services
		next.Pools = append([]api.Pool(nil), t.Pools...)
		next.Pools[i].Targets = append([]api.Target(nil), t.Pools[i].Targets...)
		next.Pools[i].Targets[n%2].Task = fmt.Sprintf("fresh%06d", n)
		t = &next
		p.Apply(t)
		p.Status()
	}
}
