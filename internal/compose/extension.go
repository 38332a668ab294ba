package compose

import (
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
)

// extensionKey is where ikada's own settings stand.
const extensionKey = "x-ikada"

// serviceKeys are the keys of x-ikada at a service; those of laterKeys are known and refused.
var (
	serviceKeys = []string{"route", "health", "strategy", "exclusive", "secrets", "release", "cron", checksKey}
	laterKeys   = []string{"autoscale"}
)

// topExtension reads the app's own checks, and refuses what the top-level x-ikada does not know. The environments of the app's own files have been
// taken out before.
func (c *converter) topExtension(spec *api.AppSpec) {
	raw, ok := c.project.Extensions[extensionKey]
	if !ok || raw == nil {
		return
	}
	top := value{extensionKey, raw, &c.errs}
	for key, v := range top.fields([]string{environmentsKey, checksKey}, nil) {
		if key == checksKey {
			spec.Checks = v.checks()
			continue
		}
		v.refuse("stands in the app's own files, not in those that they include")
	}
}

// extension lays a service's x-ikada over what the Compose attributes said.
func (c *converter) extension(field string, s *types.ServiceConfig, out *api.ServiceSpec) {
	raw, ok := s.Extensions[extensionKey]
	if !ok {
		return
	}
	fields := value{field + "." + extensionKey, raw, &c.errs}.fields(serviceKeys, laterKeys)
	for _, key := range laterKeys {
		if v, ok := fields[key]; ok {
			v.refuse("not supported yet")
		}
	}
	if v, ok := fields["route"]; ok {
		out.Routes = v.routes()
	}
	if v, ok := fields["health"]; ok {
		if s.HealthCheck != nil {
			v.refuse("stands beside healthcheck; expected one of them")
		}
		out.Health = v.health()
	}
	if v, ok := fields["secrets"]; ok {
		out.SecretEnv = v.secrets()
	}
	if v, ok := fields["exclusive"]; ok {
		out.Exclusive = v.boolean()
	}
	if v, ok := fields["release"]; ok {
		out.Release = v.release()
	}
	if v, ok := fields["cron"]; ok {
		out.Cron = v.crons()
	}
	if v, ok := fields[checksKey]; ok {
		out.Checks = v.checks()
	}
	if v, ok := fields["strategy"]; ok {
		c.warnings = append(c.warnings, v.strategy(out)...)
	}
}

// secrets reads variables of the process that are secrets: a mapping of variables to secrets, or a list of secrets that
// are named as their variables.
func (v value) secrets() map[string]string {
	out := map[string]string{}
	switch raw := v.raw.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(raw)) {
			out[name] = value{v.field + "." + name, raw[name], v.errs}.text()
		}
	case []any:
		for i := range raw {
			name := v.index(i, raw[i]).text()
			out[name] = name
		}
	default:
		v.bad("a mapping of variables to secrets, or a list of secrets")
	}
	return out
}

// health reads the check. Exactly one of http, tcp, command and disabled says how.
func (v value) health() *api.HealthSpec {
	fields := v.fields([]string{
		"http", "tcp", "command", "disabled", "interval", "timeout", "retries", "start_period", "start_interval",
	}, nil)
	if fields == nil {
		return nil
	}
	out := &api.HealthSpec{}
	var kinds []string
	for _, key := range []string{"http", "tcp", "command", "disabled"} {
		f, ok := fields[key]
		if !ok {
			continue
		}
		switch key {
		case "http":
			out.HTTP = f.httpGet()
		case "tcp":
			out.TCP = &api.TCPProbe{Port: f.tcpPort()}
		case "command":
			out.Command = f.command()
		case "disabled":
			if out.Disabled = f.boolean(); !out.Disabled {
				continue
			}
		}
		kinds = append(kinds, key)
	}
	if len(kinds) != 1 {
		value{v.field, strings.Join(kinds, ", "), v.errs}.bad("exactly one of http, tcp, command and disabled")
	}
	for key, target := range map[string]*api.Duration{
		"interval": &out.Interval, "timeout": &out.Timeout, "start_period": &out.StartPeriod, "start_interval": &out.StartInterval,
	} {
		if f, ok := fields[key]; ok {
			*target = f.duration()
		}
	}
	if f, ok := fields["retries"]; ok {
		out.Retries = int(f.integer(1, 1000))
	}
	return out
}

// httpGet reads "/healthz" or a mapping.
func (v value) httpGet() *api.HTTPGet {
	if _, ok := v.raw.(string); ok {
		return &api.HTTPGet{Path: v.path()}
	}
	out := &api.HTTPGet{Path: "/"}
	fields := v.fields([]string{"path", "port", "host"}, nil)
	if f, ok := fields["path"]; ok {
		out.Path = f.path()
	}
	if f, ok := fields["port"]; ok {
		out.Port = f.port()
	}
	if f, ok := fields["host"]; ok {
		out.Host = f.text()
	}
	return out
}

// tcpPort reads a port, true or nothing for the first port, or a mapping with port.
func (v value) tcpPort() uint16 {
	switch raw := v.raw.(type) {
	case nil:
		return 0
	case bool:
		if !raw {
			v.bad("a port")
		}
		return 0
	case map[string]any:
		if f, ok := v.fields([]string{"port"}, nil)["port"]; ok {
			return f.port()
		}
		return 0
	}
	return v.port()
}

// command reads a list, or a string for the shell.
func (v value) command() []string {
	if text, ok := v.raw.(string); ok && text != "" {
		return []string{"/bin/sh", "-c", text}
	}
	list, ok := v.raw.([]any)
	if !ok || len(list) == 0 {
		v.bad("a command, as a string or a list")
		return nil
	}
	out := make([]string, 0, len(list))
	for i := range list {
		out = append(out, v.index(i, list[i]).text())
	}
	return out
}

// canarySteps reads a list whose elements are weights, or mappings of weight, pause and hold.
func (v value) canarySteps() []api.CanaryStep {
	list, ok := v.raw.([]any)
	if !ok {
		v.bad("a list of steps such as 5%, or {weight: 25%, pause: 1m}")
		return nil
	}
	var out []api.CanaryStep
	for i := range list {
		f := v.index(i, list[i])
		if _, is := list[i].(map[string]any); !is {
			out = append(out, api.CanaryStep{Weight: f.percent()})
			continue
		}
		step := api.CanaryStep{}
		fields := f.fields([]string{"weight", "pause", "hold"}, nil)
		if _, ok := fields["weight"]; !ok {
			f.bad("a weight")
		}
		for key, part := range fields {
			switch key {
			case "weight":
				step.Weight = part.percent()
			case "pause":
				step.Pause = part.duration()
			case "hold":
				step.Hold = part.boolean()
			}
		}
		out = append(out, step)
	}
	return out
}

// percent reads 0 to 99, with or without the sign.
func (v value) percent() int {
	if s, ok := v.raw.(string); ok {
		v.raw = strings.TrimSuffix(s, "%")
	}
	return int(v.integer(0, 99))
}

// requestMatch reads the headers and cookies by which requests are chosen.
func (v value) requestMatch() *api.RequestMatch {
	out := &api.RequestMatch{}
	for key, f := range v.fields([]string{"headers", "cookies"}, nil) {
		m := map[string]string{}
		raw, ok := f.raw.(map[string]any)
		if !ok {
			f.bad("a mapping of names and values; \"*\" is any value")
			continue
		}
		for name, x := range raw {
			m[name] = value{f.field + "." + name, x, f.errs}.text()
		}
		if key == "headers" {
			out.Headers = m
		} else {
			out.Cookies = m
		}
	}
	return out
}

// strategy lays the named settings over both ways, forward and back; drain is the service's.
func (v value) strategy(s *api.ServiceSpec) (warnings []string) {
	fields := v.fields([]string{
		"type", "steps", "match", "warm", "bake", "judge",
		"order", "parallelism", "delay", "monitor", "max_failure_ratio", "failure_action", "drain",
	}, nil)
	both := []*api.Strategy{&s.Update, &s.Rollback}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		f := fields[key]
		switch key {
		case "drain":
			s.Drain = f.duration()
		case "type":
			s.Update.Kind = f.oneOf(api.Rolling, api.BlueGreen, api.Canary)
		case "steps":
			s.Update.Steps = f.canarySteps()
		case "match":
			s.Update.Match = f.requestMatch()
		case "warm":
			d := f.duration()
			s.Update.Warm = &d
		case "bake":
			d := f.duration()
			s.Update.Bake = &d
		case "judge":
			s.Update.Judge = &api.JudgeSpec{Off: !f.boolean()}
		case "order":
			order := f.oneOf(api.StartFirst, api.StopFirst)
			for _, st := range both {
				st.Order = order
			}
		case "parallelism":
			n := f.integer(0, api.MaxReplicas)
			for _, st := range both {
				st.Parallelism = int(n)
			}
		case "delay":
			d := f.duration()
			for _, st := range both {
				st.Delay = d
			}
		case "monitor":
			d := f.duration()
			for _, st := range both {
				st.Monitor = d
			}
		case "max_failure_ratio":
			r := f.ratio()
			for _, st := range both {
				st.MaxFailureRatio = r
			}
		case "failure_action":
			action := f.oneOf(api.ActionRollback, api.ActionContinue, "pause")
			if action == "pause" {
				action = api.ActionRollback
				warnings = append(warnings, f.field+" pause is taken as rollback: a failed release is taken back by itself")
			}
			s.Update.FailureAction = action
		}
	}
	return warnings
}
