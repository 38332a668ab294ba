package verdict

import (
	"math"

	"github.com/ikada/ikada/api"
)

// What the old release's numbers are of.
const (
	BaselineBeside = "same time" // as the new release's
	BaselineBefore = "before"    // the new release's
	BaselineNone   = "none"      // it had no requests
)

// Numbers are what a verdict rests on. They are finite, and can be kept as JSON.
type Numbers struct {
	Baseline string       `json:"baseline"` // BaselineBeside, BaselineBefore, BaselineNone
	At       int64        `json:"at"`       // second up to which it was looked, in seconds since 1970
	Served   int64        `json:"served"`   // seconds that the new release has served then
	New      Sample       `json:"new"`
	Old      Sample       `json:"old"`
	Failures Test         `json:"failures"`
	Latency  Test         `json:"latency"`
	Slow     Test         `json:"slow"`     // as Failures, of requests that waited for longer than SlowFrom
	SlowFrom api.Duration `json:"slowFrom"` // 0 is unknown yet
	Verified float64      `json:"verified"` // capital of a bet that five points more failures are ruled out; 100 is needed to pass
	Config   Config       `json:"config"`   // that was in force
}

// Sample is what was seen of a release.
type Sample struct {
	Release  uint64       `json:"release"`
	Requests uint64       `json:"requests"`
	Failed   uint64       `json:"failed"`
	Ratio    float64      `json:"ratio"`         // failed of all, 0 without any
	P50      api.Duration `json:"p50,omitempty"` // of the waits, as all quantiles within a tenth; 0 without any
	P90      api.Duration `json:"p90,omitempty"`
	P99      api.Duration `json:"p99,omitempty"`
	Lost     uint64       `json:"lost,omitempty"` // of the failed, those that were tried again elsewhere
	Faults   Faults       `json:"faults,omitzero"`
	Probes   Probes       `json:"probes,omitzero"`
}

// Test is where a sequential test stands.
type Test struct {
	Effect    float64 `json:"effect"`    // difference of the ratios; probability that a new wait is longer than an old one
	Times     float64 `json:"times"`     // how many times the old one's the new one's ratio, or median wait, is; 0 is unknown
	Tolerated float64 `json:"tolerated"` // difference of ratios, or times as long
	Blocks    int     `json:"blocks"`    // compared
	Capital   float64 `json:"capital"`   // of the bets on harm: 1 in the beginning
	Needed    float64 `json:"needed"`    // capital that fails the release
	P         float64 `json:"p"`         // always valid p-value: 1/Capital, at most 1
	Baseline  string  `json:"baseline"`  // as in Numbers, of the last block
	Seconds   int     `json:"seconds"`   // length of the stretch that speaks most for harm, up to At
	New       Sample  `json:"new"`       // in that stretch
	Old       Sample  `json:"old"`       // at the same time, or before
}

// sample is of requests of one release.
type sample struct {
	tally
	waits latencies
}

// stretch is the time in which the capital of a test has grown.
type stretch struct {
	seconds  int
	from, to int64 // its first second, and that in which the last block ended
	beside   bool  // that block was compared with what was at the same time
	new, old tally
}

// within sums up the waits of both releases in the seconds that were looked at, the old one's while both served. Only
// who wants numbers needs the sum, so the seconds are not summed up as they pass.
func (t *trial) within(from, to int64) (fresh, old latencies) {
	for _, s := range t.New.Seconds[:t.seen[0]] {
		if from <= s.Time && s.Time <= to {
			fresh.add(s.Latency)
		}
	}
	for _, s := range t.Old.Seconds[:t.seen[1]] {
		if from <= s.Time && s.Time <= to && t.besideAt(s.Time) {
			old.add(s.Latency)
		}
	}
	return fresh, old
}

func (s *sample) export() Sample {
	return Sample{
		Requests: uint64(s.all), Failed: uint64(s.bad), Ratio: s.ratio(),
		P50: s.waits.quantile(0.5), P90: s.waits.quantile(0.9), P99: s.waits.quantile(0.99),
	}
}

// compared gives what was seen of the new release, and of what it is compared with: the old one at the same time, or all
// that is known of it.
func (t *trial) compared() (fresh, old sample, kind string) {
	fresh, old = sample{tally: t.new}, sample{t.failures.old.total, t.waits.old}
	var beside latencies
	if t.served {
		fresh.waits, beside = t.within(t.since, t.at)
	}
	switch {
	case t.beside.all > 0 && (t.besideAt(t.at) && t.beside.all*lopsided >= t.new.all || t.beside.all == old.all):
		return fresh, sample{t.beside, beside}, BaselineBeside
	case old.all > 0:
		return fresh, old, BaselineBefore
	}
	return fresh, old, BaselineNone
}

func (t *trial) numbers() Numbers {
	fresh, old, kind := t.compared()
	n := Numbers{Baseline: kind, At: t.at, New: fresh.export(), Old: old.export(), Verified: math.Exp(t.failures.verified), Config: t.cfg}
	if t.From > 0 {
		n.Served = max(t.at-t.From+1, 0)
	}
	n.New.Lost = t.lost()
	n.New.Release, n.New.Faults, n.New.Probes = t.New.Release, t.New.Faults, t.New.Probes
	n.Old.Release, n.Old.Faults, n.Old.Probes = t.Old.Release, t.Old.Faults, t.Old.Probes

	n.Failures, n.Slow, n.SlowFrom = t.ratios(&t.failures), t.ratios(&t.slow), t.limit

	w := &t.waits
	fresh, old = sample{tally: w.stretch.new}, sample{tally: w.stretch.old}
	if fresh.all > 0 {
		fresh.waits, old.waits = t.within(w.stretch.from, w.stretch.to)
	}
	if !w.stretch.beside {
		old = sample{t.failures.old.total, w.old}
	}
	n.Latency = t.test(&w.purse, w.blocks, &w.stretch, fresh, old)
	if n.Latency.Blocks == 0 {
		return n
	}
	n.Latency.Tolerated = t.cfg.Slowdown
	if !w.stretch.beside {
		n.Latency.Tolerated *= beforeSlower
	}
	n.Latency.Effect = fresh.waits.above(old.waits, 1, 0)
	if n.Latency.Old.P50 > 0 {
		n.Latency.Times = float64(n.Latency.New.P50) / float64(n.Latency.Old.P50)
	}
	return n
}

// ratios gives the state of a test of ratios.
func (t *trial) ratios(f *failures) Test {
	old := f.stretch.old
	if !f.stretch.beside {
		old = f.old.total
	}
	v := t.test(&f.purse, f.blocks, &f.stretch, sample{tally: f.stretch.new}, sample{tally: old})
	if v.Blocks == 0 {
		return v
	}
	v.Tolerated = f.difference
	if !f.stretch.beside {
		v.Tolerated = f.limit() - old.ratio()
	}
	v.Effect = v.New.Ratio - v.Old.Ratio
	if v.Old.Ratio > 0 {
		v.Times = v.New.Ratio / v.Old.Ratio
	}
	return v
}

func (t *trial) test(p *purse, blocks int, s *stretch, fresh, old sample) Test {
	capital := p.capital()
	v := Test{Blocks: blocks, Capital: capital, Needed: p.needed, P: min(1/capital, 1), Baseline: BaselineNone}
	if blocks == 0 {
		return v
	}
	v.Baseline = BaselineBeside
	if !s.beside {
		v.Baseline = BaselineBefore
	}
	v.Seconds, v.New, v.Old = s.seconds, fresh.export(), old.export()
	v.New.Release, v.Old.Release = t.New.Release, t.Old.Release
	return v
}

// lost counts the attempts of the release's time that it did not answer and that were made again elsewhere.
func (t *trial) lost() (n uint64) {
	for _, s := range t.New.Seconds {
		if s.Time >= t.From && s.Time <= t.at {
			n += min(s.Lost, mostRequests)
		}
	}
	return n
}
