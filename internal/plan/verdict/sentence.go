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
func (t *trial) accusation(n *Numbers) string {
	switch t.cause {
	case CauseLatency:
		v := &n.Latency
		return fmt.Sprintf("half of %s requests waited %s or longer%s, half of %s of %s%s only %s: %s times as long; %s",
			count(v.New.Requests), wait(v.New.P50), t.lately(v), count(v.Old.Requests), n.oldName(), v.when(), wait(v.Old.P50),
			strconv.FormatFloat(v.Times, 'f', 1, 64), v.chance())
	case CauseTail:
		v := &n.Slow
		return fmt.Sprintf("%s of %s requests waited longer than %s%s, %s of %s of %s%s; %s", percent(v.New.Ratio), count(v.New.Requests),
			wait(n.SlowFrom), t.lately(v), percent(v.Old.Ratio), count(v.Old.Requests), n.oldName(), v.when(), v.chance())
	}
	v := &n.Failures
	return fmt.Sprintf("%s of %s requests failed%s%s, %s of %s of %s%s; %s", percent(v.New.Ratio), count(v.New.Requests),
		t.lately(v), n.lost(), percent(v.Old.Ratio), count(v.Old.Requests), n.oldName(), v.when(), v.chance())
}

// compared says how both releases do.
func (n *Numbers) compared() string {
	s := fmt.Sprintf("%s of %s requests failed%s, %s of %s of %s%s", percent(n.New.Ratio), count(n.New.Requests), n.lost(),
		percent(n.Old.Ratio), count(n.Old.Requests), n.oldName(), when(n.Baseline))
	if n.New.P50 > 0 && n.Old.P50 > 0 {
		s += fmt.Sprintf("; half waited less than %s, and %s", wait(n.New.P50), wait(n.Old.P50))
	}
	return s
}

// lost says how many of the failed requests nobody has noticed, since they were tried again elsewhere.
func (n *Numbers) lost() string {
	if n.New.Lost == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s of them tried again elsewhere)", count(n.New.Lost))
}

// doubt says what is missing.
func (t *trial) doubt(n *Numbers) string {
	since := "in " + (time.Duration(n.Served) * time.Second).String()
	switch {
	case n.New.Requests == 0 && n.Served == 0: // since when it could have had some is not known
		return fmt.Sprintf("unverified: %s had no requests", n.newName())
	case n.New.Requests == 0:
		return fmt.Sprintf("unverified: %s had no requests %s", n.newName(), since)
	case n.Baseline == BaselineNone:
		return fmt.Sprintf("unverified: %s of %s requests failed, and %s had none to compare with", percent(n.New.Ratio), count(n.New.Requests), n.oldName())
	case t.suspicious():
		return "not clear yet: " + n.compared()
	}
	return fmt.Sprintf("unverified: %s of %s requests failed %s, %s of %s of %s%s: not enough to tell", count(n.New.Failed), count(n.New.Requests),
		since, count(n.Old.Failed), count(n.Old.Requests), n.oldName(), when(n.Baseline))
}

// probes says how the probes of both releases went.
func (n *Numbers) probes() string {
	p, old := n.New.Probes, n.Old.Probes
	return fmt.Sprintf("%s of %s probes of the health path failed, %s of %s of %s", count(p.Failed), count(p.Passed+p.Failed),
		count(old.Failed), count(old.Passed+old.Failed), n.oldName())
}

// lately says that a test's numbers are not of all the time that the release has served.
func (t *trial) lately(v *Test) string {
	if served := t.at - t.From + 1; int64(v.Seconds) > served*3/4 {
		return ""
	}
	return " in the last " + (time.Duration(v.Seconds) * time.Second).String()
}

func (v *Test) when() string { return when(v.Baseline) }

func when(baseline string) string {
	if baseline == BaselineBeside {
		return " at the same time"
	}
	return " before"
}

func (n *Numbers) newName() string { return name(n.New.Release, "the new release") }

func (n *Numbers) oldName() string { return name(n.Old.Release, "the old release") }

func name(release uint64, unknown string) string {
	if release == 0 {
		return unknown
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

// chance gives the p-value's bound as a power of ten.
func (v *Test) chance() string {
	return fmt.Sprintf("p < 1e-%d", max(int(math.Floor(math.Log10(max(v.Capital, 1)))), 0))
}
