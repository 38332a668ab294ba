package verdict

import "math"

// probeDifference is by how much more of the probes may fail than is to be expected after the old release's: a probe
// now and then fails for a reason of its own.
const probeDifference = 0.1

// probesFail tells whether the probes of the health path alone show that the release fails: by bets like those against
// an earlier baseline. Old probes must be there to compare with.
func (t *trial) probesFail() bool {
	p := t.New.Probes
	u := (&record{}).bound(t.failures.probes) + probeDifference
	if u >= 0.99 {
		return false
	}
	capital := 0.0
	for _, w := range worse {
		capital += math.Exp(float64(p.Failed)*math.Log1p(w*(1-u)/u)+float64(p.Passed)*math.Log1p(-w)) / degrees
	}
	return capital >= 1/(probesPart*t.cfg.Chance)
}

// probesPass tells whether, where there are few requests, the probes are enough.
func (t *trial) probesPass() bool {
	p, old := t.New.Probes, t.failures.probes
	all := float64(p.Passed + p.Failed)
	return t.new.all < fewRequests && p.Passed >= leastProbes && float64(p.Failed) <= old.ratio()*all && !t.suspicious()
}
