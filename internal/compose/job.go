package compose

import (
	"cmp"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/schedule"
)

// commandKeys are the keys by which a job says what it runs.
var commandKeys = []string{"command", "entrypoint", "environment"}

// release reads a command, or a mapping with one.
func (v value) release() *api.ReleaseCommand {
	out := &api.ReleaseCommand{}
	switch v.raw.(type) {
	case string, []any:
		out.Command.Command = v.words()
		return out
	}
	fields := v.fields(append([]string{"timeout"}, commandKeys...), nil)
	if fields == nil {
		return nil
	}
	out.Command = v.jobCommand(fields)
	if f, ok := fields["timeout"]; ok {
		out.Timeout = f.duration()
	}
	return out
}

// crons reads a mapping of names and schedules.
func (v value) crons() map[string]api.CronSpec {
	m, ok := v.raw.(map[string]any)
	if !ok {
		v.bad("a mapping of names, each with schedule and command")
		return nil
	}
	out := map[string]api.CronSpec{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		f := value{v.field + "." + name, m[name], v.errs}
		out[name] = f.cron()
	}
	return out
}

func (v value) cron() api.CronSpec {
	var out api.CronSpec
	fields := v.fields(append([]string{"schedule", "timezone", "concurrency", "timeout", "missed", "starting_deadline"}, commandKeys...), nil)
	if fields == nil {
		return out
	}
	out.Command = v.jobCommand(fields)
	when, ok := fields["schedule"]
	if !ok {
		value{v.field + ".schedule", nil, v.errs}.bad(`when it runs, such as "*/5 * * * *" or @daily`)
		return out
	}
	out.Schedule = when.text()
	if f, ok := fields["timezone"]; ok {
		out.Timezone = f.text()
	}
	if _, err := schedule.Parse(v.field, out.Schedule, out.Timezone); err != nil && out.Schedule != "" {
		*v.errs = append(*v.errs, err)
	}
	if f, ok := fields["concurrency"]; ok {
		out.Concurrency = f.oneOf(api.CronForbid, api.CronAllow, api.CronReplace)
	}
	if f, ok := fields["missed"]; ok {
		out.Missed = f.oneOf(api.MissedSkip, api.MissedOnce)
	}
	if f, ok := fields["timeout"]; ok {
		out.Timeout = f.duration()
	}
	if f, ok := fields["starting_deadline"]; ok {
		out.StartingDeadline = f.duration()
		if cmp.Or(out.Missed, api.MissedSkip) == api.MissedSkip {
			f.refuse("only counts with missed: " + api.MissedOnce)
		}
	}
	return out
}

// jobCommand reads what a job runs, as the attributes of a service of these names say it.
func (v value) jobCommand(fields map[string]value) api.Command {
	var out api.Command
	f, ok := fields["command"]
	if ok {
		out.Command = f.words()
	}
	if e, given := fields["entrypoint"]; given {
		out.Entrypoint, ok = e.words(), true
	}
	if !ok {
		value{v.field + ".command", nil, v.errs}.bad("a command, as a string or a list")
	}
	if f, ok := fields["environment"]; ok {
		out.Env = f.variables()
	}
	return out
}

// words reads a list, or a string whose words are taken apart as a shell does; there is no shell otherwise.
func (v value) words() []string {
	if list, ok := v.raw.([]any); ok {
		out := make([]string, 0, len(list))
		for i := range list {
			if s, ok := list[i].(string); ok && s == "" {
				out = append(out, "") // an argument may be empty
				continue
			}
			out = append(out, v.index(i, list[i]).text())
		}
		return out
	}
	var out types.ShellCommand
	if text, ok := v.raw.(string); ok && text != "" && out.DecodeMapstructure(text) == nil {
		return out
	}
	v.bad("a command, as a string or a list")
	return nil
}

// variables reads a mapping.
func (v value) variables() map[string]string {
	m, ok := v.raw.(map[string]any)
	if !ok {
		v.bad("a mapping of names and values")
		return nil
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		f := value{v.field + "." + name, m[name], v.errs}
		switch raw := m[name].(type) {
		case string:
			out[name] = raw
		case nil, map[string]any, []any:
			f.raw = nil // it may be secret
			f.bad("a plain value")
		default:
			out[name] = f.text()
		}
	}
	return out
}
