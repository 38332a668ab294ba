package verdict

import (
	"cmp"
	"math"
	"slices"

	"github.com/ikada/ikada/api"
)

// Second is what the requests of one release met that ended within one second. Judge never changes one.
type Second struct {
	Time     int64 // its beginning, in seconds since 1970
	Requests uint64
	Failed   uint64   // of those; no answer, one of 500 and above, or one that broke off
	Lost     uint64   // attempts that a task took and did not answer, made again elsewhere: as good as failed requests
	Latency  []Bucket // waits of those for the first byte, in rising order of UpTo; may be empty
}

// Bucket is how many waits fell into one bucket of a histogram whose buckets are the same for all seconds and releases.
type Bucket struct {
	UpTo api.Duration // its upper bound
	N    uint64
}

// Faults counts what happened to the tasks of a release.
type Faults struct {
	Crashes  uint64  `json:"crashes"`  // ends of tasks that had been ready, but those for memory
	OOMKills uint64  `json:"oomKills"` // ends for memory, ready or not
	Unready  uint64  `json:"unready"`  // ends before ready, but those for memory
	Exposure float64 `json:"exposure"` // seconds that tasks have run in which that was counted, over all tasks; 0 is unknown
}

// Probes counts active checks of the health path.
type Probes struct {
	Passed uint64 `json:"passed"`
	Failed uint64 `json:"failed"`
}

// Side is one of the two releases.
type Side struct {
	Release uint64   // number; 0 is none
	Seconds []Second // complete ones, in rising order, as far back as they are known; those without requests may be missing
	Faults  Faults
	Probes  Probes
}

// Input is what a verdict is made of.
type Input struct {
	New Side
	Old Side // the seconds before From are worth having: they show how its requests scatter

	// From is the first second in which the new release served, Now the second that goes on: what is in it or later is
	// not looked at. 0 is the first of New.Seconds, and the one after the last of all.
	From, Now int64

	// Until is the last second in which the old release served beside the new one, before From where there was none; 0
	// while it still does. After it the old release is an earlier baseline.
	Until int64

	Config Config
}

// Result is how a verdict came out.
type Result string

// The results.
const (
	Pass         Result = "pass"         // enough was seen, and nothing wrong in it; a later verdict may still be Fail
	Fail         Result = "fail"         // the release does harm
	Insufficient Result = "insufficient" // there is not enough to tell
)

// Cause is what a release failed for.
type Cause string

// The causes.
const (
	CauseFaults   Cause = "faults"
	CauseFailures Cause = "failures"
	CauseLatency  Cause = "latency"
	CauseTail     Cause = "slow answers"
	CauseProbes   Cause = "probes"
)

// Verdict is what is to be thought of a release.
type Verdict struct {
	Result  Result  `json:"result"`
	Reason  string  `json:"reason"` // one sentence, with the numbers
	Cause   Cause   `json:"cause,omitempty"`
	Numbers Numbers `json:"numbers"`
}

// What it takes to pass.
const (
	// verifiedBy is the capital against harm from which on five points more failures are ruled out: the chance that a
	// release which fails so much more often passes is at most its inverse.
	verifiedBy = 100

	// suspicious is the capital of a bet on harm with which no release passes, but has to go on.
	suspicious = 10

	// leastBlocks is how many blocks of latency must have been compared.
	leastBlocks = 5

	// fewRequests is below how many the results of probes count instead, and leastProbes how many of those are needed.
	fewRequests = 100
	leastProbes = 10
)

// Judge says what is to be thought of the new release. It sees the seconds in their order, and fails the release at
// the first one that makes it clear; so asking once at the end is the same as asking every second. What is wrong in the
// input (more failed than requests) is bounded, and in place of a Config that is not valid stand the defaults.
func Judge(in Input) Verdict {
	t := newTrial(in)
	failed, faulty := t.run(), t.faults()
	v := Verdict{Result: Insufficient, Numbers: t.numbers()}
	n := &v.Numbers
	switch {
	case faulty != "":
		v.Result, v.Cause, v.Reason = Fail, CauseFaults, faulty
	case failed:
		v.Result, v.Cause, v.Reason = Fail, t.cause, t.accusation(n)
	case t.probesFail():
		v.Result, v.Cause, v.Reason = Fail, CauseProbes, n.probes()
	case t.passes():
		v.Result, v.Reason = Pass, n.compared()
	case t.probesPass():
		v.Result, v.Reason = Pass, "few requests, but "+n.probes()
	default:
		v.Reason = t.doubt(n)
	}
	return v
}

// trial is one run through the seconds.
type trial struct {
	Input
	cfg      Config
	failures failures
	waits    waits
	slow     failures     // where a request that waits for very long is one that fails
	limit    api.Duration // from which on it does, at the time
	cause    Cause
	at       int64 // second that decided, or the last one

	new, beside tally  // beside is the old release at the same time
	served      bool   // the new release does
	since       int64  // when it began to
	waited      bool   // some of its waits are known
	seen        [2]int // how many of New.Seconds and of Old.Seconds
}

func newTrial(in Input) *trial {
	if in.Config.Validate() != nil {
		in.Config = Config{}
	}
	for _, f := range []*float64{&in.New.Faults.Exposure, &in.Old.Faults.Exposure} {
		if math.IsNaN(*f) || math.IsInf(*f, 0) {
			*f = 0
		}
	}
	t := &trial{Input: in, cfg: in.Config.WithDefaults()}
	t.New.Seconds, t.Old.Seconds = ordered(in.New.Seconds), ordered(in.Old.Seconds)
	if t.From == 0 && len(t.New.Seconds) > 0 {
		t.From = t.New.Seconds[0].Time
	}
	if t.Now == 0 {
		for _, s := range [][]Second{t.New.Seconds, t.Old.Seconds} {
			if len(s) > 0 {
				t.Now = max(t.Now, s[len(s)-1].Time+1)
			}
		}
	}
	probes := tally{float64(in.Old.Probes.Passed + in.Old.Probes.Failed), float64(in.Old.Probes.Failed)}
	t.failures = failures{difference: t.cfg.MoreFailures, probes: probes, purse: newPurse(failuresPart * t.cfg.Chance), lowest: 1}
	t.slow = failures{difference: moreSlow, purse: newPurse(slowPart * t.cfg.Chance), lowest: 1}
	t.waits = waits{times: t.cfg.Slowdown, plus: float64(t.cfg.SlowdownBy), purse: newPurse(latencyPart * t.cfg.Chance), lowest: 1}
	return t
}

func ordered(s []Second) []Second {
	byTime := func(a, b Second) int { return cmp.Compare(a.Time, b.Time) }
	if slices.IsSortedFunc(s, byTime) {
		return s
	}
	s = slices.Clone(s)
	slices.SortStableFunc(s, byTime)
	return s
}

// run sees one second after the other, and stops at the one that makes a failure clear.
func (t *trial) run() bool {
	i, j := 0, 0
	for i < len(t.New.Seconds) || j < len(t.Old.Seconds) {
		var now int64
		switch {
		case i == len(t.New.Seconds):
			now = t.Old.Seconds[j].Time
		case j == len(t.Old.Seconds):
			now = t.New.Seconds[i].Time
		default:
			now = min(t.New.Seconds[i].Time, t.Old.Seconds[j].Time)
		}
		if now >= t.Now {
			break
		}
		var fresh, old Second
		if i < len(t.New.Seconds) && t.New.Seconds[i].Time == now {
			fresh = t.New.Seconds[i]
			i++
		}
		if j < len(t.Old.Seconds) && t.Old.Seconds[j].Time == now {
			old = t.Old.Seconds[j]
			j++
		}
		t.at, t.seen = now, [2]int{i, j}
		if t.see(now, &fresh, &old) {
			return true
		}
	}
	t.at = max(t.at, t.Now-1)
	return false
}

// see adds a second, and tells whether the release has failed with it.
func (t *trial) see(now int64, fresh, old *Second) bool {
	limit := t.waits.slow()
	n, o := meet(fresh, limit), meet(old, limit)
	if now < t.From && n.all == 0 {
		t.failures.old.learn(now, o.tally)
		t.learn(now, &o)
		return false
	}
	if !t.served {
		t.served, t.since = true, now
	}
	beside := t.besideAt(now)
	t.new, t.waited = t.new.plus(n.tally), t.waited || n.slow.all > 0
	if beside {
		t.beside = t.beside.plus(o.tally)
	}
	t.failures.step(now, n.tally, o.tally, beside)
	if now-t.From < int64(t.cfg.Warmup.Std().Seconds()) {
		t.learn(now, &o)
	} else {
		if t.limit = limit; limit > 0 {
			t.slow.step(now, n.slow, o.slow, beside)
		}
		t.waits.step(now, &n, &o, beside)
	}
	switch {
	case t.failures.purse.clear():
		t.cause = CauseFailures
	case t.waits.purse.clear():
		t.cause = CauseLatency
	case t.slow.purse.clear():
		t.cause = CauseTail
	}
	return t.cause != ""
}

// besideAt tells whether both releases served in a second.
func (t *trial) besideAt(time int64) bool { return t.Until == 0 || time <= t.Until }

// suspicious tells whether a bet on harm stands so well that there should be no acquittal.
func (t *trial) suspicious() bool {
	return max(t.failures.purse.capital(), t.waits.purse.capital(), t.slow.purse.capital()) >= suspicious
}

// learn adds a second in which the latency of the new release does not count.
func (t *trial) learn(now int64, old *met) {
	if t.waits.slow() > 0 {
		t.slow.old.learn(now, old.slow)
	}
	t.waits.learn(old.waits, old.slow.all)
}

// met is what the requests of a second met.
type met struct {
	tally
	slow  tally // of those whose wait is known, those that took longer than a limit
	waits latencies
}

// mostRequests is more than any number of requests in a second, and little enough for sums to be exact.
const mostRequests = 1 << 40

func meet(s *Second, limit api.Duration) met {
	requests, lost := min(s.Requests, mostRequests), min(s.Lost, mostRequests)
	m := met{tally: tally{float64(requests + lost), float64(min(s.Failed, requests) + lost)}, waits: s.Latency}
	for _, b := range s.Latency {
		n := float64(min(b.N, mostRequests))
		m.slow.all += n
		if b.UpTo > limit {
			m.slow.bad += n
		}
	}
	return m
}

// passes tells whether the requests have shown that there is no harm.
func (t *trial) passes() bool {
	return t.failures.verified >= math.Log(verifiedBy) && !t.suspicious() && (t.waits.blocks >= leastBlocks || !t.waited)
}
