package policy

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

// Match chooses requests by their headers and cookies.
type Match struct {
	headers []condition
	cookies map[string]string
}

// CompileMatch makes a match ready. Whoever wrote it has checked it.
func CompileMatch(m api.RequestMatch) *Match {
	out := &Match{cookies: m.Cookies}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		out.headers = append(out.headers, newCondition(name, m.Headers[name]))
	}
	return out
}

// Takes tells whether the request has every header and every cookie with the value asked for, at least once.
func (m *Match) Takes(r *http1.Request) bool {
	for i := range m.headers {
		if !m.headers[i].met(r.Fields) {
			return false
		}
	}
	for name, value := range m.cookies {
		if !hasCookie(r, name, value) {
			return false
		}
	}
	return true
}

func hasCookie(r *http1.Request, name, value string) bool {
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.Kind != http1.Cookie {
			continue
		}
		for v := range cookies(f.Value, name) {
			if value == "*" || string(v) == value {
				return true
			}
		}
	}
	return false
}

// cookies gives the values of a name in the value of a Cookie field (RFC 6265, section 4.2.1).
func cookies(list []byte, name string) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(list) > 0 {
			var pair []byte
			pair, list, _ = bytes.Cut(list, []byte{';'})
			pair = bytes.Trim(pair, " \t")
			if len(pair) > len(name) && pair[len(name)] == '=' && string(pair[:len(name)]) == name && !yield(pair[len(name)+1:]) {
				return
			}
		}
	}
}

func newCondition(name, value string) condition {
	return condition{name: nameOf(name), value: strings.Trim(value, " \t"), any: value == "*"}
}
