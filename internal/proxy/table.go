package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/balance"
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
	budget  *balance.Budget
	group   *balance.Group // of the targets' members, in their order
}

func emptyTable() *table { return &table{superseded: make(chan struct{})} }

// compiler makes a table out of what a node sends. It takes over the targets of the old table that the new one still
// names, with their counts and connections, and what policies have counted.
type compiler struct {
	old, next *table
	fresh     func(api.Target) *target
	meters    *meter.Meters
	now       time.Duration // on the proxy's clock
}

// spoken are the ports of virtual addresses that are spoken to.
func compile(t *api.RouteTable, spoken map[netip.AddrPort]bool, old *table, fresh func(api.Target) *target, m *meter.Meters, now time.Duration) *table {
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
	c := &compiler{old: old, next: n, fresh: fresh, meters: m, now: now}
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
		budget: balance.NewBudget(),
	}
	var group *balance.Group
	if before := c.old.pools[from.Name]; before != nil {
		to.held, to.budget, group = before.held, before.budget, before.group
	}
	var members []*balance.Member
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
		members = append(members, g.member)
	}
	to.group = balance.NewGroup(members, from.Weights, group, c.now)
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

// pick chooses a target that is not in tried and gives its index, -1 when no other is left: the task of the key that a
// client had before if it is well, else the one that [balance.Group.Pick] says.
func (p *pool) pick(tried []*balance.Member, preferred string, now time.Duration) int {
	if preferred != "" {
		for i, t := range p.targets {
			if t.key == preferred && !slices.Contains(tried, t.member) && !t.member.Ejected(now) {
				return i
			}
		}
	}
	return p.group.Pick(tried, now)
}
