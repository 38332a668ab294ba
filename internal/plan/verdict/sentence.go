package verdict

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// accusation says what the requests show against the release.
func (t *trial) accusation() string {
	n := t.numbers()
	if t.cause == CauseLatency {
		v := &n.Latency
		return fmt.Sprintf("half of %s requests waited %s or longer%s, half of %s of %s%s only %s: %s times as long; %s",
			count(v.New.Requests), wait(v.New.P50), t.lately(v, &t.waits.stretch), count(v.Old.Requests), name(t.Old.Release), when(&t.waits.stretch),
			wait(v.Old.P50), factor(v.Times), chance(v))
	}
	if t.cause == CauseTail {
		v := &n.Slow
		return fmt.Sprintf("%s of %s requests waited longer than %s%s, %s of %s of %s%s; %s", percent(v.New.Ratio), count(v.New.Requests),
			wait(n.SlowFrom), t.lately(v, &t.slow.stretch), percent(v.Old.Ratio), count(v.Old.Requests), name(t.Old.Release), when(&t.slow.stretch), chance(v))
	}
	v := &n.Failures
	return fmt.Sprintf("%s of %s requests failed%s, %s of %s of %s%s; %s", percent(v.New.Ratio), count(v.New.Requests),
		t.lately(v, &t.failures.stretch), percent(v.Old.Ratio), count(v.Old.Requests), name(t.Old.Release), when(&t.failures.stretch), chance(v))
}

// acquittal says why the release passes.
func (t *trial) acquittal() string {
	n := t.numbers()
	s := fmt.Sprintf("%s of %s requests failed, %s of %s of %s %s", percent(n.New.Ratio), count(n.New.Requests),
		percent(n.Old.Ratio), count(n.Old.Requests), name(t.Old.Release), kindWords(n.Baseline))
	if n.New.P50 > 0 && n.Old.P50 > 0 {
		s += fmt.Sprintf("; half waited less than %s, and %s", wait(n.New.P50), wait(n.Old.P50))
	}
	return s
}

// doubt says what is missing.
func (t *trial) doubt() string {
	n := t.numbers()
	since := fmt.Sprintf("in %s", api.Duration(time.Duration(n.Served)*time.Second))
	switch {
	case n.New.Requests == 0:
		return fmt.Sprintf("unverified: %s had no requests %s", name(t.New.Release), since)
	case n.Baseline == BaselineNone:
		return fmt.Sprintf("unverified: %s of %s requests failed, and %s had none to compare with", percent(n.New.Ratio), count(n.New.Requests), name(t.Old.Release))
	case t.suspicious():
		return fmt.Sprintf("not clear yet: %s of %s requests failed, %s of %s of %s %s; half waited less than %s, and %s",
			percent(n.New.Ratio), count(n.New.Requests), percent(n.Old.Ratio), count(n.Old.Requests), name(t.Old.Release),
			kindWords(n.Baseline), wait(n.New.P50), wait(n.Old.P50))
	}
	return fmt.Sprintf("unverified: %s requests %s are too few to tell, of which %s failed; %s had %s %s", count(n.New.Requests), since,
		count(n.New.Failed), name(t.Old.Release), count(n.Old.Requests), kindWords(n.Baseline))
}

func (t *trial) probesSentence(but string) string {
	p, old := t.New.Probes, t.Old.Probes
	return fmt.Sprintf("%s%s of %s probes of the health path failed, %s of %s of %s", but, count(p.Failed), count(p.Passed+p.Failed),
		count(old.Failed), count(old.Passed+old.Failed), name(t.Old.Release))
}

// lately says that a test's numbers are not of all the time that the release has served.
func (t *trial) lately(v *Test, s *stretch) string {
	if served := t.at - t.From + 1; int64(s.seconds) > served*3/4 {
		return ""
	}
	return fmt.Sprintf(" in the last %s", api.Duration(time.Duration(v.Seconds)*time.Second))
}

func when(s *stretch) string {
	if s.beside {
		return " at the same time"
	}
	return " before"
}

func kindWords(baseline string) string {
	if baseline == BaselineBeside {
		return "at the same time"
	}
	return "before"
}

func name(release uint64) string {
	if release == 0 {
		return "the release before"
	}
	return fmt.Sprintf("release %d", release)
}

// percent gives a ratio with two digits that count.
func percent(ratio float64) string {
	p := 100 * ratio
	switch {
	case p == 0 || p >= 9.95:
		return fmt.Sprintf("%.0f %%", p)
	case p >= 0.1:
		return fmt.Sprintf("%.1f %%", p)
	}
	return fmt.Sprintf("%.2g %%", p)
}

// count gives a number with commas: 1,204.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, digit := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}

func times(n uint64) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return count(n) + " times"
}

// wait rounds to two or three digits.
func wait(d api.Duration) string {
	std := d.Std()
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if std >= 10*unit {
			return std.Round(unit).String()
		}
		if std >= unit {
			return std.Round(unit / 10).String()
		}
	}
	return std.String()
}

func factor(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// chance gives the p-value's bound as a power of ten.
func chance(v *Test) string {
	return fmt.Sprintf("p < 1e-%d", max(int(math.Floor(math.Log10(max(v.Capital, 1)))), 0))
}
