package balance

import (
	"sync/atomic"
	"time"
)

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

const (
	rateWindow = 5 * time.Second
	waitWindow = 10 * time.Second
)

// record is what is remembered of a member. Its windows are in two halves: the newer one grows, and when it is full
// the older one is forgotten. So they reach back for half of their length to all of it. The halves of all members of a
// pool end at the same time.
type record struct {
	group    uint64 // the last of the pool's groups that it was among those in that may be picked
	answered bool   // it has had a good answer since it was last ejected
	latest   tally  // since the last judgement
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
func (r *record) forget() { *r = record{group: r.group, times: r.times, clean: r.clean} }
