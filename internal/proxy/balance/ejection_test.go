package balance

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFailuresEject counts the requests that a member costs which refuses them all: three.
func TestFailuresEject(t *testing.T) {
	for _, n := range []int{2, 3, 5, 10} {
		for _, rate := range []float64{1, 100, 1000} {
			w := newWorld(uint64(n), n)
			w.run(rate, 20*time.Second)
			w.landAll()
			w.answer = func(i int) (int, time.Duration) {
				if i == 0 {
					return 0, 100 * time.Microsecond
				}
				return 200, w.exponential(20 * ms)
			}
			w.reset()
			began := w.now
			for !w.members[0].Ejected(w.now) && w.now < began+time.Hour {
				w.run(rate, ms)
			}
			if w.picks[0] > 3 {
				t.Errorf("%d members, %v/s: out after %d requests", n, rate, w.picks[0])
			}
			if got := w.ejected(); !slices.Equal(got, []int{0}) {
				t.Errorf("%d members, %v/s: out are %v", n, rate, got)
			}
			s := w.members[0].State(w.now)
			if s.Phase != Ejected || s.Why != "its last 3 requests failed" || s.Until != s.Since+firstEjection || s.Times != 1 {
				t.Errorf("%+v", s)
			}
		}
	}
}

// TestBurstsEject measures how long a member is kept that answers with 5xx at once, at 100 requests a second for all.
func TestBurstsEject(t *testing.T) {
	for _, n := range []int{2, 3, 5, 10} {
		var longest time.Duration
		for seed := range uint64(50) {
			w := newWorld(seed, n)
			w.run(100, 20*time.Second)
			w.answer = func(i int) (int, time.Duration) {
				if i == 0 {
					return 500, 2 * ms
				}
				return 200, w.exponential(20 * ms)
			}
			began := w.now
			for len(w.ejected()) == 0 && w.now < began+time.Minute {
				w.run(100, ms)
			}
			if got := w.ejected(); !slices.Equal(got, []int{0}) {
				t.Fatalf("%d members: out are %v", n, got)
			}
			if why := w.members[0].State(w.now).Why; !strings.Contains(why, "answers were 5xx or failed") {
				t.Error(why)
			}
			longest = max(longest, w.now-began)
		}
		t.Logf("%d members: at most %v", n, longest)
		if limit := time.Second * time.Duration(max(n, 5)) / 5; longest > limit {
			t.Errorf("%d members: %v, more than %v", n, longest, limit)
		}
	}
}

// TestHalfBadEjects has a member fail half of its requests, now with this and now with that, but never many in a row
// at once.
func TestHalfBadEjects(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(seed, 3)
		k := 0
		w.answer = func(i int) (int, time.Duration) {
			if i != 0 {
				return 200, w.exponential(20 * ms)
			}
			k++
			return []int{500, 200, 0, 503, 200}[k%5], 10 * ms
		}
		w.run(100, 10*time.Second)
		if got := w.everEjected(); got == 0 || w.members[0].record.times != got {
			t.Errorf("ejected %d times, %d of them who deserves it", got, w.members[0].record.times)
		}
	}
}

func TestSlowOnesAreEjected(t *testing.T) {
	for _, c := range []struct {
		name       string
		fine, slow time.Duration
		members    int
		out        int
		within     time.Duration
	}{
		{"ten times", 20 * ms, 200 * ms, 3, 1, 15 * time.Second},
		{"six times", 50 * ms, 330 * ms, 2, 1, 15 * time.Second},
		{"too slow to count", 2 * ms, 2 * time.Second, 5, 0, time.Minute}, // two choices pass it by
		{"three times", 50 * ms, 150 * ms, 3, 0, time.Minute},
		{"ten times, but by 30 ms", 3 * ms, 33 * ms, 3, 0, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(10) {
				w := newWorld(seed, c.members)
				w.answer = func(i int) (int, time.Duration) {
					if i == 0 {
						return 200, c.slow/2 + w.exponential(c.slow/2)
					}
					return 200, c.fine/2 + w.exponential(c.fine/2)
				}
				began := w.now
				for len(w.ejected()) == 0 && w.now < began+c.within {
					w.run(150, 10*ms)
				}
				got := w.ejected()
				if len(got) != c.out || len(got) == 1 && got[0] != 0 {
					t.Fatalf("out are %v", got)
				}
				if len(got) == 1 && seed == 0 {
					t.Logf("out after %v: %s", w.now-began, w.members[0].State(w.now).Why)
				}
			}
		})
	}
}

// TestAllBadEjectNobody has whole pools in trouble, from their start or all of a sudden.
func TestAllBadEjectNobody(t *testing.T) {
	type answer func(w *world) (int, time.Duration)
	bad := func(part float64) answer {
		return func(w *world) (int, time.Duration) {
			if w.random.Float64() < part {
				return 500, w.exponential(2 * ms)
			}
			return 200, w.exponential(20 * ms)
		}
	}
	for _, c := range []struct {
		name   string
		answer answer
		sudden bool
		most   int // ejections in a thousand pool-minutes that are put up with
	}{
		{"all 5xx", bad(1), false, 0},
		{"90 % 5xx", bad(.9), false, 0},
		{"70 % 5xx", bad(.7), false, 0},
		{"50 % 5xx", bad(.5), false, 0},
		{"30 % 5xx", bad(.3), false, 0},
		{"all 5xx suddenly", bad(1), true, 0},
		{"70 % 5xx suddenly", bad(.7), true, 0},
		{"50 % 5xx suddenly", bad(.5), true, 0},
		{"slow suddenly", func(w *world) (int, time.Duration) { return 200, time.Second + w.exponential(time.Second) }, true, 0},
		{"refused", func(*world) (int, time.Duration) { return 0, 100 * time.Microsecond }, false, 0},
		{"stuck suddenly", func(w *world) (int, time.Duration) { return 0, 3 * time.Second }, true, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			minutes, n := 0., 0
			for seed := range uint64(100) {
				members := 2 + int(seed%7)
				w := newWorld(seed, members)
				rate := []float64{2, 10, 50, 200}[seed/7%4]
				if c.sudden {
					w.run(rate, 20*time.Second)
				}
				w.answer = func(int) (int, time.Duration) { return c.answer(w) }
				w.run(rate, 30*time.Second)
				minutes += .5
				if e := w.everEjected(); e > 0 {
					n += e
					for _, m := range w.members {
						if m.record.times > 0 {
							t.Logf("%d members, %v/s: %s", members, rate, m.ejection.Load().why)
						}
					}
				}
			}
			if n*1000 > c.most*int(minutes) {
				t.Errorf("%d ejections in %v minutes", n, minutes)
			}
		})
	}
}

// TestHalfOfAllBad has as many bad members as may be ejected: they all are, and no other.
func TestHalfOfAllBad(t *testing.T) {
	for _, status := range []int{0, 500, 200} { // 200: slow
		for _, n := range []int{2, 4, 5, 10} {
			w := newWorld(uint64(n), n)
			w.answer = func(i int) (int, time.Duration) {
				if i >= n/2 {
					return 200, w.exponential(20 * ms)
				}
				if status == 200 {
					return 200, 500*ms + w.exponential(100*ms)
				}
				return status, ms
			}
			out := make([]bool, n)
			for range 400 {
				w.run(50*float64(n), 50*ms)
				for _, i := range w.ejected() {
					out[i] = true
				}
			}
			for i := range out {
				if out[i] != (i < n/2) {
					t.Errorf("status %d, %d members: member %d was ejected: %v", status, n, i, out[i])
				}
			}
		}
	}
}

// TestTooManyBad has more bad members than may be ejected; the ceiling holds at all times, under tables that change.
func TestTooManyBad(t *testing.T) {
	for seed := range uint64(30) {
		w := newWorld(seed, 2+int(seed%7))
		mood := map[int]int{}
		w.answer = func(i int) (int, time.Duration) {
			switch mood[i] {
			case 0:
				return 0, ms
			case 1:
				return 500, ms
			case 2:
				return 200, time.Second
			}
			return 200, w.exponential(20 * ms)
		}
		check := func() {
			may := w.group.may
			if out := len(w.ejected()); out > len(may)/2 {
				t.Fatalf("%d of %d are ejected", out, len(may))
			}
		}
		w.after = func(int, int) { check() }
		var most int
		for range 100 {
			for i := range w.members {
				if w.random.IntN(4) == 0 {
					mood[i] = w.random.IntN(5)
				}
			}
			w.run(200, time.Duration(w.random.IntN(2000))*ms)
			most = max(most, len(w.ejected()))
			if w.random.IntN(3) == 0 && len(w.flying) < 1000 {
				w.landAll()
				if k := w.random.IntN(len(w.members)); len(w.members) > 1 && w.random.IntN(2) == 0 {
					w.members = slices.Delete(w.members, k, k+1)
					w.picks = w.picks[:len(w.members)]
				}
				w.join(1, w.random.IntN(2), nil)
				check()
			}
		}
		if most == 0 {
			t.Errorf("seed %d: nobody was ever ejected", seed)
		}
	}
}

// TestLittleTraffic has a request every two seconds, a third of which one member answers badly.
func TestLittleTraffic(t *testing.T) {
	most := 0
	for seed := range uint64(50) {
		w := newWorld(seed, 3)
		w.answer = func(i int) (int, time.Duration) {
			if i == 0 {
				return 502, ms
			}
			return 200, w.exponential(20 * ms)
		}
		for len(w.ejected()) == 0 && w.picks[0] < 100 {
			w.run(.5, time.Second)
		}
		if got := w.ejected(); !slices.Equal(got, []int{0}) {
			t.Fatalf("out are %v", got)
		}
		most = max(most, w.picks[0])
	}
	t.Logf("out after at most %d bad answers", most)
	if most > 20 {
		t.Errorf("out after %d bad answers", most)
	}
}

// TestBadCanary has the only task of a new release answer badly: it is ejected, and its requests go to the old release.
func TestBadCanary(t *testing.T) {
	w := newWorld(1, 3)
	w.run(100, 10*time.Second)
	w.join(2, 1, map[uint64]int{1: 80, 2: 20})
	w.answer = func(i int) (int, time.Duration) {
		if i == 3 {
			return 500, ms
		}
		return 200, w.exponential(20 * ms)
	}
	w.run(100, 4*time.Second)
	if got := w.ejected(); !slices.Equal(got, []int{3}) {
		t.Fatalf("out are %v", got)
	}
	if w.picks[3] > 20 {
		t.Errorf("it answered %d requests", w.picks[3])
	}
	t.Log(w.picks[3], w.members[3].State(w.now).Why)
}

// TestEjectionsGrow follows a member that never gets better, and one that does.
func TestEjectionsGrow(t *testing.T) {
	w := newWorld(5, 3)
	bad := true
	w.answer = func(i int) (int, time.Duration) {
		if i == 0 && bad {
			return 0, ms
		}
		return 200, w.exponential(20 * ms)
	}
	var lengths []time.Duration
	var last State
	step := func() {
		w.run(100, 50*ms)
		if s := w.members[0].State(w.now); s.Phase == Ejected && s.Since != last.Since {
			if last.Phase == Ejected {
				if s.Why != "it failed again after an ejection" {
					t.Error(s.Why)
				}
				if cost := w.picks[0]; cost != 1 {
					t.Errorf("ejection %d cost %d requests, not one", s.Times, cost)
				}
				if s.Since < last.Until {
					t.Errorf("ejected at %v, while it was until %v", s.Since, last.Until)
				}
			}
			lengths = append(lengths, s.Until-s.Since)
			last = s
			w.reset()
		}
	}
	for len(lengths) < 7 {
		step()
	}
	const second = time.Second
	want := []time.Duration{5 * second, 10 * second, 20 * second, 40 * second, 60 * second, 60 * second, 60 * second}
	if !slices.Equal(lengths, want) {
		t.Errorf("ejected for %v, not %v", lengths, want)
	}

	bad = false
	w.run(100, last.Until-w.now)
	if s := w.members[0].State(w.now); s.Phase != Starting || s.Weight != .1 || s.Since != last.Until {
		t.Errorf("after an ejection: %+v", s)
	}
	w.reset()
	w.run(100, time.Second)
	if all := w.picks[0] + w.picks[1] + w.picks[2]; w.picks[0] == 0 || w.picks[0] > all/5 {
		t.Errorf("in its first second it gets %v", w.picks)
	}
	w.run(100, maxEjection+slowStart+waitWindow)
	bad = true
	for lengths = nil; len(lengths) < 2; {
		w.reset()
		last.Phase = Serving
		step()
	}
	if !slices.Equal(lengths, want[:2]) {
		t.Errorf("after it was forgiven: %v", lengths)
	}
}

// TestBackAfterAPause has a pool without any call until long after the ejection.
func TestBackAfterAPause(t *testing.T) {
	w := newWorld(1, 2)
	w.run(100, time.Second)
	w.landAll()
	for range 3 {
		w.members[0].Failed(w.now)
	}
	for range 100 {
		if i := w.group.Pick(nil, w.now); i != 1 {
			t.Fatal("the ejected one is picked")
		}
	}
	w.now += firstEjection - 1
	for range 100 {
		if i := w.group.Pick(nil, w.now); i != 1 {
			t.Fatal("the ejected one is picked before its time")
		}
	}
	w.now += slowStart + 1
	picks := [2]int{}
	for range 1000 {
		picks[w.group.Pick(nil, w.now)]++
	}
	near(t, "part of the one that is back", picks[0], 1000, .5)
}

// TestOldNewsIsNoNews has all answers come long before the next judgement.
func TestOldNewsIsNoNews(t *testing.T) {
	w := newWorld(1, 2)
	w.group.Judge(w.now)
	for range 40 { // mixed, so that it is no run
		w.members[0].seen.answer(500, ms)
		w.members[1].seen.answer(200, ms)
	}
	w.members[0].seen.answer(200, time.Second)
	w.now += time.Hour
	w.group.Judge(w.now)
	if got := w.ejected(); got != nil {
		t.Errorf("out are %v for what was an hour ago", got)
	}
}

// TestOneThatLeft reports on a member that is in no group any more, or never was.
func TestOneThatLeft(t *testing.T) {
	w := newWorld(1, 3)
	w.run(100, time.Second)
	gone := w.members[0]
	w.members = w.members[1:]
	w.join(1, 0, nil)
	for _, m := range []*Member{gone, NewMember(1, w.now)} {
		for range 10 {
			m.Failed(w.now)
			m.Answered(500, ms, w.now)
			m.Failed(w.now)
		}
		if m.Ejected(w.now) || len(w.ejected()) > 0 {
			t.Error("somebody is ejected")
		}
	}
}

// TestJoinInTrouble has members join at the moment at which all become slow or bad: they have no better past than the
// others.
func TestJoinInTrouble(t *testing.T) {
	for _, status := range []int{200, 500} {
		for seed := range uint64(20) {
			w := newWorld(seed, 3)
			w.run(200, 20*time.Second)
			w.answer = func(int) (int, time.Duration) {
				if w.random.IntN(10) < 7 {
					return status, time.Second
				}
				return 200, time.Second
			}
			w.run(200, time.Duration(seed)*300*ms)
			w.join(1, 1, nil)
			w.run(200, 30*time.Second)
			if n := w.everEjected(); n > 0 {
				t.Errorf("status %d, %v after: %d ejections", status, time.Duration(seed)*300*ms, n)
			}
		}
	}
}

// TestHealthyPools looks for members that are ejected by chance, in pools of all kinds whose members are alike.
func TestHealthyPools(t *testing.T) {
	pools := uint64(10_000)
	if testing.Short() {
		pools = 500
	}
	const span = 20 * time.Second
	ejections := 0
	requests := 0
	for seed := range pools {
		w := newWorld(seed, 2+int(seed%8))
		kind := w.random.IntN(4)
		base := time.Duration(1+w.random.IntN(60)) * ms
		bad, broken := w.random.Float64()*.05, w.random.Float64()*.01
		w.answer = func(int) (int, time.Duration) {
			requests++
			if x := w.random.Float64(); x < broken {
				return 0, base
			} else if x < broken+bad {
				return 500, base / 4
			}
			switch kind {
			case 0:
				return 200, w.exponential(base)
			case 1: // every second one is answered from a cache
				if w.random.IntN(2) == 0 {
					return 200, ms
				}
				return 200, 20*base + w.exponential(base)
			case 2: // a heavy tail
				return 200, time.Duration(float64(base) * min(1/(1-w.random.Float64()), 1000))
			}
			return 200, w.lognormal(base, 1.5)
		}
		w.run([]float64{1, 5, 20, 60}[w.random.IntN(4)], span)
		if n := w.everEjected(); n > 0 {
			ejections += n
			for _, m := range w.members {
				if m.record.times > 0 {
					t.Logf("seed %d, kind %d, %d members: %s", seed, kind, len(w.members), m.ejection.Load().why)
				}
			}
		}
	}
	minutes := float64(pools) * span.Minutes()
	t.Logf("%d ejections in %.0f pool-minutes, %d requests", ejections, minutes, requests)
	if float64(ejections)*1000 > minutes {
		t.Error("more than one in 1000")
	}
}
