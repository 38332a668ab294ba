package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestPickKeepsItsPromises draws groups of all kinds and holds each pick against what Pick says of itself.
func TestPickKeepsItsPromises(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 20_000 {
		now := time.Duration(round) * time.Second
		members := make([]*Member, random.IntN(9))
		for i := range members {
			m := NewMember(1+random.Uint64N(3), now)
			m.InFlight.Store(random.Int64N(4))
			members[i] = m
		}
		weights := map[uint64]int{}
		for r := range uint64(4) {
			if random.IntN(3) == 0 {
				weights[r] = random.IntN(4) - 1
			}
		}
		old := NewGroup(members[:len(members)/2], weights, nil, now-time.Second)
		g := NewGroup(members, weights, old, now)
		for _, m := range members { // beyond what the ceiling allows: nothing may depend on it
			if random.IntN(2) == 0 {
				m.ejection.Store(&ejection{from: now, until: now + time.Minute})
			}
		}
		g.enroll(now)
		may := slices.DeleteFunc(slices.Clone(members), func(m *Member) bool { return weights[m.release] <= 0 })
		if len(may) == 0 {
			may = members
		}
		var tried []*Member
		for {
			i := g.Pick(tried, now)
			left := slices.DeleteFunc(slices.Clone(may), func(m *Member) bool { return slices.Contains(tried, m) })
			if g.Others(tried) != (len(left) > 0) {
				t.Fatalf("round %d: Others is %v with %d left", round, g.Others(tried), len(left))
			}
			if i < 0 {
				if len(left) > 0 {
					t.Fatalf("round %d: none of %d that were not tried", round, len(left))
				}
				break
			}
			m := members[i]
			if !slices.Contains(left, m) {
				t.Fatalf("round %d: picked one that was tried, or gets none", round)
			}
			fine := slices.ContainsFunc(left, func(m *Member) bool { return !m.Ejected(now) })
			if fine && m.Ejected(now) {
				t.Fatalf("round %d: picked an ejected one though another was left", round)
			}
			tried = append(tried, m)
		}
	}
}

// TestQueuesAreShort holds the lengths of queues against Mitzenmacher's theorem: with two choices and a load of λ, the
// part of servers with k requests or more is λ^(2^k-1); with one choice it would be λ^k.
func TestQueuesAreShort(t *testing.T) {
	const members, load, mean = 200, 0.9, 10 * ms
	w := newWorld(7, members)
	free := make([]time.Duration, members) // when a server has done all that it has
	w.answer = func(i int) (int, time.Duration) {
		free[i] = max(free[i], w.now) + w.exponential(mean)
		return 200, free[i] - w.now
	}
	const rate = load * members / (float64(mean) / float64(time.Second))
	w.run(rate, 2*time.Second)
	var atLeast [8]float64
	most := int64(0)
	const looks = 300
	for range looks {
		w.run(rate, 10*ms)
		for _, m := range w.members {
			n := m.InFlight.Load()
			most = max(most, n)
			for k := 1; k < len(atLeast) && int64(k) <= n; k++ {
				atLeast[k] += 1. / looks / members
			}
		}
	}
	for k := 1; k < len(atLeast); k++ {
		want := math.Pow(load, math.Pow(2, float64(k))-1)
		t.Logf("%d or more in flight: %.4f of members; theory %.4f, one choice %.4f", k, atLeast[k], want, math.Pow(load, float64(k)))
		if math.Abs(atLeast[k]-want) > 0.04 {
			t.Errorf("%d or more in flight: %.4f of members, theory says %.4f", k, atLeast[k], want)
		}
	}
	if most > 9 { // one choice: over 50
		t.Errorf("the longest queue was %d", most)
	}
}

// TestAllAlike looks whether members that are alike get alike, with no load at all.
func TestAllAlike(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7} {
		w := newWorld(uint64(n), n)
		const draws = 40_000
		picks := make([]int, n)
		for range draws {
			picks[w.group.Pick(nil, w.now)]++
		}
		for i, hits := range picks {
			near(t, fmt.Sprintf("member %d of %d", i, n), hits, draws, 1/float64(n))
		}
	}
}

func TestWeights(t *testing.T) {
	for _, c := range []struct {
		name    string
		members map[uint64]int
		weights map[uint64]int
		out     uint64 // a release whose members are ejected
		want    map[uint64]float64
	}{
		{name: "canary", members: map[uint64]int{1: 9, 2: 1}, weights: map[uint64]int{1: 95, 2: 5}, want: map[uint64]float64{1: .95, 2: .05}},
		{name: "many tasks, small weight", members: map[uint64]int{1: 1, 2: 9}, weights: map[uint64]int{1: 3, 2: 1}, want: map[uint64]float64{1: .75, 2: .25}},
		{name: "three", members: map[uint64]int{1: 2, 2: 2, 3: 1}, weights: map[uint64]int{1: 1, 2: 2, 3: 7}, want: map[uint64]float64{1: .1, 2: .2, 3: .7}},
		{name: "not named", members: map[uint64]int{1: 2, 2: 2}, weights: map[uint64]int{1: 1}, want: map[uint64]float64{1: 1, 2: 0}},
		{name: "zero", members: map[uint64]int{1: 2, 2: 2}, weights: map[uint64]int{1: 0, 2: 100}, want: map[uint64]float64{1: 0, 2: 1}},
		{name: "named without a task", members: map[uint64]int{1: 2, 2: 2}, weights: map[uint64]int{3: 1}, want: map[uint64]float64{1: .5, 2: .5}},
		{name: "none", members: map[uint64]int{1: 3, 2: 1}, want: map[uint64]float64{1: .75, 2: .25}},
		{name: "huge", members: map[uint64]int{1: 1, 2: 1}, weights: map[uint64]int{1: math.MaxInt, 2: math.MaxInt}, want: map[uint64]float64{1: .5, 2: .5}},
		{name: "ejected", members: map[uint64]int{1: 2, 2: 1, 3: 1}, weights: map[uint64]int{1: 1, 2: 8, 3: 1}, out: 2, want: map[uint64]float64{1: .5, 2: 0, 3: .5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(11, 12))
			var members []*Member
			for r := range uint64(4) {
				for range c.members[r] {
					members = append(members, NewMember(r, 0))
				}
			}
			random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			g := NewGroup(members, c.weights, nil, 0)
			g.pool.random = random.Uint64
			for _, m := range members {
				if m.release == c.out {
					g.pool.eject(m, 0, "test")
				}
			}
			const draws = 50_000
			got := map[uint64]int{}
			for range draws {
				got[members[g.Pick(nil, 0)].release]++
			}
			for r, want := range c.want {
				near(t, fmt.Sprintf("release %d", r), got[r], draws, want)
			}
			retried := map[uint64]int{}
			for range draws {
				other := NewMember(9, 0) // what it was tried with has left
				retried[members[g.Pick([]*Member{other}, 0)].release]++
			}
			for r, want := range c.want {
				near(t, fmt.Sprintf("release %d at a retry", r), retried[r], draws, want)
			}
		})
	}
}

// TestSlowStart has members join a pool and measures their part of the requests as time goes by: from their weight, at
// next to no load, to twice their weight.
func TestSlowStart(t *testing.T) {
	for _, c := range []struct{ serving, joining int }{{1, 1}, {2, 1}, {9, 1}, {1, 3}, {4, 4}} {
		for _, load := range []float64{0.001, 0.3, 1, 3, 20} { // in flight a member
			t.Run(fmt.Sprintf("%d join %d at %v", c.joining, c.serving, load), func(t *testing.T) {
				w := newWorld(21, c.serving)
				w.answer = func(int) (int, time.Duration) { return 200, w.exponential(time.Millisecond) }
				rate := load * 1000 * float64(c.serving+c.joining)
				w.run(rate, 20*ms)
				w.join(1, c.joining, nil)
				if load < .01 { // the time passes slowly, so that there are enough requests to judge by
					rate *= 300
					w.answer = func(int) (int, time.Duration) { return 200, 3 * time.Microsecond }
				}
				const steps = 10
				before := 0.
				for step := range steps {
					w.reset()
					w.run(rate, slowStart/steps)
					total, joined := 0, 0
					for i, n := range w.picks {
						if total += n; i >= c.serving {
							joined += n
						}
					}
					weight := .1 + .9*(float64(step)+.5)/steps
					fair := float64(c.joining) * weight / (float64(c.serving) + float64(c.joining)*weight)
					got := float64(joined) / float64(total)
					sd := math.Sqrt(fair * (1 - fair) / float64(total))
					twice := 2 * float64(c.joining) * weight / (float64(c.serving) + 2*float64(c.joining)*weight)
					if got < fair-5*sd-.01 || got > twice+5*sd+.01 || got < before-10*sd-.02 {
						t.Errorf("step %d: %.3f, a fair part is %.3f, with twice the weight it is %.3f; before it was %.3f",
							step, got, fair, twice, before)
					}
					before = got
				}
				w.reset()
				w.run(rate, time.Second)
				total := 0
				for _, n := range w.picks {
					total += n
				}
				for i, n := range w.picks {
					if part := float64(n) / float64(total) * float64(len(w.picks)); part < .9 || part > 1.1 {
						t.Errorf("afterwards member %d gets %.3f of its part", i, part)
					}
				}
			})
		}
	}
}

// TestWhoStartsSlowly tells joiners from those who need not.
func TestWhoStartsSlowly(t *testing.T) {
	var now time.Duration
	starting := func(m *Member) bool { return m.State(now).Phase == Starting }
	member := func(release uint64) *Member { return NewMember(release, now) }
	a, b := member(1), member(1)
	g := NewGroup([]*Member{a, b}, nil, nil, now)
	if starting(a) || starting(b) {
		t.Error("members of a first table start slowly")
	}
	now += time.Minute
	c := member(1)
	g = NewGroup([]*Member{a, b, c}, nil, g, now)
	if starting(a) || !starting(c) {
		t.Error("one that joins does not start slowly, or those who were there do")
	}
	now += time.Second
	g = NewGroup([]*Member{a, c}, nil, g, now)
	if s := c.State(now); s.Phase != Starting || s.Since != now-time.Second || s.Until != s.Since+slowStart || s.Weight != .28 {
		t.Errorf("the start does not go on under a new table: %+v", s)
	}
	now += 4 * time.Second
	if s := c.State(now); s.Phase != Serving || s.Weight != 1 || s.Since != now {
		t.Errorf("after five seconds: %+v", s)
	}
	d, e := member(2), member(2)
	g = NewGroup([]*Member{d, e}, nil, g, now)
	if starting(d) || starting(e) {
		t.Error("members start slowly where all are new")
	}
	now += time.Minute
	f := member(3)
	g = NewGroup([]*Member{d, e, f}, map[uint64]int{2: 9, 3: 1}, g, now)
	if starting(f) {
		t.Error("the first of a canary starts slowly: its weight says what it gets")
	}
	h := member(3)
	now += time.Minute
	g = NewGroup([]*Member{d, e, f, h}, map[uint64]int{2: 9, 3: 1}, g, now)
	if starting(f) || !starting(h) {
		t.Error("the second of a canary does not start slowly, or the first does")
	}
	i := member(4)
	now += time.Minute
	g = NewGroup([]*Member{f, h, i}, map[uint64]int{3: 1}, g, now)
	g = NewGroup([]*Member{f, h, i}, nil, g, now)
	if starting(f) || !starting(i) {
		t.Error("one that got nothing before does not start slowly, or those who did do")
	}
	g = NewGroup(nil, nil, g, now)
	j := member(4)
	if NewGroup([]*Member{j}, nil, g, now); starting(j) {
		t.Error("the first after none starts slowly")
	}
}

func TestBuckets(t *testing.T) {
	for i := range buckets {
		if got := bucketOf(middleOf(i)); got != i {
			t.Errorf("the middle of bucket %d is in bucket %d", i, got)
		}
	}
	last := -1
	for w := time.Duration(0); w < time.Hour; w += w/50 + 1000 {
		b := bucketOf(w)
		if b < last {
			t.Fatalf("%v is in bucket %d, less was in %d", w, b, last)
		}
		last = b
		if m := middleOf(b); w > 100*time.Microsecond && w < 2*time.Minute && (m > w*5/4 || m < w*4/5) {
			t.Errorf("%v counts as %v", w, m)
		}
	}
	if bucketOf(-time.Second) != 0 || bucketOf(math.MaxInt64) != buckets-1 {
		t.Error("waits off the scale")
	}
}
