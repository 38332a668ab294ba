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

// sample counts requests of one release.
type sample struct {
	tally
	waits latencies
}

func (s *sample) add(t tally, waits latencies) {
	s.tally = s.plus(t)
	s.waits.add(waits)
}

// stretch is the time in which the capital of a test has grown.
type stretch struct {
	seconds         int
	beside          bool // the last block was compared with what was at the same time
	new, old        tally
	waits, oldWaits latencies
}

func (s *sample) export() Sample {
	return Sample{
		Requests: uint64(s.all), Failed: uint64(s.bad), Ratio: s.ratio(),
		P50: s.waits.quantile(0.5), P90: s.waits.quantile(0.9), P99: s.waits.quantile(0.99),
	}
}

// baseline gives what the new release is compared with: the old one at the same time, or all that is known of it.
func (t *trial) baseline() (sample, string) {
	old := sample{t.failures.old.total, t.waits.old}
	served := t.Until == 0 || t.at <= t.Until
	switch {
	case t.beside.all > 0 && (served && t.beside.all*lopsided >= t.new.all || t.beside.all == old.all):
		end := t.waits.old
		if !served {
			end = t.together
		}
		return sample{t.beside.tally, end.minus(t.history)}, BaselineBeside
	case old.all > 0:
		return old, BaselineBefore
	}
	return old, BaselineNone
}

func (t *trial) numbers() Numbers {
	old, kind := t.baseline()
	n := Numbers{Baseline: kind, At: t.at, New: t.new.export(), Old: old.export(), Verified: math.Exp(t.failures.verified), Config: t.cfg}
	if t.From > 0 {
		n.Served = max(t.at-t.From+1, 0)
	}
	n.New.Release, n.New.Faults, n.New.Probes = t.New.Release, t.New.Faults, t.New.Probes
	n.Old.Release, n.Old.Faults, n.Old.Probes = t.Old.Release, t.Old.Faults, t.Old.Probes

	n.Failures, n.Slow, n.SlowFrom = t.ratios(&t.failures), t.ratios(&t.slow), t.limit

	n.Latency = t.test(&t.waits.purse, t.waits.blocks, &t.waits.stretch)
	if n.Latency.Blocks == 0 {
		return n
	}
	n.Latency.Tolerated = t.cfg.Slowdown
	oldWaits := t.waits.stretch.oldWaits
	if !t.waits.stretch.beside {
		n.Latency.Tolerated *= beforeSlower
		oldWaits = t.waits.old
	}
	n.Latency.Effect = t.waits.stretch.waits.above(oldWaits, 1, 0)
	if n.Latency.Old.P50 > 0 {
		n.Latency.Times = float64(n.Latency.New.P50) / float64(n.Latency.Old.P50)
	}
	return n
}

// ratios gives the state of a test of ratios.
func (t *trial) ratios(f *failures) Test {
	v := t.test(&f.purse, f.blocks, &f.stretch)
	if v.Blocks == 0 {
		return v
	}
	v.Tolerated = f.difference
	if !f.stretch.beside {
		old := sample{tally: f.old.total}
		v.Old, v.Tolerated = old.export(), f.limit()-f.old.total.ratio()
		v.Old.Release = t.Old.Release
	}
	v.Effect = v.New.Ratio - v.Old.Ratio
	if v.Old.Ratio > 0 {
		v.Times = v.New.Ratio / v.Old.Ratio
	}
	return v
}

func (t *trial) test(p *purse, blocks int, s *stretch) Test {
	capital := p.capital()
	v := Test{Blocks: blocks, Capital: capital, Needed: p.needed, P: min(1/capital, 1), Baseline: BaselineNone}
	if blocks == 0 {
		return v
	}
	fresh, old := sample{s.new, s.waits}, sample{s.old, s.oldWaits}
	v.Baseline = BaselineBeside
	if !s.beside {
		v.Baseline = BaselineBefore
		old = sample{t.failures.old.total, t.waits.old}
	}
	v.Seconds, v.New, v.Old = s.seconds, fresh.export(), old.export()
	v.New.Release, v.Old.Release = t.New.Release, t.Old.Release
	return v
}
