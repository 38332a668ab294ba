package verdict

import (
	"math"
	"slices"

	"github.com/ikada/ikada/api"
)

// latencies are waits by bucket, in rising order of their bounds.
type latencies []Bucket

// add puts what other has counted to it.
func (l *latencies) add(other latencies) {
	i := 0
	for _, b := range other {
		if b.N == 0 {
			continue
		}
		for i < len(*l) && (*l)[i].UpTo < b.UpTo {
			i++
		}
		if i < len(*l) && (*l)[i].UpTo == b.UpTo {
			(*l)[i].N += b.N
		} else {
			*l = slices.Insert(*l, i, b)
		}
	}
}

// pile is a sum of latencies that are mostly those of one second: as long as they are, nothing is copied.
type pile struct {
	latencies
	n      float64
	copied latencies // memory
	own    bool
}

// put adds what other, which has n waits, has counted.
func (p *pile) put(other latencies, n float64) {
	switch {
	case n == 0:
		return
	case p.n == 0:
		p.latencies, p.own = other, false
	default:
		if !p.own {
			p.latencies, p.own = append(p.copied[:0], p.latencies...), true
		}
		p.add(other)
		p.copied = p.latencies
	}
	p.n += n
}

func (p *pile) clear() { p.latencies, p.n, p.own = nil, 0, false }

func (l latencies) count() (n uint64) {
	for _, b := range l {
		n += b.N
	}
	return n
}

// widest is how many times its lower bound the upper bound of a bucket may be. A bucket below an empty one is taken to
// be as wide as they are in the middle.
const widest, ordinary = 1.25, 1.15

// quantile gives the duration that the share q of all does not exceed, as the middle of its bucket.
func (l latencies) quantile(q float64) api.Duration {
	rank := max(uint64(math.Ceil(q*float64(l.count()))), 1)
	for i, b := range l {
		if b.N < rank {
			rank -= b.N
			continue
		}
		high := float64(b.UpTo)
		low := high / ordinary
		if i > 0 && float64(l[i-1].UpTo)*widest >= high {
			low = float64(l[i-1].UpTo)
		}
		if b.UpTo == math.MaxInt64 && i > 0 {
			return l[i-1].UpTo
		}
		return api.Duration(2 * low * high / (low + high))
	}
	return 0
}

// upTo gives the bound of the bucket in which the quantile lies.
func (l latencies) upTo(q float64) api.Duration {
	rank := max(uint64(math.Ceil(q*float64(l.count()))), 1)
	for _, b := range l {
		if b.N >= rank {
			return b.UpTo
		}
		rank -= b.N
	}
	return 0
}

// above is the probability that a wait of l is longer than times·x+plus of one of other, where equal ones count half:
// the statistic of Mann and Whitney over n₁n₂, with mid-ranks for ties. It is 1/2 where there is nothing to compare.
func (l latencies) above(other latencies, times, plus float64) float64 {
	if len(l) == 0 || len(other) == 0 {
		return 0.5
	}
	var sum, below, all float64
	j, next := 0, times*float64(other[0].UpTo)+plus
	for _, b := range l {
		x, half := float64(b.UpTo), 0.0
		for next <= x {
			if next == x {
				half = float64(other[j].N) / 2
				break
			}
			below += float64(other[j].N)
			if j++; j == len(other) {
				next = math.Inf(1)
				break
			}
			next = times*float64(other[j].UpTo) + plus
		}
		n := float64(b.N)
		all += n
		sum += n * (below + half)
	}
	for ; j < len(other); j++ {
		below += float64(other[j].N)
	}
	if all == 0 || below == 0 {
		return 0.5
	}
	return sum / (all * below)
}
