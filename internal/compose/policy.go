package compose

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
)

// policy reads the keys of a route that say which requests it takes and what becomes of them. It reads shapes; values
// are checked with the whole spec.
func policy(fields map[string]value) api.RoutePolicy {
	var out api.RoutePolicy
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		f := fields[key]
		switch key {
		case "methods":
			out.Methods = f.methods()
		case "headers":
			out.Headers = f.headers()
		case "strip":
			if f.boolean() {
				out.Rewrite = "/"
			}
		case "rewrite":
			if _, both := fields["strip"]; both {
				f.refuse("stands beside strip; expected one of them")
				continue
			}
			out.Rewrite = f.path()
		case "redirect":
			out.Redirect = f.redirect()
		case "timeout":
			out.Timeout = f.duration()
		case "idle_timeout":
			out.IdleTimeout = f.duration()
		case "max_body":
			out.MaxBody = f.size()
		case "sticky":
			out.Sticky = f.sticky()
		case "rate_limit":
			out.RateLimit = f.rateLimit()
		case "basic_auth":
			out.BasicAuth = f.basicAuth()
		case "maintenance":
			out.Maintenance = f.maintenance()
		case "compress":
			out.Compress = f.boolean()
		}
	}
	return out
}

// methods reads one method or a list, in any case.
func (v value) methods() []string {
	if text, ok := v.raw.(string); ok && text != "" {
		return []string{strings.ToUpper(text)}
	}
	list, _ := v.raw.([]any)
	if len(list) == 0 {
		v.bad("a method such as GET, or a list of methods")
		return nil
	}
	var out []string
	for i := range list {
		out = append(out, strings.ToUpper(v.index(i, list[i]).text()))
	}
	return out
}

func (v value) headers() map[string]string {
	m, ok := v.raw.(map[string]any)
	if !ok || len(m) == 0 {
		v.bad(`a mapping of headers to values, "*" for any value`)
		return nil
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out[name] = value{v.field + "." + name, m[name], v.errs}.text()
	}
	return out
}

// size reads bytes in Compose's notation.
func (v value) size() int64 {
	var size types.UnitBytes
	switch raw := v.raw.(type) {
	case int:
		size = types.UnitBytes(raw)
	case string:
		if err := size.DecodeMapstructure(raw); err != nil {
			size = -1
		}
	default:
		size = -1
	}
	if size < 0 {
		v.bad("a size in bytes, or such as 512k or 10m")
		return 0
	}
	return int64(size)
}

// toggle tells whether a value is true or false, also where interpolation made text of it.
func (v value) toggle() (on, ok bool) {
	switch raw := v.raw.(type) {
	case bool:
		return raw, true
	case string:
		return raw == "true", raw == "true" || raw == "false"
	}
	return false, false
}

// redirect reads "https", a URL, or a mapping.
func (v value) redirect() *api.Redirect {
	const shape = "https, a URL such as https://example.com, or a mapping of scheme, host, path and status"
	switch raw := v.raw.(type) {
	case string:
		if raw == "https" || raw == "http" {
			return &api.Redirect{Scheme: raw}
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
			v.bad(shape)
			return nil
		}
		return &api.Redirect{Scheme: u.Scheme, Host: u.Host, Path: u.EscapedPath()}
	case map[string]any:
		out := &api.Redirect{}
		fields := v.fields([]string{"scheme", "host", "path", "status"}, nil)
		if f, ok := fields["scheme"]; ok {
			out.Scheme = f.oneOf("https", "http")
		}
		if f, ok := fields["host"]; ok {
			out.Host = f.text()
		}
		if f, ok := fields["path"]; ok {
			out.Path = f.path()
		}
		if f, ok := fields["status"]; ok {
			out.Status = int(f.integer(1, 999))
		}
		return out
	}
	v.bad(shape)
	return nil
}

// key is a key of a mapping that is read into a T.
type key[T any] struct {
	name string
	read func(*T, value)
}

// option reads what true switches on, text says the main thing about, or a mapping says in full; nil: it is off.
func option[T any](v value, expected string, main func(*T, string), keys ...key[T]) *T {
	if on, ok := v.toggle(); ok {
		if on {
			return new(T)
		}
		return nil
	}
	switch raw := v.raw.(type) {
	case string:
		if raw != "" {
			out := new(T)
			main(out, raw)
			return out
		}
	case map[string]any:
		var names []string
		for _, k := range keys {
			names = append(names, k.name)
		}
		out := new(T)
		fields := v.fields(names, nil)
		for _, k := range keys {
			if f, ok := fields[k.name]; ok {
				k.read(out, f)
			}
		}
		return out
	}
	v.bad(expected)
	return nil
}

// sticky reads true, the cookie's name, or a mapping.
func (v value) sticky() *api.Sticky {
	return option(v, "true, a cookie's name, or a mapping of cookie and max_age",
		func(s *api.Sticky, name string) { s.Cookie = name },
		key[api.Sticky]{"cookie", func(s *api.Sticky, f value) { s.Cookie = f.text() }},
		key[api.Sticky]{"max_age", func(s *api.Sticky, f value) { s.MaxAge = f.duration() }},
	)
}

// rateLimit reads "100/s" or a mapping.
func (v value) rateLimit() *api.RateLimit {
	switch raw := v.raw.(type) {
	case string:
		count, unit, ok := strings.Cut(raw, "/")
		n, err := strconv.Atoi(strings.TrimSpace(count))
		per, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[strings.TrimSpace(unit)]
		if !ok || err != nil || !known {
			break
		}
		return &api.RateLimit{Requests: n, Per: api.Duration(per)}
	case map[string]any:
		out := &api.RateLimit{}
		fields := v.fields([]string{"requests", "per", "burst", "by"}, nil)
		if f, ok := fields["requests"]; ok {
			out.Requests = int(f.integer(1, 1_000_000))
		} else {
			value{v.field + ".requests", nil, v.errs}.bad("a number of requests")
		}
		if f, ok := fields["per"]; ok {
			out.Per = f.duration()
		}
		if f, ok := fields["burst"]; ok {
			out.Burst = int(f.integer(1, 1_000_000))
		}
		if f, ok := fields["by"]; ok {
			out.By = f.text()
		}
		return out
	}
	v.bad("a rate such as 100/s, 1000/m or 5000/h, or a mapping of requests, per, burst and by")
	return nil
}

// basicAuth reads a mapping of users to hashes, or lines as htpasswd writes them. None of it is repeated in an error:
// what stands in a wrong place may be a password.
func (v value) basicAuth() map[string]string {
	silent := func(field, expected string) map[string]string {
		*v.errs = append(*v.errs, api.FieldError(field, "", expected))
		return nil
	}
	out := map[string]string{}
	switch raw := v.raw.(type) {
	case map[string]any:
		for user, hash := range raw {
			text, ok := hash.(string)
			if !ok {
				return silent(v.field, "a bcrypt hash, as text, for each user")
			}
			out[user] = text
		}
	case []any:
		for i, line := range raw {
			at := v.index(i, nil).field
			text, _ := line.(string)
			user, hash, ok := strings.Cut(text, ":")
			if !ok {
				return silent(at, "USER:HASH, as `htpasswd -nB USER` prints")
			}
			if _, twice := out[user]; twice {
				return silent(at, "each user once")
			}
			out[user] = hash
		}
	}
	if len(out) == 0 {
		return silent(v.field, "a mapping of users to bcrypt hashes, or a list of USER:HASH, with at least one user")
	}
	return out
}

// maintenance reads true, the page, or a mapping.
func (v value) maintenance() *api.Maintenance {
	return option(v, "true, a page as text, or a mapping of status, body and retry_after",
		func(m *api.Maintenance, page string) { m.Body = page },
		key[api.Maintenance]{"status", func(m *api.Maintenance, f value) { m.Status = int(f.integer(1, 999)) }},
		key[api.Maintenance]{"body", func(m *api.Maintenance, f value) { m.Body = f.text() }},
		key[api.Maintenance]{"retry_after", func(m *api.Maintenance, f value) { m.RetryAfter = f.duration() }},
	)
}
