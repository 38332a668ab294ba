package meter

import (
	"encoding/json"
	"iter"
	"math"
	"math/bits"
	"time"

	"github.com/ikada/ikada/api"
)

// Each power of two from 2^15 ns (33 µs) to 2^37 ns (137 s) is cut into five buckets of equal width, as HdrHistogram
// does with powers of two: the bucket of a duration takes a few instructions to find, and no bucket is wider than a
// fifth of its lower bound. Below and above is one bucket each.
const (
	steps   = 5
	lowest  = 15
	highest = 37

	// Buckets is how many there are in a Histogram.
	Buckets = (highest-lowest)*steps + 2
)

// Precision is the largest relative error of a quantile between 33 µs and 137 s: a bucket from a to 1.2a is told as
// 2·a·1.2a/(a+1.2a), the value whose error is the same at both ends.
const Precision = 0.2 / 2.2

// Histogram is how many durations fell into each bucket. Its zero value is empty, and two are merged by adding.
type Histogram [Buckets]uint64

// bucket gives the place of a duration.
func bucket(d time.Duration) int {
	if d < 1<<lowest {
		return 0
	}
	e := bits.Len64(uint64(d)) - 1
	if e >= highest {
		return Buckets - 1
	}
	return 1 + (e-lowest)*steps + int((uint64(d)-1<<e)*steps>>e)
}

// bounds gives the durations of a bucket: from low, and below high.
func bounds(b int) (low, high time.Duration) {
	switch b {
	case 0:
		return 0, 1 << lowest
	case Buckets - 1:
		return 1 << highest, math.MaxInt64
	}
	return edge(b - 1), edge(b)
}

// edge is the least duration of the n-th bucket after the first.
func edge(n int) time.Duration {
	e, step := lowest+n/steps, n%steps
	return 1<<e + time.Duration((step<<e+steps-1)/steps)
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) { h[bucket(d)]++ }

// Merge adds what other has counted.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// Count gives how many durations there are.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile gives the duration that the share q (0 to 1) of all does not exceed, within Precision; 0 when there is
// none. What lies under 33 µs is told as 16 µs, what lies over 137 s as that.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(n))), 1)
	for b, c := range h {
		if c >= rank {
			return middle(b)
		}
		rank -= c
	}
	return middle(Buckets - 1)
}

func middle(b int) time.Duration {
	low, high := bounds(b)
	switch b {
	case 0:
		return high / 2
	case Buckets - 1:
		return low
	}
	l, h := float64(low), float64(high)
	return time.Duration(2 * l * h / (l + h))
}

// All gives the upper bound of each bucket that has counted something, in rising order, with its count. Durations are
// below their bound; that of the last bucket is the largest there is.
func (h *Histogram) All() iter.Seq2[time.Duration, uint64] {
	return func(yield func(time.Duration, uint64) bool) {
		for b, n := range h {
			if _, high := bounds(b); n > 0 && !yield(high, n) {
				return
			}
		}
	}
}

// MarshalJSON gives the buckets that have counted something, each as its number and its count: [12,3,14,1].
func (h Histogram) MarshalJSON() ([]byte, error) {
	pairs := []uint64{}
	for b, n := range h {
		if n > 0 {
			pairs = append(pairs, uint64(b), n)
		}
	}
	return json.Marshal(pairs)
}

// UnmarshalJSON reads what MarshalJSON gives; anything else is an error of kind Invalid.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var pairs []uint64
	if err := json.Unmarshal(text, &pairs); err != nil {
		return api.Errorf(api.Invalid, "read histogram: %w", err)
	}
	if len(pairs)%2 != 0 {
		return api.Errorf(api.Invalid, "read histogram: the last bucket has no count")
	}
	*h = Histogram{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] >= Buckets {
			return api.Errorf(api.Invalid, "read histogram: there is no bucket %d", pairs[i])
		}
		h[pairs[i]] = pairs[i+1]
	}
	return nil
}
