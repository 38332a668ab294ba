package cli

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// span is a flag's length of time, which takes days and weeks besides Go's units: 90m, 30d, 1d12h.
type span time.Duration

var longUnits = regexp.MustCompile(`^([0-9]+w)?([0-9]+d)?(.*)$`)

// String gives Go's notation, "" for 0.
func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Type names the flag's kind in the help.
func (s *span) Type() string { return "duration" }

// Set reads a length of time.
func (s *span) Set(text string) error {
	d, ok := parseSpan(text)
	if !ok {
		return errors.New("expected a number with a unit, such as 90m, 12h or 30d")
	}
	*s = span(d)
	return nil
}

// given is a span of which 0 is none: whoever says it means something else than the default.
type given struct{ span }

// Set reads a length of time above 0.
func (g *given) Set(text string) error {
	if err := g.span.Set(text); err != nil {
		return err
	}
	if g.span == 0 {
		return errors.New("expected a time above 0")
	}
	return nil
}

func parseSpan(text string) (time.Duration, bool) {
	m := longUnits.FindStringSubmatch(text)
	if m == nil || text == "" {
		return 0, false
	}
	var total time.Duration
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimRight(m[i+1], "wd"), 10, 32)
		if err != nil || n > int64(100*365*24*time.Hour/unit) {
			return 0, false
		}
		total += time.Duration(n) * unit
	}
	if m[3] == "" {
		return total, true
	}
	rest, err := time.ParseDuration(m[3])
	return total + rest, err == nil && rest >= 0 && total+rest >= total
}
