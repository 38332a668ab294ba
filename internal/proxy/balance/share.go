package balance

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// maxDraws bounds the draws for one member while some start slowly. The last one drawn is taken as it is.
const maxDraws = 16

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
