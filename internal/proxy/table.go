package proxy

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// table is a compiled route table, immutable but for the counts inside its targets and policies.
type table struct {
	applied    bool // false only for the empty one that a proxy starts with
	version    uint64
	routes     routes
	pools      map[string]*pool
	entries    map[string]*entry // by name
	listeners  map[string]listener
	conflicts  map[string]string // address or route → why it is not served
	targets    map[targetID]*target
	tasks      map[string]bool // that any pool may pick
	leaves     map[*meter.Leaf]bool
	superseded chan struct{} // closed when a newer table is in force

	from    *api.RouteTable
	virtual map[netip.Addr]*api.Inside
	inside  map[netip.AddrPort]*entry // of the ports of virtual addresses that are spoken to
}

// listener is a published port with where it leads; nil entry: nowhere.
type listener struct {
	api.Listener
	entry *entry
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
	held    *atomic.Int64 // requests that wait for a target; the same across tables, as is
	budget  *budget
}

func emptyTable() *table { return &table{superseded: make(chan struct{})} }

// compiler makes a table out of what a node sends. It takes over the targets of the old table that the new one still
// names, with their counts and connections, and what policies have counted.
type compiler struct {
	old, next *table
	fresh     func(api.Target) *target
	meters    *meter.Meters
}

// spoken are the ports of virtual addresses that are spoken to.
func compile(t *api.RouteTable, spoken map[netip.AddrPort]bool, old *table, fresh func(api.Target) *target, m *meter.Meters) *table {
	n := &table{
		applied: true, version: t.Version,
		pools:      make(map[string]*pool, len(t.Pools)),
		entries:    make(map[string]*entry, len(t.Routes)+len(t.Listeners)),
		listeners:  make(map[string]listener, len(t.Listeners)),
		conflicts:  map[string]string{},
		targets:    map[targetID]*target{},
		tasks:      map[string]bool{},
		leaves:     map[*meter.Leaf]bool{},
		superseded: make(chan struct{}),
		from:       t,
		virtual:    make(map[netip.Addr]*api.Inside, len(t.Inside)),
		inside:     make(map[netip.AddrPort]*entry, len(spoken)),
	}
	c := &compiler{old: old, next: n, fresh: fresh, meters: m}
	for _, from := range t.Pools {
		n.pools[from.Name] = c.pool(from)
	}
	for _, l := range t.Listeners {
		addr := net.JoinHostPort(l.HostIP, strconv.Itoa(int(l.Port)))
		if first, taken := n.listeners[addr]; taken {
			if first.Listener != l {
				n.conflicts[addr] = fmt.Sprintf("also asked for by %s; it serves %s", l.Pool, first.Pool)
			}
			continue
		}
		to := listener{Listener: l}
		if p := n.pools[l.Pool]; p != nil {
			to.entry = c.newEntry(addr, "/", p, api.RoutePolicy{})
		}
		n.listeners[addr] = to
	}
	n.routes = c.routes(t.Routes)
	c.addInside(t.Inside, spoken)
	return n
}

func (c *compiler) pool(from api.Pool) *pool {
	to := &pool{
		EnvRef: from.EnvRef, name: from.Name, service: from.Service, hold: from.Hold.Std(), held: new(atomic.Int64),
		budget: newBudget(),
	}
	if before := c.old.pools[from.Name]; before != nil {
		to.held, to.budget = before.held, before.budget
	}
	for _, tg := range from.Targets {
		id := targetID{from.Name, tg}
		if c.next.targets[id] != nil {
			continue
		}
		g := c.old.targets[id]
		if g == nil {
			g = c.fresh(tg)
		}
		c.next.targets[id] = g
		c.next.tasks[tg.Task] = true
		to.targets = append(to.targets, g)
	}
	return to
}

func (t *table) addresses() []string {
	all := make([]string, 0, len(t.listeners))
	for addr := range t.listeners {
		all = append(all, addr)
	}
	slices.Sort(all)
	return all
}

// pick chooses, of two targets drawn at random, the one with fewer requests in flight (Mitzenmacher, "The Power of
// Two Choices in Randomized Load Balancing", 1996), and gives its index. It passes over those in tried; -1 when no
// other is left. The task of the key that a client had before is chosen whatever the others do.
func (p *pool) pick(tried []*target, preferred string, _ *Proxy) int {
	n := len(p.targets)
	if preferred != "" {
		for i, t := range p.targets {
			if t.key == preferred && !slices.Contains(tried, t) {
				return i
			}
		}
	}
	if len(tried) > 0 {
		return p.pickOther(tried)
	}
	switch n {
	case 0:
		return -1
	case 1:
		return 0
	}
	i := rand.IntN(n)
	j := rand.IntN(n - 1)
	if j >= i {
		j++
	}
	if p.targets[j].inFlight.Load() < p.targets[i].inFlight.Load() {
		return j
	}
	return i
}

// pickOther gives the least busy of those that are not in tried.
func (p *pool) pickOther(tried []*target) int {
	best := -1
	for i, t := range p.targets {
		if !slices.Contains(tried, t) && (best < 0 || t.inFlight.Load() < p.targets[best].inFlight.Load()) {
			best = i
		}
	}
	return best
}

func itoa(n int) string { return strconv.Itoa(n) }
