package balance

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

const ms = time.Millisecond

// world is a pool under traffic, in a time of its own: requests arrive at random, and members answer as they are told.
type world struct {
	random  *rand.Rand
	now     time.Duration
	group   *Group
	members []*Member
	flying  flights
	picks   []int // by member

	// answer tells what becomes of a request that a member gets now: the status, 0 for a failure, and after how long.
	answer func(member int) (status int, wait time.Duration)

	// after is called at each end of a request, if it is there.
	after func(member, status int)
}

// newWorld makes a pool with so many members of release 1, in service for a while.
func newWorld(seed uint64, members int) *world {
	w := &world{random: rand.New(rand.NewPCG(seed, 1)), now: time.Hour}
	for range members {
		w.members = append(w.members, NewMember(1, w.now))
	}
	w.group = NewGroup(w.members, nil, nil, w.now)
	w.group.pool.random = w.random.Uint64
	w.picks = make([]int, members)
	w.answer = func(int) (int, time.Duration) { return 200, w.exponential(20 * ms) }
	return w
}

// join puts a table into force with new members of a release behind the others.
func (w *world) join(release uint64, members int, weights map[uint64]int) {
	for range members {
		w.members = append(w.members, NewMember(release, w.now))
		w.picks = append(w.picks, 0)
	}
	w.group = NewGroup(w.members, weights, w.group, w.now)
}

func (w *world) lognormal(median time.Duration, sigma float64) time.Duration {
	return time.Duration(float64(median) * math.Exp(sigma*w.random.NormFloat64()))
}

func (w *world) exponential(mean time.Duration) time.Duration {
	return time.Duration(w.random.ExpFloat64() * float64(mean))
}

// run has so many requests a second arrive for a span of time.
func (w *world) run(rate float64, span time.Duration) {
	end := w.now + span
	arrival := func() time.Duration { return w.now + time.Duration(w.random.ExpFloat64()/rate*float64(time.Second)) }
	for next := arrival(); ; {
		if len(w.flying) > 0 && w.flying[0].end <= min(next, end) {
			w.land()
			continue
		}
		if next > end {
			w.now = end
			return
		}
		w.now = next
		w.request(w.group.Pick(nil, w.now))
		next = arrival()
	}
}

func (w *world) request(i int) {
	w.picks[i]++
	w.members[i].InFlight.Add(1)
	status, wait := w.answer(i)
	w.flying.push(flight{end: w.now + wait, began: w.now, member: i, status: status})
}

func (w *world) land() {
	f := w.flying.pop()
	w.now = f.end
	m := w.members[f.member]
	m.InFlight.Add(-1)
	if f.status == 0 {
		m.Failed(w.now)
	} else {
		m.Answered(f.status, w.now-f.began, w.now)
	}
	if w.after != nil {
		w.after(f.member, f.status)
	}
}

// landAll ends what is in flight.
func (w *world) landAll() {
	for len(w.flying) > 0 {
		w.land()
	}
}

// reset forgets the picks so far.
func (w *world) reset() { clear(w.picks) }

func (w *world) ejected() (list []int) {
	for i, m := range w.members {
		if m.Ejected(w.now) {
			list = append(list, i)
		}
	}
	return list
}

// everEjected tells how often members were ejected in a row, of which each was ejected for the first time.
func (w *world) everEjected() (n int) {
	for _, m := range w.members {
		n += m.record.times
	}
	return n
}

type flight struct {
	end, began     time.Duration
	member, status int
}

// flights is a heap, the first to land on top.
type flights []flight

func (h *flights) push(f flight) {
	s := append(*h, f)
	*h = s
	for i := len(s) - 1; i > 0 && s[i].end < s[(i-1)/2].end; i = (i - 1) / 2 {
		s[i], s[(i-1)/2] = s[(i-1)/2], s[i]
	}
}

func (h *flights) pop() flight {
	s := *h
	top, n := s[0], len(s)-1
	s[0] = s[n]
	s = s[:n]
	for i := 0; 2*i+1 < n; {
		c := 2*i + 1
		if c+1 < n && s[c+1].end < s[c].end {
			c++
		}
		if s[i].end <= s[c].end {
			break
		}
		s[i], s[c] = s[c], s[i]
		i = c
	}
	*h = s
	return top
}

// near fails unless a part is the one expected, within five standard deviations of a draw of so many.
func near(t *testing.T, what string, hits, of int, want float64) {
	t.Helper()
	got := float64(hits) / float64(of)
	if margin := 5 * math.Sqrt(want*(1-want)/float64(of)); math.Abs(got-want) > margin {
		t.Errorf("%s: %.4f, not %.4f ± %.4f", what, got, want, margin)
	}
}
