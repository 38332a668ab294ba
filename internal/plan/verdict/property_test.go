package verdict

import (
	"cmp"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// some gives worlds of all kinds, harmless and not.
func some(r *rand.Rand) *world {
	w := &world{
		rate: math.Exp(7 * r.Float64()), share: 0.05 + 0.9*r.Float64(), waits: distributions()[r.IntN(3)],
		ratio: []float64{0, 0.01, 0.05, 0.5}[r.IntN(4)], rough: r.IntN(2) == 0, alone: []int{0, -1, 20}[r.IntN(3)], bake: 60,
	}
	switch r.IntN(3) {
	case 0:
		w.more, w.onset = r.Float64(), r.IntN(30)
	case 1:
		w.slower, w.onset = 1+5*r.Float64(), r.IntN(30)
	}
	return w
}

// TestAskedEverySecond compares verdicts on the seconds so far with the one on all: what makes a release fail at the end
// is what would have failed it then, no more and no less.
func TestAskedEverySecond(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	failed := 0
	for range 60 {
		in := some(r).run(r)
		v := Judge(in)
		if v.Result == Fail {
			failed++
		}
		for now := in.From; now <= in.From+60; now++ {
			then := in
			then.Now = now
			then.New.Seconds = slices.DeleteFunc(slices.Clone(in.New.Seconds), func(s Second) bool { return s.Time >= now })
			then.Old.Seconds = slices.DeleteFunc(slices.Clone(in.Old.Seconds), func(s Second) bool { return s.Time >= now })
			got := Judge(then)
			if want := v.Result == Fail && v.Numbers.At < now; want != (got.Result == Fail) {
				t.Fatalf("after %d s: %s: %s\nin the end: %s: %s", now-in.From, got.Result, got.Reason, v.Result, v.Reason)
			}
			if got.Result == Fail {
				if got.Reason != v.Reason {
					t.Fatalf("the reason is %q, and in the end %q", got.Reason, v.Reason)
				}
				break
			}
		}
	}
	if failed < 10 {
		t.Errorf("only %d failed: too few to compare", failed)
	}
}

// TestNoBetterReleaseFails makes the new release at least as good as the old one in every single second, and as bad as
// tolerated: whatever both do, and in whatever bursts, it never fails.
func TestNoBetterReleaseFails(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	for range 300 {
		w := some(r)
		w.alone = 0
		in := w.run(r)
		at := map[int64]Second{}
		for _, s := range in.Old.Seconds {
			at[s.Time] = s
		}
		for i := range in.New.Seconds {
			s := &in.New.Seconds[i]
			old := at[s.Time]
			scale := uint64(1 + r.IntN(3))
			*s = Second{Time: s.Time, Requests: scale * old.Requests}
			s.Failed = min(scale*old.Failed+uint64(0.99*DefaultMoreFailures*float64(s.Requests)), s.Requests)
			for _, b := range old.Latency {
				s.Latency = append(s.Latency, Bucket{b.UpTo + b.UpTo*api.Duration(r.IntN(40))/100, scale * b.N})
			}
			slices.SortFunc(s.Latency, func(a, b Bucket) int { return int(a.UpTo - b.UpTo) })
		}
		if v := Judge(in); v.Result == Fail {
			t.Fatalf("%+v: %s", *w, v.Reason)
		}
	}
}

// TestBlocks has single blocks bet on: where the new release does not fail by more than tolerated more often, the
// capital never grows, whatever was assumed before; and the more it fails the more it grows.
func TestBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 200_000 {
		n1, n2 := float64(1+r.IntN(100)), float64(1+r.IntN(100))
		f := failures{difference: 0.9 * r.Float64() * r.Float64(), purse: newPurse(0.001), open: true, at: stakeout{r.Float64() * r.Float64(), 1, 1, 1}}
		f.new, f.ref = tally{n1, math.Floor(n1 * r.Float64())}, tally{n2, math.Floor(n2 * r.Float64() * r.Float64())}
		g := f
		f.beside()
		capital := f.purse.capital()
		if math.IsNaN(capital) || math.IsNaN(f.verified) || capital <= 0 {
			t.Fatalf("%+v: capital %v, verified %v", g, capital, f.verified)
		}
		if g.new.ratio() <= g.ref.ratio()+g.difference && capital > 1+1e-9 {
			t.Fatalf("%+v: the capital has grown to %v", g, capital)
		}
		if g.new.bad < n1 {
			g.new.bad++
			g.beside()
			if g.purse.capital() < capital*(1-1e-9) {
				t.Fatalf("%+v: with one failure less the capital is %v, with it %v", g, capital, g.purse.capital())
			}
		}
	}
}

// TestFairness sums up what bets bring over all outcomes of a block: at most what was staked, on average, where the new
// release's ratio is higher by what is tolerated or less.
func TestFairness(t *testing.T) {
	chance := func(k, n, p float64) float64 {
		lg := func(x float64) float64 { v, _ := math.Lgamma(x + 1); return v }
		return math.Exp(lg(n) - lg(k) - lg(n-k) + k*math.Log(p) + (n-k)*math.Log1p(-p))
	}
	for _, n := range [][2]float64{{1, 1}, {5, 5}, {3, 20}, {30, 10}} {
		for _, usual := range []float64{0.001, 0.05, 0.4} {
			for _, p2 := range []float64{0.001, 0.02, 0.3, 0.9} {
				for _, less := range []float64{0, 0.004} {
					p1, mean, against := p2+DefaultMoreFailures-less, 0.0, 0.0
					for k1 := 0.0; k1 <= n[0]; k1++ {
						for k2 := 0.0; k2 <= n[1]; k2++ {
							f := failures{difference: DefaultMoreFailures, purse: newPurse(0.001), at: stakeout{usual, 1, 1, 1}}
							f.new, f.ref = tally{n[0], k1}, tally{n[1], k2}
							f.beside()
							mean += chance(k1, n[0], p1) * chance(k2, n[1], p2) * f.purse.capital()
							if p2 < 0.9 {
								against += chance(k1, n[0], p2+verifying) * chance(k2, n[1], p2) * math.Exp(f.verified)
							}
						}
					}
					if mean > 1+1e-6 || against > 1+1e-6 {
						t.Errorf("%v requests, ratios %v and %v, %v expected: bets on harm bring %v, those on none %v", n, p1, p2, usual, mean, against)
					}
				}
			}
		}
	}
}

// TestMoreFailuresFailSooner raises a steady ratio step by step.
func TestMoreFailuresFailSooner(t *testing.T) {
	for _, until := range []int64{0, start - 1} {
		last := int64(math.MaxInt64)
		for failed := range uint64(51) {
			v := Judge(Input{
				New: Side{Seconds: steady(start, 600, 50, failed, 0)}, Until: until,
				Old: Side{Seconds: append(steady(start-100, 100, 50, 1, 0), steady(start, 600, 50, 1, 0)...)},
			})
			at := int64(math.MaxInt64)
			if v.Result == Fail {
				at = v.Numbers.At
			}
			if at > last {
				t.Errorf("until %d: with %d failed at %d, with one less at %d", until, failed, at, last)
			}
			last = at
		}
		if last > start+2 {
			t.Errorf("until %d: all failed at %d", until, last)
		}
	}
}

// TestScale has the same waits in other units: what counts is how many times as long they are.
func TestScale(t *testing.T) {
	at := map[time.Duration]int64{}
	for _, middle := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 10 * time.Second} {
		v := Judge(Input{
			New: Side{Seconds: steady(start, 60, 30, 0, 3*middle)},
			Old: Side{Seconds: steady(start, 60, 30, 0, middle)},
		})
		if v.Cause != CauseLatency {
			t.Errorf("%s: %s", middle, v.Reason)
		}
		at[middle] = v.Numbers.At
		if at[middle] != at[10*time.Millisecond] {
			t.Errorf("%s is found out at %d, 10ms at %d", middle, at[middle], at[10*time.Millisecond])
		}
	}
}

// TestAbove compares the ranks of histograms with those of all pairs of waits.
func TestAbove(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	draw := func() (l latencies) {
		for range 1 + r.IntN(6) {
			l.add(latencies{{api.Duration(1 + r.IntN(8)), uint64(1 + r.IntN(4))}})
		}
		return l
	}
	for range 2000 {
		a, b := draw(), draw()
		times, plus := []float64{1, 1.5, 2}[r.IntN(3)], float64(r.IntN(3))
		sum, all := 0.0, 0.0
		for _, x := range a {
			for _, y := range b {
				pairs := float64(x.N * y.N)
				all += pairs
				switch limit := times*float64(y.UpTo) + plus; {
				case float64(x.UpTo) > limit:
					sum += pairs
				case float64(x.UpTo) == limit:
					sum += pairs / 2
				}
			}
		}
		if got, want := a.above(b, times, plus), sum/all; math.Abs(got-want) > 1e-12 {
			t.Fatalf("%v above %v·%v+%v is %v, want %v", a, b, times, plus, got, want)
		}
	}
	if got := (latencies{}).above(draw(), 1, 0); got != 0.5 {
		t.Errorf("nothing is above something with %v, want 0.5", got)
	}
}

func FuzzJudge(f *testing.F) {
	f.Add(uint64(1), int64(0), int64(0), 0.005, 1.5)
	f.Add(uint64(2), int64(5), int64(-1), math.NaN(), -1.0)
	f.Add(uint64(3), int64(math.MinInt64), int64(math.MaxInt64), 1e-300, 100.0)
	f.Fuzz(func(t *testing.T, seed uint64, from, until int64, more, slowdown float64) {
		r := rand.New(rand.NewPCG(seed, 5))
		number := func() uint64 { return r.Uint64() >> r.IntN(65) }
		side := func() (s Side) {
			for range r.IntN(30) {
				second := Second{Time: int64(r.IntN(40)) - 5, Requests: number(), Failed: number()}
				for range r.IntN(4) {
					second.Latency = append(second.Latency, Bucket{api.Duration(number() >> 1), number()})
				}
				slices.SortFunc(second.Latency, func(a, b Bucket) int { return cmp.Compare(a.UpTo, b.UpTo) })
				s.Seconds = append(s.Seconds, second)
			}
			s.Faults = Faults{number(), number(), number(), math.Float64frombits(r.Uint64())}
			s.Probes = Probes{number(), number()}
			return s
		}
		in := Input{New: side(), Old: side(), From: from, Until: until, Config: Config{MoreFailures: more, Slowdown: slowdown}}
		v := Judge(in)
		if _, err := json.Marshal(v); err != nil {
			t.Errorf("%+v\n%+v: %v", in, v.Numbers, err)
		}
		if v.Reason == "" || (v.Cause != "") != (v.Result == Fail) {
			t.Errorf("%+v: %+v", in, v)
		}
	})
}
