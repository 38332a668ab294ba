package verdict

import (
	"fmt"
	"math"
)

// What faults of tasks fail a release.
const (
	// One kill for memory or one exit before ready is enough where the old release had none, since neither happens to a
	// good release by chance; a crash may, but not twice.
	leastOOMKills, leastUnready, leastCrashes = 1, 1, 2

	// faultChance is how small the chance must be that as many faults of all fell to the new release, where the old one
	// had some too.
	faultChance = 0.001
)

// faults says what is wrong with the new release's tasks, "" when nothing is. Where there is no old release, nothing can
// be told from it: tasks of an app's first release may fail until their neighbours are there.
func (t *trial) faults() string {
	if t.Old.Release == 0 {
		return ""
	}
	for _, kind := range []struct {
		what     string
		new, old uint64
		least    uint64
	}{
		{"were killed for memory", t.New.Faults.OOMKills, t.Old.Faults.OOMKills, leastOOMKills},
		{"ended before they were ready", t.New.Faults.Unready, t.Old.Faults.Unready, leastUnready},
		{"crashed", t.New.Faults.Crashes, t.Old.Faults.Crashes, leastCrashes},
	} {
		if kind.new < kind.least || kind.old > 0 && t.faultChance(kind.new, kind.old) > faultChance {
			continue
		}
		return fmt.Sprintf("tasks of %s %s %s, those of %s %s", name(t.New.Release, "the new release"), kind.what, times(kind.new), name(t.Old.Release, ""), times(kind.old))
	}
	return ""
}

// faultChance is the chance that of all faults so many or more fall to the new release, if its tasks have them as often
// as the old one's: given their sum, the number is binomial with its share of the time (Przyborowski and Wilenski 1940).
func (t *trial) faultChance(fresh, old uint64) float64 {
	share := 0.5
	if a, b := t.New.Faults.Exposure, t.Old.Faults.Exposure; a > 0 && b > 0 {
		share = a / (a + b)
	}
	return binomialTail(float64(fresh), float64(fresh+old), share)
}

// binomialTail is the chance of k or more of n.
func binomialTail(k, n, p float64) float64 {
	if k <= 0 {
		return 1
	}
	if n > 1e4 || p <= 0 || p >= 1 { // no release has so many tasks
		return 1
	}
	lg := func(x float64) float64 { v, _ := math.Lgamma(x + 1); return v }
	sum := 0.0
	for i := k; i <= n; i++ {
		sum += math.Exp(lg(n) - lg(i) - lg(n-i) + i*math.Log(p) + (n-i)*math.Log1p(-p))
	}
	return min(sum, 1)
}
