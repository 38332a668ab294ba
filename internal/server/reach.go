package server

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// reach gives how a service is reached from outside.
func reach(spec api.ServiceSpec) (ports, routes []string) {
	for _, p := range spec.Ports {
		if p.Published != 0 {
			listen := net.JoinHostPort(cmp.Or(p.HostIP, "0.0.0.0"), strconv.Itoa(int(p.Published)))
			ports = append(ports, fmt.Sprintf("%s→%d", listen, p.Target))
		}
	}
	for _, r := range spec.Routes {
		text := cmp.Or(r.Host, "*") + cmp.Or(r.Path, "/")
		if words := policyWords(r.RoutePolicy); len(words) > 0 {
			text += " (" + strings.Join(words, ", ") + ")"
		}
		routes = append(routes, text)
	}
	return ports, routes
}

// policyWords says in short what a route asks of its requests and does with them.
func policyWords(p api.RoutePolicy) []string {
	var words []string
	add := func(set bool, format string, args ...any) {
		if set {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(len(p.Methods) > 0, "%s", strings.Join(p.Methods, " "))
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		add(true, "%s: %s", name, p.Headers[name])
	}
	add(p.Maintenance != nil, "maintenance")
	if r := p.Redirect; r != nil {
		to := r.Host
		switch {
		case r.Scheme != "" && r.Host+r.Path != "":
			to = r.Scheme + "://" + r.Host
		case r.Scheme != "":
			to = r.Scheme
		}
		add(true, "redirect to %s", to+r.Path)
	}
	add(p.Rewrite == "/", "strip")
	add(p.Rewrite != "" && p.Rewrite != "/", "rewrite to %s", p.Rewrite)
	add(len(p.BasicAuth) > 0, "auth")
	if l := p.RateLimit; l != nil {
		add(true, "%d/%s", l.Requests, rateUnit(l.Per.Std()))
	}
	add(p.Sticky != nil, "sticky")
	add(p.Compress, "compress")
	add(p.MaxBody > 0, "body %s", bytesText(p.MaxBody))
	add(p.Timeout > 0, "timeout %s", short(p.Timeout.Std()))
	add(p.IdleTimeout > 0, "idle %s", short(p.IdleTimeout.Std()))
	return words
}

// rateUnit gives the time that a rate counts in, as it is written after the slash.
func rateUnit(per time.Duration) string {
	switch per {
	case 0, time.Second:
		return "s"
	case time.Minute:
		return "m"
	case time.Hour:
		return "h"
	}
	return short(per)
}

// short gives Go's notation without parts that are zero: 5m, not 5m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
