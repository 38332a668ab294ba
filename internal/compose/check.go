package compose

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
)

// checksKey is where checks of releases stand, in x-ikada of the file and of a service.
const checksKey = "checks"

// checkKeys are the keys of a check; token is of promql, and within http.
var checkKeys = []string{"name", "service", "promql", "prometheus", "token", "max", "min", "http", "command",
	"interval", "timeout", "initial_delay", "failures", "on_error", "required"}

// checks reads a mapping of names to checks, or a list of named ones.
func (v value) checks() []api.ReleaseCheck {
	var out []api.ReleaseCheck
	switch raw := v.raw.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(raw)) {
			f := value{v.field + "." + name, raw[name], v.errs}
			if m, is := raw[name].(map[string]any); is {
				if _, named := m["name"]; named {
					value{f.field + ".name", m["name"], v.errs}.refuse("its key is its name")
					continue
				}
			}
			c := f.check()
			c.Name = name
			out = append(out, c)
		}
	case []any:
		for i := range raw {
			f := v.index(i, raw[i])
			c := f.check()
			if c.Name == "" {
				value{f.field + ".name", nil, v.errs}.bad("a name")
			}
			out = append(out, c)
		}
	default:
		v.bad("a mapping of names to checks, or a list of checks with names")
	}
	return out
}

func (v value) check() (c api.ReleaseCheck) {
	fields := v.fields(checkKeys, nil)
	if fields == nil {
		return c
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		f := fields[key]
		switch key {
		case "name":
			c.Name = f.text()
		case "service":
			c.Service = f.text()
		case "http":
			c.HTTP = f.httpCheck()
		case "command":
			c.Command = f.words()
		case "interval":
			c.Interval = f.duration()
		case "timeout":
			c.Timeout = f.duration()
		case "initial_delay":
			c.InitialDelay = f.duration()
		case "failures":
			c.Failures = int(f.integer(1, api.MaxCheckFailures))
		case "on_error":
			c.OnError = f.oneOf(api.OnErrorIgnore, api.OnErrorFail)
		case "required":
			c.Required = f.boolean()
		}
	}
	q, asks := fields["promql"]
	if asks {
		c.PromQL = &api.PromQLCheck{Query: q.text()}
	}
	for _, key := range []string{"prometheus", "token", "max", "min"} {
		f, ok := fields[key]
		switch {
		case !ok:
		case !asks:
			value{f.field, nil, f.errs}.refuse("belongs to promql, which the check does not have")
		case key == "prometheus":
			c.PromQL.Prometheus = f.text()
		case key == "token":
			c.PromQL.Token = f.text()
		case key == "max":
			c.PromQL.Max = f.float()
		case key == "min":
			c.PromQL.Min = f.float()
		}
	}
	return c
}

// httpCheck reads a path, a URL, or a mapping.
func (v value) httpCheck() *api.HTTPCheck {
	if text, ok := v.raw.(string); ok {
		if strings.Contains(text, "://") {
			return &api.HTTPCheck{URL: text}
		}
		return &api.HTTPCheck{Path: v.path()}
	}
	out := &api.HTTPCheck{}
	fields := v.fields([]string{"path", "url", "port", "host", "headers", "token", "status", "contains"}, nil)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		f := fields[key]
		switch key {
		case "path":
			out.Path = f.path()
		case "url":
			out.URL = f.text()
		case "port":
			out.Port = f.port()
		case "host":
			out.Host = f.text()
		case "token":
			out.Token = f.text()
		case "status":
			out.Status = int(f.integer(100, 599))
		case "contains":
			out.Contains = f.text()
		case "headers":
			raw, ok := f.raw.(map[string]any)
			if !ok {
				f.bad("a mapping of headers to values")
				continue
			}
			out.Headers = map[string]string{}
			for _, name := range slices.Sorted(maps.Keys(raw)) {
				out.Headers[name] = value{f.field + "." + name, raw[name], f.errs}.text()
			}
		}
	}
	return out
}

// float reads a finite number.
func (v value) float() *float64 {
	f, ok := v.number()
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		v.bad("a number")
		return nil
	}
	return &f
}
