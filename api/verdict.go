package api

import "time"

// Verdict is what a release's requests and tasks have said of one of its services, beside the release before.
type Verdict struct {
	Service string          `json:"service"`
	Result  string          `json:"result"` // VerdictPass, VerdictFail, VerdictInsufficient
	Reason  string          `json:"reason"` // one sentence, with the numbers
	At      time.Time       `json:"at"`
	Numbers *VerdictNumbers `json:"numbers,omitempty"` // nil in what earlier versions have kept
}

// The results of a Verdict.
const (
	VerdictPass         = "pass"         // enough was seen, and nothing wrong in it
	VerdictFail         = "fail"         // the release does harm
	VerdictInsufficient = "insufficient" // there is not enough to tell: the release is unverified
)

// KeepTurns bounds how many verdicts a deployment keeps besides the last of each service: the newest.
const KeepTurns = 30

// VerdictNumbers are what a Verdict rests on; docs/verdicts.md explains the tests.
type VerdictNumbers struct {
	Cause    string         `json:"cause,omitempty"` // of a failure: "failures", "latency", "slow answers", "faults", "probes"
	Baseline string         `json:"baseline"`        // what Old is of: "same time", "before", "none"
	Served   Duration       `json:"served"`          // how long the new release had served
	New      VerdictSample  `json:"new"`
	Old      VerdictSample  `json:"old"`
	Failures VerdictTest    `json:"failures"`
	Latency  VerdictTest    `json:"latency"`
	Slow     VerdictTest    `json:"slow"`               // as Failures, of requests that waited for longer than SlowFrom
	SlowFrom Duration       `json:"slowFrom,omitempty"` // 0 is unknown
	Verified float64        `json:"verified"`           // capital of the bet that five points more failures are ruled out; 100 is needed to pass
	Limits   *VerdictLimits `json:"limits,omitempty"`   // that were in force
}

// VerdictSample is what was seen of a release.
type VerdictSample struct {
	Release      uint64   `json:"release,omitempty"`
	Requests     uint64   `json:"requests"`
	Failed       uint64   `json:"failed"`
	Ratio        float64  `json:"ratio"` // failed of all, 0 without any
	P50          Duration `json:"p50,omitempty"`
	P90          Duration `json:"p90,omitempty"`
	P99          Duration `json:"p99,omitempty"`
	Lost         uint64   `json:"lost,omitempty"` // of the failed, those that were tried again elsewhere
	Crashes      uint64   `json:"crashes,omitempty"`
	OOMKills     uint64   `json:"oomKills,omitempty"`
	Unready      uint64   `json:"unready,omitempty"`  // ends of tasks before they were ready
	Exposure     float64  `json:"exposure,omitempty"` // seconds that its tasks have run, added up
	ProbesPassed uint64   `json:"probesPassed,omitempty"`
	ProbesFailed uint64   `json:"probesFailed,omitempty"`
}

// VerdictTest is where a sequential test stands.
type VerdictTest struct {
	Effect    float64       `json:"effect"`          // difference of the ratios; probability that a new wait is longer than an old one
	Times     float64       `json:"times,omitempty"` // how many times the old one's the new one's ratio, or median wait, is; 0 is unknown
	Tolerated float64       `json:"tolerated"`       // difference of ratios, or times as long
	Blocks    int           `json:"blocks"`          // compared
	Capital   float64       `json:"capital"`         // of the bets on harm: 1 in the beginning
	Needed    float64       `json:"needed"`          // capital that fails the release
	P         float64       `json:"p"`               // always valid p-value
	Baseline  string        `json:"baseline"`        // as in VerdictNumbers, of the last block
	Stretch   Duration      `json:"stretch"`         // the time that speaks most for harm, of which New and Old are
	New       VerdictSample `json:"new"`
	Old       VerdictSample `json:"old"`
}

// VerdictLimits say how much worse than the old release a new one may be.
type VerdictLimits struct {
	MoreFailures float64  `json:"moreFailures"` // how much higher the ratio of failed requests may be
	Slowdown     float64  `json:"slowdown"`     // how many times as long answers may take
	SlowdownBy   Duration `json:"slowdownBy"`   // and by how much longer than that
	Warmup       Duration `json:"warmup"`       // in which latency does not count
	Chance       float64  `json:"chance"`       // that a harmless release ever fails
}
