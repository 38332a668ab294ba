package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/ikada/ikada/api"
)

// age tells how long ago something was, in one unit: "3m".
func (s *shell) age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return short(s.Now().Sub(t))
}

// short gives a duration in its largest whole unit.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// left gives a time that is to come in its two largest units, so that a day of which a second has passed is still one:
// "3d", "1h59m", "45s".
func left(d time.Duration) string {
	for _, unit := range []struct {
		size, part time.Duration
		name, rest string
	}{{day, time.Hour, "d", "h"}, {time.Hour, time.Minute, "h", "m"}, {time.Minute, time.Second, "m", "s"}} {
		if d.Round(min(unit.part, time.Minute)) < unit.size {
			continue
		}
		rounded := d.Round(unit.part)
		text := fmt.Sprintf("%d%s", rounded/unit.size, unit.name)
		if rest := rounded % unit.size / unit.part; rest > 0 {
			text += fmt.Sprintf("%d%s", rest, unit.rest)
		}
		return text
	}
	return fmt.Sprintf("%ds", int(max(0, d.Round(time.Second)).Seconds()))
}

// precise gives a duration with three digits: "1.23s", "45.6ms".
func precise(d api.Duration) string {
	t := d.Std()
	for _, unit := range []time.Duration{time.Minute, time.Second, time.Millisecond, time.Microsecond} {
		if t >= unit*100 {
			return t.Round(unit).String()
		}
		if t >= unit*10 {
			return t.Round(unit / 10).String()
		}
		if t >= unit {
			return t.Round(unit / 100).String()
		}
	}
	return t.String()
}

func size(n int64) string { return units.BytesSize(float64(n)) }

// number groups thousands, as the sentences of verdicts do: 12,345.
func number(n uint64) string {
	digits := fmt.Sprint(n)
	var parts []string
	for len(digits) > 3 {
		parts = append([]string{digits[len(digits)-3:]}, parts...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, parts...), ",")
}

// plural is "1 task", "2 tasks".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// imageName shortens a pinned reference for a table.
func imageName(ref string) string {
	name, digest, pinned := strings.Cut(ref, "@")
	if !pinned {
		return ref
	}
	_, hash, _ := strings.Cut(digest, ":")
	return name + "@" + hash[:min(len(hash), 12)]
}

// printJSON writes a value, indented.
func (s *shell) printJSON(v any) error {
	enc := json.NewEncoder(s.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printLine writes a value of a stream on one line.
func (s *shell) printLine(v any) error {
	enc := json.NewEncoder(s.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// stateStyle colours what is well, what is under way and what is wrong.
func stateStyle(state string) string {
	switch state {
	case api.HealthOK, string(api.TaskReady), string(api.DeploySucceeded), api.HealthCompleted:
		return green
	case api.HealthDown, string(api.TaskFailed), string(api.DeployRolledBack):
		return red
	case api.HealthStopped, string(api.DeployCancelled), string(api.DeploySuperseded):
		return dim
	}
	return yellow
}
