package balance

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// tally counts answers.
type tally struct {
	all int
	bad int // of them: 5xx, and requests that failed
}

func (t tally) plus(o tally) tally  { return tally{t.all + o.all, t.bad + o.bad} }
func (t tally) minus(o tally) tally { return tally{t.all - o.all, t.bad - o.bad} }

// mostlyBad tells whether at least half are bad.
func (t tally) mostlyBad() bool { return t.bad > 0 && 2*t.bad >= t.all }

// sightings is what was seen of a member since it was last collected.
type sightings struct {
	bad   atomic.Uint32
	waits [buckets]atomic.Uint32 // of good answers
}

func (s *sightings) answer(status int, wait time.Duration) {
	if status >= 500 {
		s.bad.Add(1)
		return
	}
	s.waits[bucketOf(wait)].Add(1)
}

func (s *sightings) failure() { s.bad.Add(1) }

// record is what is remembered of a member. Its windows are in two halves: the newer one grows, and when it is full
// the older one is forgotten. So they reach back for half of their length to all of it. The halves of all members of a
// pool end at the same time.
type record struct {
	joined   bool  // it has been in a group among those that may be picked
	answered bool  // it has had a good answer since it was last ejected
	latest   tally // since the last judgement
	rate     [2]tally
	waits    [2]histogram
	run      run

	times int           // ejections in a row
	clean time.Duration // when they are forgiven
}

// run is the answers since the last good one, with what the others answered in that time; with the precision of the
// time between two judgements.
type run struct {
	bad    int
	others tally
}

// collect takes over what was seen.
func (r *record) collect(s *sightings) {
	if s.bad.Load() != 0 {
		n := int(s.bad.Swap(0))
		r.latest = r.latest.plus(tally{n, n})
	}
	for i := range s.waits {
		if s.waits[i].Load() != 0 {
			n := s.waits[i].Swap(0)
			r.waits[0][i] += n
			r.latest.all += int(n)
			r.answered = true
		}
	}
}

// forget ends everything but what ejections leave behind.
func (r *record) forget() { *r = record{joined: r.joined, times: r.times, clean: r.clean} }

// Waits are counted in buckets: four to an octave from 65 µs, linear below.
const (
	bucketUnit = 14 // power of two, in nanoseconds: 16 µs
	buckets    = 88 // the last one begins at 60 s
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
