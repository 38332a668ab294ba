package proxy

import (
	"fmt"
	"iter"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/balance"
	"github.com/ikada/ikada/internal/proxy/meter"
	"github.com/ikada/ikada/internal/proxy/policy"
)

// table is a compiled route table, immutable but for the counts inside its targets and policies. What two tables in a
// row have in common they share: pools, entries, and the paths of a host.
type table struct {
	applied    bool // false only for the empty one that a proxy starts with
	version    uint64
	routes     routes
	pools      map[string]*pool
	entries    map[string]*entry // by name
	listeners  map[string]listener
	conflicts  map[string]string // address or route → why it is not served
	tasks      map[string]bool   // that any pool may pick
	superseded chan struct{}     // closed when a newer table is in force
	sort       sync.Once
	sorted     []string // tasks

	from    *api.RouteTable
	virtual map[netip.Addr]*api.Inside
	inside  map[netip.AddrPort]*entry // of the ports of virtual addresses that are spoken to
}

// listener is a published port with where it leads; nil entry: nowhere.
type listener struct {
	api.Listener
	entry *entry
}

// pool is the targets behind one port of one service, immutable but for what is counted. One task has a target in each
// pool of its ports.
type pool struct {
	api.Pool
	hold    time.Duration
	targets []*target
	held    *atomic.Int64 // requests that wait for a target; the same across tables, as is
	budget  *balance.Budget
	group   *balance.Group // of the targets' members, in their order
	match   *policy.Match  // of the requests that go to Match.Releases; nil: none do
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
		tasks:      make(map[string]bool, len(old.tasks)),
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

// pool gives the old table's pool if nothing of it has changed.
func (c *compiler) pool(from api.Pool) *pool {
	before := c.old.pools[from.Name]
	for i := range from.Targets {
		c.next.tasks[from.Targets[i].Task] = true
	}
	if before != nil && before.Pool.Equal(&from) {
		return before
	}
	to := &pool{Pool: from, hold: from.Hold.Std(), held: new(atomic.Int64), budget: balance.NewBudget()}
	var group *balance.Group
	known, taken := map[api.Target]*target{}, map[api.Target]bool{}
	if before != nil {
		to.held, to.budget, group = before.held, before.budget, before.group
		for _, g := range before.targets {
			known[g.Target] = g
		}
	}
	var members []*balance.Member
	for _, tg := range from.Targets {
		if taken[tg] {
			continue
		}
		taken[tg] = true
		g := known[tg]
		if g == nil {
			g = c.fresh(tg)
		}
		to.targets = append(to.targets, g)
		members = append(members, g.member)
	}
	to.group = balance.NewGroup(members, from.Weights, group, c.now)
	if from.Match != nil {
		to.match = policy.CompileMatch(from.Match.RequestMatch)
	}
	return to
}

// picks gives the tasks that any pool may pick, sorted. They must not be changed.
func (t *table) picks() []string {
	t.sort.Do(func() { t.sorted = slices.Sorted(maps.Keys(t.tasks)) })
	return t.sorted
}

// targets gives all that may be picked.
func (t *table) targets() iter.Seq[*target] {
	return func(yield func(*target) bool) {
		for _, p := range t.pools {
			for _, g := range p.targets {
				if !yield(g) {
					return
				}
			}
		}
	}
}

// targetsBut gives those that another table does not have.
func (t *table) targetsBut(other *table) iter.Seq[*target] {
	return func(yield func(*target) bool) {
		for name, p := range t.pools {
			q := other.pools[name]
			if p == q {
				continue
			}
			for _, g := range p.targets {
				if (q == nil || !slices.Contains(q.targets, g)) && !yield(g) {
					return
				}
			}
		}
	}
}

// leavesBut gives the leaves at which no request of another table is booked. A leaf belongs to entries of one name.
func (t *table) leavesBut(other *table) (all []*meter.Leaf) {
	for name, e := range t.entries {
		f := other.entries[name]
		if e == f {
			continue
		}
		for _, l := range append(slices.Clone(e.leaves), e.none) {
			if !f.books(l) {
				all = append(all, l)
			}
		}
	}
	return all
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
// client had before if it is well, else the one that [balance.Group.Pick] says. A request that the match takes goes to
// its releases while one of their tasks is well, to the least busy.
func (p *pool) pick(tried []*balance.Member, preferred string, matched bool, now time.Duration) int {
	if preferred == "" && !matched {
		return p.group.Pick(tried, now)
	}
	best := -1
	for i, t := range p.targets {
		if slices.Contains(tried, t.member) || t.member.Ejected(now) || matched && !slices.Contains(p.Match.Releases, t.Release) {
			continue
		}
		if preferred != "" && t.key == preferred {
			return i
		}
		if matched && (best < 0 || t.member.InFlight.Load() < p.targets[best].member.InFlight.Load()) {
			best = i
		}
	}
	if best >= 0 {
		return best
	}
	return p.group.Pick(tried, now)
}
