package deploy

import (
	"cmp"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/verdict"
)

// verdictPause is how often verdicts are written down whose results stay the same: their numbers change every second.
const verdictPause = 10 * time.Second

// told gives a verdict as it is kept.
func told(service string, v *verdict.Verdict, now time.Time) api.Verdict {
	n := &v.Numbers
	out := &api.VerdictNumbers{Cause: string(v.Cause), Baseline: n.Baseline, Served: seconds(n.Served), New: sample(&n.New), Old: sample(&n.Old),
		Failures: test(&n.Failures), Latency: test(&n.Latency), Slow: test(&n.Slow), SlowFrom: n.SlowFrom, Verified: n.Verified,
		Limits: &api.VerdictLimits{MoreFailures: n.Config.MoreFailures, Slowdown: n.Config.Slowdown, SlowdownBy: n.Config.SlowdownBy,
			Warmup: n.Config.Warmup, Chance: n.Config.Chance}}
	return api.Verdict{Service: service, Result: string(v.Result), Reason: v.Reason, At: now.Truncate(time.Second), // a plan made again at once is to be the same
		Numbers: out}
}

func sample(s *verdict.Sample) api.VerdictSample {
	return api.VerdictSample{Release: s.Release, Requests: s.Requests, Failed: s.Failed, Ratio: s.Ratio, P50: s.P50, P90: s.P90, P99: s.P99, Lost: s.Lost,
		Crashes: s.Faults.Crashes, OOMKills: s.Faults.OOMKills, Unready: s.Faults.Unready, Exposure: s.Faults.Exposure,
		ProbesPassed: s.Probes.Passed, ProbesFailed: s.Probes.Failed}
}

func test(t *verdict.Test) api.VerdictTest {
	return api.VerdictTest{Effect: t.Effect, Times: t.Times, Tolerated: t.Tolerated, Blocks: t.Blocks, Capital: t.Capital, Needed: t.Needed,
		P: t.P, Baseline: t.Baseline, Stretch: seconds(int64(t.Seconds)), New: sample(&t.New), Old: sample(&t.Old)}
}

func seconds(n int64) api.Duration { return api.Duration(time.Duration(n) * time.Second) }

// heard has a deployment keep what verdicts say by now: each that changes a service's result for good, and the last ones
// when some time has passed. It tells whether anything is to be written.
func heard(d *api.Deployment, fresh []api.Verdict, now time.Time) bool {
	was := map[string]string{}
	for _, v := range d.Verdicts {
		was[v.Service] = v.Result
	}
	turns := slices.Clip(d.Turns)
	for _, v := range fresh {
		if before := cmp.Or(was[v.Service], api.VerdictInsufficient); before != v.Result { // that nothing is known at first is no news
			turns = append(turns, v)
		}
	}
	worth := len(turns) > len(d.Turns) || len(fresh) != len(d.Verdicts) || len(fresh) > 0 && now.Sub(d.Verdicts[0].At) >= verdictPause
	if !worth {
		return false
	}
	d.Verdicts, d.Turns = fresh, turns[max(len(turns)-api.KeepTurns, 0):]
	return true
}
