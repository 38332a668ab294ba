package balance

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// maxDraws bounds the draws for one member while some start slowly. The last one drawn is taken as it is.
const maxDraws = 16

// Group is the members of one pool under one table; immutable but for what is seen of its members.
type Group struct {
	pool   *pool
	shares []share   // of all members that may be picked
	may    []*Member // the same in one list
	roster atomic.Pointer[roster]
}

// share is a release with the part of the requests that it gets. Without weights there is one, of all members.
type share struct {
	weight   uint64
	seats    []seat
	starting bool // there may be members among them that do not have their full weight
}

// seat is a member with its place in the list that the group was made of.
type seat struct {
	*Member
	index int
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

// divide gives the members that may be picked, by release in the order of the list.
func divide(members []*Member, weights map[uint64]int) []share {
	var shares []share
	of := map[uint64]int{}
	for i, m := range members {
		w := weights[m.release]
		if w <= 0 {
			continue
		}
		at, ok := of[m.release]
		if !ok {
			at = len(shares)
			of[m.release] = at
			shares = append(shares, share{weight: uint64(min(w, math.MaxInt32))})
		}
		shares[at].seats = append(shares[at].seats, seat{m, i})
	}
	if shares != nil || len(members) == 0 {
		return shares
	}
	all := share{weight: 1}
	for i, m := range members {
		all.seats = append(all.seats, seat{m, i})
	}
	return []share{all}
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
		return -1
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

// twoOf gives two different numbers below n, which is 2 or more.
func twoOf(n int, random uint64) (i, j int) {
	i = int(random >> 32 * uint64(n) >> 32)
	j = int(random & math.MaxUint32 * uint64(n-1) >> 32)
	if j >= i {
		j++
	}
	return i, j
}

func drawShare(shares []share, weight, random uint64) *share {
	at, _ := bits.Mul64(random, weight)
	for i := range shares {
		if at < shares[i].weight {
			return &shares[i]
		}
		at -= shares[i].weight
	}
	return &shares[len(shares)-1]
}

// pickStarting is Pick's choice while members start slowly. A draw counts with the probability of the member's weight.
// So at no load a member gets requests in proportion to its weight; under load the comparison of what is in flight
// keeps that in proportion too.
func (s *share) pickStarting(random func() uint64, now time.Duration) int {
	var i, j int
	var wi int64
	for range maxDraws {
		i, j = twoOf(len(s.seats), random())
		if wi = s.seats[i].weight(now); counts(wi, random) {
			break
		}
	}
	a, b := &s.seats[i], &s.seats[j]
	wj := b.weight(now)
	if counts(wj, random) && b.InFlight.Load()*wi < a.InFlight.Load()*wj {
		return b.index
	}
	return a.index
}

// counts is true with the probability of a weight.
func counts(weight int64, random func() uint64) bool {
	return weight == fullWeight || int64(random()>>32*fullWeight>>32) < weight
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

func (s *share) hasOther(tried []*Member) bool {
	return slices.ContainsFunc(s.seats, func(m seat) bool { return !slices.Contains(tried, m.Member) })
}

func (s *share) leastBusy(tried []*Member, random uint64, now time.Duration) int {
	n := len(s.seats)
	first, _ := bits.Mul64(random, uint64(n))
	best, load, weight := -1, int64(0), int64(0)
	for k := range n {
		m := &s.seats[(int(first)+k)%n]
		if slices.Contains(tried, m.Member) {
			continue
		}
		// One more than there is: with nothing in flight anywhere, a full member comes before one that starts.
		l, w := m.InFlight.Load()+1, m.weight(now)
		if best < 0 || l*weight < load*w {
			best, load, weight = m.index, l, w
		}
	}
	return best
}

// Others tells whether Pick would find a member that is not in tried.
func (g *Group) Others(tried []*Member) bool {
	return slices.ContainsFunc(g.may, func(m *Member) bool { return !slices.Contains(tried, m) })
}

// Judge looks at what was seen of the members and ejects who deserves it. Calls of Pick and Answered do so by
// themselves four times a second, so it is needed only where there are none; it may be called at any time.
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
