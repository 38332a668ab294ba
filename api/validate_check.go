package api

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
)

// checks checks the checks of a service, or with an empty service those of the app.
func (v *validator) checks(field, service string, list []ReleaseCheck) {
	if len(list) > MaxChecks {
		v.bad(field, fmt.Sprint(len(list)), fmt.Sprintf("at most %d", MaxChecks))
	}
	seen := map[string]bool{}
	for i := range list {
		c := &list[i]
		at := fmt.Sprintf("%s[%d]", field, i)
		v.check(cronName.MatchString(c.Name), at+".name", c.Name, "1 to 63 lowercase letters, digits, '-' and '_', beginning with a letter")
		v.check(!seen[c.Name], at+".name", c.Name, "each name once; a mapping of names to checks can be changed for an environment")
		seen[c.Name] = true
		v.releaseCheck(at, service, c)
	}
}

func (v *validator) releaseCheck(at, service string, c *ReleaseCheck) {
	var kinds []string
	for _, k := range []struct {
		name string
		set  bool
	}{{CheckPromQL, c.PromQL != nil}, {CheckHTTP, c.HTTP != nil}, {CheckCommand, len(c.Command) > 0}} {
		if k.set {
			kinds = append(kinds, k.name)
		}
	}
	if len(kinds) != 1 {
		v.bad(at, strings.Join(kinds, ", "), "exactly one of promql, http and command")
		return
	}
	owner := service
	if service == "" && c.Service != "" {
		owner = c.Service
		_, known := v.spec.Services[c.Service]
		v.check(known, at+".service", c.Service, "a service of the app")
	}
	v.check(service == "" || c.Service == "", at+".service", c.Service, "nothing: it is a check of service "+service)
	if owner == "" && (len(c.Command) > 0 || c.HTTP != nil && c.HTTP.URL == "") {
		v.bad(at+".service", "", "the service that is asked")
	}
	switch {
	case c.PromQL != nil:
		v.promQL(at, owner, c.PromQL)
	case c.HTTP != nil:
		v.httpCheck(at+".http", owner, c.HTTP)
	default:
		v.command(at, &Command{Command: c.Command})
	}
	v.span(at+".interval", c.Interval, MinCheckInterval, MaxCheckInterval)
	v.span(at+".timeout", c.Timeout, Duration(1), MaxCheckInterval)
	v.span(at+".initialDelay", c.InitialDelay, 0, MaxCheckDelay)
	v.within(at+".failures", int64(c.Failures), 0, MaxCheckFailures)
	v.oneOf(at+".onError", c.OnError, "", OnErrorIgnore, OnErrorFail)
}

// span checks a duration's range; 0 is the default.
func (v *validator) span(field string, d, least, most Duration) {
	if d != 0 && (d < least || d > most) {
		v.bad(field, d.String(), fmt.Sprintf("%s to %s", least, most))
	}
}

func (v *validator) promQL(at, service string, q *PromQLCheck) {
	v.check(strings.TrimSpace(q.Query) != "" && len(q.Query) <= MaxCheckQuery, at+".promql", "", fmt.Sprintf("a query of 1 to %d bytes", MaxCheckQuery))
	v.variables(at+".promql", service, q.Query)
	if q.Prometheus != "" {
		v.outside(at+".prometheus", q.Prometheus)
	}
	v.token(at+".token", q.Token)
	v.check(q.Token == "" || q.Prometheus != "", at+".token", q.Token, "no token: ikada's own metrics need none")
	v.check(q.Max != nil || q.Min != nil, at+".max", "", "max or min: which values are good")
	for _, b := range []struct {
		name  string
		value *float64
	}{{"max", q.Max}, {"min", q.Min}} {
		v.check(b.value == nil || !math.IsNaN(*b.value) && !math.IsInf(*b.value, 0), at+"."+b.name, "", "a finite number")
	}
	if q.Max != nil && q.Min != nil && *q.Min > *q.Max {
		v.bad(at+".min", fmt.Sprint(*q.Min), fmt.Sprintf("at most max, %v", *q.Max))
	}
}

func (v *validator) httpCheck(at, service string, h *HTTPCheck) {
	switch {
	case (h.URL == "") == (h.Path == ""):
		v.bad(at, "", "exactly one of url and path")
	case h.URL != "":
		v.variables(at+".url", service, h.URL)
		v.outside(at+".url", h.URL)
		v.check(h.Port == 0, at+".port", fmt.Sprint(h.Port), "no port: the URL has it")
	default:
		v.variables(at+".path", service, h.Path)
		v.check(strings.HasPrefix(h.Path, "/") && !strings.ContainsAny(h.Path, " \t\r\n#"), at+".path", h.Path, "a path that begins with '/'")
	}
	v.token(at+".token", h.Token)
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		v.check(name != "" && http1Token(name) && !strings.EqualFold(name, "Host"), at+".headers", name, "a header's name, but for Host")
		v.check(!strings.ContainsAny(h.Headers[name], "\r\n\x00"), at+".headers."+name, "", "a value in one line")
	}
	v.check(h.Host == "" || !strings.ContainsAny(h.Host, " \t\r\n/\x00"), at+".host", h.Host, hostRule)
	v.check(h.Status == 0 || h.Status >= 100 && h.Status <= 599, at+".status", fmt.Sprint(h.Status), "100 to 599")
	v.check(len(h.Contains) <= MaxCheckQuery, at+".contains", "", fmt.Sprintf("at most %d bytes", MaxCheckQuery))
}

func http1Token(name string) bool {
	for _, r := range name {
		if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)) {
			return false
		}
	}
	return true
}

// outside checks a URL that the node calls. What it may hold that is secret is not repeated.
func (v *validator) outside(field, text string) {
	u, err := url.Parse(FillCheck(text, map[string]string{"App": "a", "Environment": "e", "Service": "s", "Release": "1"}))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		v.bad(field, "", "a URL that begins with http:// or https://")
		return
	}
	other, err := url.Parse(FillCheck(text, map[string]string{"App": "b", "Environment": "b", "Service": "b", "Release": "2"}))
	v.check(err == nil && other.Host == u.Host && other.Scheme == u.Scheme, field, "", "a URL that names no variable before its path")
	v.check(u.User == nil, field, "", "a URL without user and password: name a secret as token")
}

// token checks the secret that a check sends.
func (v *validator) token(field, name string) {
	_, known := v.spec.Secrets[name]
	v.check(name == "" || known, field, name, "a secret of the app's secrets")
}

// variables refuses what a check names and nobody knows.
func (v *validator) variables(field, service, text string) {
	for _, m := range checkVariable.FindAllStringSubmatch(text, -1) {
		name, dotted := strings.CutPrefix(m[1], ".")
		if !dotted || !slices.Contains(CheckVariables(), name) {
			v.bad(field, m[0], "one of {{."+strings.Join(CheckVariables(), "}}, {{.")+"}}")
		} else if name == "Service" && service == "" {
			v.bad(field, m[0], "no {{.Service}}: the check is the app's and names no service")
		}
	}
}
