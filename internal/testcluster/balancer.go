package testcluster

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// Balancer is a load balancer that sends nothing: tests say how many requests are in flight, and how long it takes to
// put a table in force. It implements agent.Balancer.
type Balancer struct {
	applied func(*api.RouteTable) // told of every table in force
	changed chan struct{}

	mu       sync.Mutex
	delay    time.Duration
	table    *api.RouteTable
	inFlight map[string]int
	drains   map[string]int // tasks it no longer picks
	problem  map[string]string
}

func newBalancer(applied func(*api.RouteTable)) *Balancer {
	return &Balancer{applied: applied, changed: make(chan struct{}, 1), table: &api.RouteTable{}, inFlight: map[string]int{},
		drains: map[string]int{}, problem: map[string]string{}}
}

// SetDelay says how long Apply takes.
func (b *Balancer) SetDelay(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delay = d
}

// SetInFlight says how many requests a task has.
func (b *Balancer) SetInFlight(task string, n int) {
	b.mu.Lock()
	b.inFlight[task] = n
	if _, ok := b.drains[task]; ok {
		b.drains[task] = n
	}
	b.mu.Unlock()
	b.poke()
}

// InFlight gives how many requests a task has.
func (b *Balancer) InFlight(task string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inFlight[task]
}

// SetProblem says why an address cannot be listened on; "" mends it.
func (b *Balancer) SetProblem(address, why string) {
	b.mu.Lock()
	b.problem[address] = why
	if why == "" {
		delete(b.problem, address)
	}
	b.mu.Unlock()
	b.poke()
}

// Picks tells whether new requests may be sent to a task.
func (b *Balancer) Picks(task string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(picks(b.table), task)
}

// Apply implements agent.Balancer.
func (b *Balancer) Apply(t *api.RouteTable) {
	b.mu.Lock()
	delay, stale := b.delay, t.Version <= b.table.Version
	b.mu.Unlock()
	if stale {
		return
	}
	if delay > 0 {
		time.Sleep(delay)
	}
	b.mu.Lock()
	now := picks(t)
	for _, id := range picks(b.table) {
		if !slices.Contains(now, id) {
			b.drains[id] = b.inFlight[id]
		}
	}
	b.table = t
	b.mu.Unlock()
	b.applied(t)
	b.poke()
}

// Status implements agent.Balancer.
func (b *Balancer) Status() api.BalancerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := api.BalancerStatus{Version: b.table.Version, Picks: picks(b.table), Drains: maps.Clone(b.drains), Problem: maps.Clone(b.problem)}
	for id, n := range b.drains {
		if n == 0 {
			delete(b.drains, id) // it was reported so once
		}
	}
	return s
}

// Changed implements agent.Balancer.
func (b *Balancer) Changed() <-chan struct{} { return b.changed }

func (b *Balancer) poke() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// picks gives the tasks that a table sends requests to, sorted.
func picks(t *api.RouteTable) []string {
	ids := map[string]bool{}
	for _, p := range t.Pools {
		for _, g := range p.Targets {
			ids[g.Task] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}
