package balance

import (
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// Group is the members of one pool under one table; immutable but for what is seen of its members.
type Group struct {
	pool   *pool
	shares []share   // of all members that may be picked
	may    []*Member // the same in one list
	roster atomic.Pointer[roster]
}

// roster is those of a group that are not ejected. A release that has none is left out.
type roster struct {
	shares []share
	weight uint64 // of all
}

// NewGroup gives the group of a new table. Weights are api.Pool.Weights: by release, in proportion; a release that is
// not named, or has 0, gets none while a named one has a member. Old is the pool's group in the table before, nil for
// none; from now on it follows the new one's ejections. Members that are new start slowly if they join others.
func NewGroup(members []*Member, weights map[uint64]int, old *Group, now time.Duration) *Group {
	g := &Group{shares: divide(members, weights)}
	if old != nil {
		g.pool = old.pool
	} else {
		g.pool = newPool()
	}
	for _, s := range g.shares {
		for _, m := range s.seats {
			g.may = append(g.may, m.Member)
		}
	}
	g.pool.replace(g, now)
	return g
}

// Pick chooses a member for a request, and gives its index in the list that the group was made of; -1 when there is
// none but those in tried. It takes an ejected one rather than none.
func (g *Group) Pick(tried []*Member, now time.Duration) int {
	if int64(now) >= g.pool.due.Load() {
		g.pool.judgeIfDue(now)
	}
	r := g.roster.Load()
	if len(tried) > 0 {
		return g.pickOther(r, tried, now)
	}
	var s *share
	switch len(r.shares) {
	case 0:
		return g.pickOther(r, nil, now)
	case 1:
		s = &r.shares[0]
	default:
		s = drawShare(r.shares, r.weight, g.pool.random())
	}
	switch {
	case len(s.seats) == 1:
		return s.seats[0].index
	case s.starting:
		return s.pickStarting(g.pool.random, now)
	}
	i, j := twoOf(len(s.seats), g.pool.random())
	a, b := &s.seats[i], &s.seats[j]
	if b.InFlight.Load() < a.InFlight.Load() {
		return b.index
	}
	return a.index
}

// pickOther chooses the least busy of a release for a request that has been elsewhere. Retries are rare, so they need
// not be drawn; but of several that are equally busy any may come first.
func (g *Group) pickOther(r *roster, tried []*Member, now time.Duration) int {
	for _, shares := range [][]share{r.shares, g.shares} {
		var weight uint64
		for i := range shares {
			if shares[i].hasOther(tried) {
				weight += shares[i].weight
			}
		}
		if weight == 0 {
			continue
		}
		at, _ := bits.Mul64(g.pool.random(), weight)
		for i := range shares {
			s := &shares[i]
			if !s.hasOther(tried) {
				continue
			}
			if at < s.weight {
				return s.leastBusy(tried, g.pool.random(), now)
			}
			at -= s.weight
		}
	}
	return -1
}

// Others tells whether Pick would find a member that is not in tried.
func (g *Group) Others(tried []*Member) bool {
	return slices.ContainsFunc(g.may, func(m *Member) bool { return !slices.Contains(tried, m) })
}

// Judge looks at what was seen of the members and ejects who deserves it. Calls of Pick and Answered do so by
// themselves ten times a second, so it is needed only where there are none; it may be called at any time.
func (g *Group) Judge(now time.Duration) {
	g.pool.mu.Lock()
	defer g.pool.mu.Unlock()
	g.pool.judge(now)
}

// enroll makes the roster anew. It is called under the pool's lock.
func (g *Group) enroll(now time.Duration) {
	r := &roster{}
	for _, s := range g.shares {
		usable := share{weight: s.weight}
		for _, m := range s.seats {
			if m.Ejected(now) {
				continue
			}
			usable.seats = append(usable.seats, m)
			usable.starting = usable.starting || m.weight(now) < fullWeight
		}
		if len(usable.seats) > 0 {
			r.shares = append(r.shares, usable)
			r.weight += s.weight
		}
	}
	g.roster.Store(r)
}
