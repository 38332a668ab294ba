package compose

import (
	"strings"

	"github.com/ikada/ikada/api"
)

// routeKeys are the keys of a route; what they mean stands in docs/compose.md and docs/routing.md.
func routeKeys() []string {
	return []string{
		"host", "path", "port", "methods", "headers", "strip", "rewrite", "redirect", "timeout", "idle_timeout", "max_body",
		"sticky", "rate_limit", "basic_auth", "maintenance", "compress",
	}
}

// routes reads one route or a list, each a string such as "example.com/api" or a mapping.
func (v value) routes() []api.RouteSpec {
	list, ok := v.raw.([]any)
	if !ok {
		return []api.RouteSpec{v.route()}
	}
	if len(list) == 0 {
		v.bad("at least one route")
	}
	var out []api.RouteSpec
	for i := range list {
		out = append(out, v.index(i, list[i]).route())
	}
	return out
}

func (v value) route() api.RouteSpec {
	if text, ok := v.raw.(string); ok {
		return v.shortRoute(text)
	}
	const shape = `"example.com/api" or a mapping of host, path, port and more`
	if _, ok := v.raw.(map[string]any); !ok {
		v.bad(shape)
		return api.RouteSpec{}
	}
	var out api.RouteSpec
	fields := v.fields(routeKeys(), nil)
	if len(fields) == 0 {
		v.bad(shape)
	}
	if f, ok := fields["host"]; ok {
		out.Host = strings.ToLower(f.text())
		f.checkHost(out.Host)
	}
	if f, ok := fields["path"]; ok {
		out.Path = f.path()
	}
	if f, ok := fields["port"]; ok {
		out.Port = f.port()
	}
	out.RoutePolicy = policy(fields)
	return out
}

func (v value) shortRoute(text string) api.RouteSpec {
	host, path := text, ""
	if at := strings.IndexByte(text, '/'); at >= 0 {
		host, path = text[:at], text[at:]
	}
	switch {
	case text == "":
		v.bad(`a host, a path, or both, such as "example.com/api"`)
	case strings.Contains(text, "://"):
		v.bad(`a host and path without a scheme, such as "example.com/api"`)
	case strings.Contains(host, ":"):
		v.bad("a host without a port: give the container's port as port in a mapping")
	case strings.ContainsAny(text, "?# \t\r\n"):
		v.bad("a host and path without query or spaces")
	default:
		v.checkHost(host)
	}
	return api.RouteSpec{Host: strings.ToLower(host), Path: path}
}

func (v value) checkHost(host string) {
	rest := strings.TrimPrefix(host, "*.")
	if host != "" && (rest == "" || strings.ContainsAny(rest, "*:/ \t?#") || strings.HasPrefix(rest, ".") || strings.HasSuffix(rest, ".")) {
		v.bad("a host such as example.com or *.example.com")
	}
}
