package balance

import (
	"math"
	"math/bits"
	"time"
)

// Waits are counted in buckets: four to an octave from 65 µs, linear below.
const (
	bucketUnit = 14 // power of two, in nanoseconds: 16 µs
	buckets    = 88 // the last one begins at two minutes
)

type histogram [buckets]uint32

func bucketOf(wait time.Duration) int {
	v := uint64(max(wait, 0)) >> bucketUnit
	if v < 4 {
		return int(v)
	}
	octave := bits.Len64(v) - 2
	return min(octave*4+int(v>>(octave-1)&3), buckets-1)
}

// middleOf gives the middle of a bucket.
func middleOf(bucket int) time.Duration {
	if bucket < 4 {
		return time.Duration(bucket)<<bucketUnit + 1<<(bucketUnit-1)
	}
	octave := bucket / 4
	return (time.Duration(4+bucket%4)<<bucketUnit + 1<<(bucketUnit-1)) << (octave - 1)
}

// spread is what judging needs of a distribution of waits.
type spread struct {
	answers  int
	quartile [3]time.Duration

	// The median is between these with a probability of 0.997, whatever the distribution: so many of the answers lie
	// on either side of it (Conover, "Practical Nonparametric Statistics", 3rd edition, section 3.2).
	low, high time.Duration
}

func (h *histogram) add(o *histogram) {
	for i, n := range o {
		h[i] += n
	}
}

func (h *histogram) spread() spread {
	var s spread
	for _, n := range h {
		s.answers += int(n)
	}
	if s.answers == 0 {
		return s
	}
	n := float64(s.answers)
	margin := 1.5 * math.Sqrt(n)
	s.low = h.rank(n/2 - margin)
	s.quartile = [3]time.Duration{h.rank(n / 4), h.rank(n / 2), h.rank(3 * n / 4)}
	s.high = h.rank(n/2 + margin)
	return s
}

// rank gives the wait of the answer that so many are not slower than.
func (h *histogram) rank(r float64) time.Duration {
	var sum float64
	last := 0
	for i, n := range h {
		if n == 0 {
			continue
		}
		last = i
		if sum += float64(n); sum >= r {
			break
		}
	}
	return middleOf(last)
}

// A member is slow from so much on.
const (
	slowTimes  = 5 // the others' wait
	slowMargin = 50 * time.Millisecond
)

// clearlySlower tells whether a member is five times as slow as another at each quartile, and its median above the
// other's, not by chance. Medians alone would not do: where every second request is answered from a cache, a median is
// one or the other, as it happens.
func clearlySlower(own, other spread) bool {
	for i := range own.quartile {
		if own.quartile[i] <= slowTimes*other.quartile[i] {
			return false
		}
	}
	return own.quartile[1] > other.quartile[1]+slowMargin && own.low > other.high
}

func round(d time.Duration) time.Duration {
	digits := math.Pow10(max(0, int(math.Log10(float64(max(d, 1))))-1))
	return d.Round(time.Duration(digits))
}
