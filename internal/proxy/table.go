package proxy

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/ikada/ikada/api"
)

// table is a compiled route table, immutable but for the counts inside its targets.
type table struct {
	applied    bool // false only for the empty one that a proxy starts with
	version    uint64
	routes     routes
	pools      map[string]*pool
	listeners  map[string]api.Listener // by address
	conflicts  map[string]string       // address → why the second listener on it is not opened
	targets    map[targetID]*target
	tasks      map[string]bool // that any pool may pick
	superseded chan struct{}   // closed when a newer table is in force
}

// targetID tells targets apart across tables. One task has a target for each of its ports that is in a pool.
type targetID struct {
	pool string
	api.Target
}

// pool is the targets behind one port of one service.
type pool struct {
	api.EnvRef
	name    string
	service string
	hold    time.Duration
	targets []*target
	meter   *meter // the pool's own
	env     *meter // of its environment
}

func emptyTable() *table { return &table{superseded: make(chan struct{})} }

// compile takes over the targets of the old table that the new one still names, with their counts and connections.
func compile(t *api.RouteTable, old *table, fresh func(api.Target) *target, m *meters) *table {
	n := &table{
		applied: true, version: t.Version,
		pools:      make(map[string]*pool, len(t.Pools)),
		listeners:  make(map[string]api.Listener, len(t.Listeners)),
		conflicts:  map[string]string{},
		targets:    map[targetID]*target{},
		tasks:      map[string]bool{},
		superseded: make(chan struct{}),
	}
	for _, from := range t.Pools {
		to := &pool{
			EnvRef: from.EnvRef, name: from.Name, service: from.Service, hold: from.Hold.Std(),
			meter: m.ofPool(from.Name), env: m.ofEnv(from.EnvRef),
		}
		for _, tg := range from.Targets {
			id := targetID{from.Name, tg}
			if n.targets[id] != nil {
				continue
			}
			g := old.targets[id]
			if g == nil {
				g = fresh(tg)
			}
			n.targets[id] = g
			n.tasks[tg.Task] = true
			to.targets = append(to.targets, g)
		}
		n.pools[from.Name] = to
	}
	for _, l := range t.Listeners {
		addr := net.JoinHostPort(l.HostIP, strconv.Itoa(int(l.Port)))
		if first, taken := n.listeners[addr]; taken {
			if first != l {
				n.conflicts[addr] = fmt.Sprintf("also asked for by %s; it serves %s", l.Pool, first.Pool)
			}
			continue
		}
		n.listeners[addr] = l
	}
	n.routes = compileRoutes(t.Routes, n.pools)
	return n
}

func (t *table) addresses() []string {
	all := make([]string, 0, len(t.listeners))
	for addr := range t.listeners {
		all = append(all, addr)
	}
	slices.Sort(all)
	return all
}

// live tells whether a meter of this name belongs to a pool or environment of the table.
func (t *table) live(pool string, env api.EnvRef) bool {
	if pool != "" {
		return t.pools[pool] != nil
	}
	for _, p := range t.pools {
		if p.EnvRef == env {
			return true
		}
	}
	return false
}

// pick chooses, of two targets drawn at random, the one with fewer requests in flight (Mitzenmacher, "The Power of
// Two Choices in Randomized Load Balancing", 1996). It passes over those in tried; nil when no other is left.
func (p *pool) pick(tried []*target) *target {
	left := p.targets
	if len(tried) > 0 {
		left = slices.DeleteFunc(slices.Clone(left), func(t *target) bool { return slices.Contains(tried, t) })
	}
	switch len(left) {
	case 0:
		return nil
	case 1:
		return left[0]
	}
	i := rand.IntN(len(left))
	j := rand.IntN(len(left) - 1)
	if j >= i {
		j++
	}
	if left[j].inFlight.Load() < left[i].inFlight.Load() {
		return left[j]
	}
	return left[i]
}
