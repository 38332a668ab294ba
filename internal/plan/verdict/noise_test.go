package verdict

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestPurse has a purse keep its worth where bets bring what they cost, and keep the cash where all stakes are lost.
func TestPurse(t *testing.T) {
	p := newPurse(0.001)
	if got := p.capital(); math.Abs(got-1) > 1e-12 {
		t.Errorf("a new purse has %v, want 1", got)
	}
	for range 1000 {
		p.play(&[degrees]float64{1, 1, 1, 1, 1})
	}
	if got := p.capital(); math.Abs(got-1) > 1e-9 {
		t.Errorf("after a thousand bets that changed nothing it has %v, want 1", got)
	}
	p = newPurse(0.001)
	for range 600 {
		p.play(&[degrees]float64{})
	}
	if got, want := p.capital(), (1-firstStakes)*math.Pow(1-laterStakes, 599); math.Abs(got-want) > 1e-9 {
		t.Errorf("after ten minutes in which all was lost it has %v, want %v", got, want)
	}
}

// TestClustering holds the estimates of how failures cluster against seconds that were made with it.
func TestClustering(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	for _, tt := range []struct {
		what           string
		own, common    float64 // shapes of the gamma variables that the ratio of a second is multiplied by; 0 is none
		length         int     // seconds for which a ratio stays
		record, beside [2]float64
	}{
		{what: "independent", length: 1, record: [2]float64{1, 1.3}, beside: [2]float64{1, 1.3}},
		{what: "both at once", common: 1, length: 1, record: [2]float64{20, 40}, beside: [2]float64{1, 1.6}},
		{what: "both at once, for long", common: 1, length: 10, record: [2]float64{100, 400}, beside: [2]float64{1, 1.6}},
		{what: "each for itself", own: 1, length: 1, record: [2]float64{20, 40}, beside: [2]float64{3, mostPaired}},
	} {
		var old record
		var both pairs
		ratio := func(shape float64) float64 {
			if shape == 0 {
				return 1
			}
			return gamma(r, shape) / shape
		}
		const n, p = 500, 0.05
		common := 1.0
		for i := range int64(600) {
			if i%int64(tt.length) == 0 {
				common = ratio(tt.common)
			}
			a := tally{n, float64(binomial(r, n, min(p*common*ratio(tt.own), 1)))}
			b := tally{n, float64(binomial(r, n, min(p*common*ratio(tt.own), 1)))}
			old.learn(start+i, a)
			both.learn(b, a)
		}
		got, beside := old.clustering(), both.clustering(1)
		if got < tt.record[0] || got > tt.record[1] || beside < tt.beside[0] || beside > tt.beside[1] {
			t.Errorf("%s: %v by itself, want %v; %v beside, want %v", tt.what, got, tt.record, beside, tt.beside)
		}
	}
}

// TestSteadyHarmIsNotClustered has a canary with few requests fail steadily beside a release that hardly ever does.
func TestSteadyHarmIsNotClustered(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	var both pairs
	for range 600 {
		both.learn(tally{10, float64(binomial(r, 10, 0.05))}, tally{90, float64(binomial(r, 90, 0.001))})
	}
	if got := both.clustering(1); got > 1.2 {
		t.Errorf("the design effect is %v, want about 1", got)
	}
}

// TestClusteringCounts has one block bet on by those who know of more or less clustering.
func TestClusteringCounts(t *testing.T) {
	capital := func(clustering float64, bet func(*failures)) float64 {
		f := failures{difference: DefaultMoreFailures, purse: newPurse(0.001), at: stakeout{0.001, clustering, clustering, 1}}
		for i := range int64(60) {
			f.old.learn(start-60+i, tally{1000, 1})
		}
		f.new, f.ref = tally{50, 3}, tally{50, 0}
		bet(&f)
		return f.purse.capital()
	}
	for what, bet := range map[string]func(*failures){"beside": (*failures).beside, "before": (*failures).before} {
		calm, rough := capital(1, bet), capital(4, bet)
		if !(calm > rough && rough > 1) {
			t.Errorf("%s: %v with independent failures, %v with clustered ones", what, calm, rough)
		}
	}
}

// TestOneSecondOfBoth has everything fail in one second: that is evidence, but of less where the old release fails as well.
func TestOneSecondOfBoth(t *testing.T) {
	capital := func(old float64) float64 {
		f := failures{difference: DefaultMoreFailures, purse: newPurse(0.001), at: stakeout{0.05, 1, 1, 1}, new: tally{500, 500}, ref: tally{500, old}}
		f.beside()
		return f.purse.capital()
	}
	if alone, both := capital(25), capital(90); alone < 5*both || both < suspicious {
		t.Errorf("it brings %v where 5 %% of the old release's requests fail, %v where 18 %% do", alone, both)
	}
}

// TestWorstStretch has an old release fail for some seconds once: as much is to be expected of it again.
func TestWorstStretch(t *testing.T) {
	var r record
	for i := range int64(300) {
		s := tally{100, 0}
		if i >= 100 && i < 105 {
			s.bad = 40
		}
		r.learn(start+i, s)
	}
	if got := r.bound(tally{}); got < 0.3 || got > 0.45 {
		t.Errorf("the bound is %v, want about what failed in its worst five seconds", got)
	}
	if got := (&record{}).bound(tally{}); got != 1 {
		t.Errorf("of nothing the bound is %v, want 1", got)
	}
	if few, many := (&record{}).bound(tally{20, 0}), (&record{}).bound(tally{99, 0}); !(few > many && few < 0.5) {
		t.Errorf("with 20 probes the bound is %v, with 99 %v", few, many)
	}
}

// TestNoise has the old release's speed change from second to second, or as time passes, and looks at what a bet makes of it.
func TestNoise(t *testing.T) {
	ms := func(v float64) latencies {
		return latencies{{api.Duration(v * 0.9 * 1e6), 40}, {api.Duration(v * 1e6), 40}, {api.Duration(v * 1.1 * 1e6), 40}}
	}
	known := func(speed func(i int) float64) *waits {
		w := &waits{times: DefaultSlowdown, plus: float64(DefaultSlowdownBy), purse: newPurse(0.001), lowest: 1}
		for i := range 240 {
			w.learn(ms(speed(i)), 120)
		}
		w.step(start, &met{waits: ms(60), slow: tally{all: 120}}, &met{waits: ms(20), slow: tally{all: 120}}, true)
		return w
	}
	calm := known(func(int) float64 { return 20 })
	if got := calm.excess.above(besideNoise); got != besideNoise*besideNoise {
		t.Errorf("a calm release has a variance of %v, want the floor", got)
	}
	restless := known(func(i int) float64 { return []float64{20, 20, 30}[i%3] })
	drift := func(i int) float64 { return 10 + 20*float64(i)/240 }
	drifting, ignorant := known(drift), known(drift)
	ignorant.drift = noise{}
	if c, r := calm.purse.capital(), restless.purse.capital(); !(restless.excess.above(besideNoise) > 0.05 && c > r) {
		t.Errorf("a restless release has a variance of %v; bets bring %v with a calm one, %v with it", restless.excess.above(besideNoise), c, r)
	}
	if d := drifting.drift.above(beforeNoise); d < 0.05 {
		t.Errorf("a drifting release has a variance of %v over time", d)
	}
	after := func(w *waits) float64 {
		p := w.purse.capital()
		w.step(start+1, &met{waits: ms(60), slow: tally{all: 120}}, &met{}, false)
		return w.purse.capital() / p
	}
	if c, d := after(ignorant), after(drifting); c <= d {
		t.Errorf("after a swap bets bring %v to one who does not know of the drift, %v to one who does", c, d)
	}
}

// TestNumbers looks at what a verdict keeps.
func TestNumbers(t *testing.T) {
	const ms = time.Millisecond
	in := Input{
		New: Side{Release: 7, Seconds: steady(start, 30, 30, 0, 20*ms), Probes: Probes{Passed: 3}},
		Old: Side{Release: 6, Seconds: append(steady(start-60, 60, 90, 9, 100*ms), steady(start, 30, 30, 3, 20*ms)...), Faults: Faults{Crashes: 1}},
	}
	n := Judge(in).Numbers
	if n.Baseline != BaselineBeside || n.Served != 30 || n.At != start+29 || n.New.Requests != 900 || n.Old.Requests != 900 || n.Old.Failed != 90 ||
		n.Old.P50 > api.Duration(20*ms) || n.New.P50 != n.Old.P50 || n.New.Release != 7 || n.Old.Release != 6 ||
		n.New.Probes.Passed != 3 || n.Old.Faults.Crashes != 1 || n.Failures.Blocks != 30 || n.Latency.Blocks != 27 || n.Config.Slowdown != DefaultSlowdown {
		t.Errorf("beside: %+v", n)
	}
	in.Until = start + 9
	if n = Judge(in).Numbers; n.Baseline != BaselineBefore || n.Old.Requests != 90*60+900 || n.Failures.Baseline != BaselineBefore {
		t.Errorf("after it had left: %+v", n)
	}
	in.Until, in.New.Seconds = 0, steady(start, 30, 30, 15, 20*ms)
	v := Judge(in)
	if e := v.Numbers.Failures; v.Result != Fail || math.Abs(e.Effect-0.4) > 1e-9 || math.Abs(e.Times-5) > 1e-9 || e.Tolerated != DefaultMoreFailures ||
		e.Capital < e.Needed || math.Abs(e.P*e.Capital-1) > 1e-9 || e.New.Requests != e.Old.Requests || e.Seconds != int(v.Numbers.Served) {
		t.Errorf("where half fails: %s: %+v", v.Reason, e)
	}
}

// TestSuspicion has a release that may be bad go on: it neither passes nor fails, and probes do not help.
func TestSuspicion(t *testing.T) {
	in := Input{
		New: Side{Seconds: steady(start, 30, 30, 0, 0), Probes: Probes{Passed: 100}},
		Old: Side{Seconds: steady(start-60, 90, 30, 0, 0)},
	}
	if v := Judge(in); v.Result != Pass {
		t.Fatal(v.Reason)
	}
	in.New.Seconds = append(in.New.Seconds, steady(start+30, 3, 30, 5, 0)...)
	in.Old.Seconds = append(in.Old.Seconds, steady(start+30, 3, 30, 0, 0)...)
	v := Judge(in)
	tr := newTrial(in)
	tr.run()
	if c := tr.failures.purse.capital(); c < suspicious || tr.failures.purse.clear() {
		t.Fatalf("the capital is %v, which makes nobody suspicious", c)
	}
	if tr.failures.verified = mostVerified; tr.passes() || tr.probesPass() {
		t.Error("passes")
	}
	if v.Result != Insufficient || v.Reason[:14] != "not clear yet:" {
		t.Errorf("%s: %s", v.Result, v.Reason)
	}
}
