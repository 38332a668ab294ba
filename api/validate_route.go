package api

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a RoutePolicy.
const (
	maxMatches     = 32 // methods, and headers, of one route
	maxHeaderValue = 1024
	maxRate        = 1_000_000
	maxUsers       = 1000
	maxPage        = 64 << 10 // bytes of a maintenance page
	maxCookie      = 64       // characters of a cookie's name
	maxFill        = 365 * 24 * time.Hour
)

var (
	methodShape = regexp.MustCompile(`^[A-Z][A-Z0-9_-]{0,31}$`)
	tokenShape  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // RFC 9110, 5.6.2
	valueShape  = regexp.MustCompile(`^[!-~]([ -~\t]*[!-~])?$`)
	userShape   = regexp.MustCompile(`^[^:\x00-\x1f\x7f]{1,255}$`)

	// bcryptShape is version, cost, 16 bytes of salt and 23 of hash. A check at cost 14 takes about a second, and one
	// more doubles it.
	bcryptShape = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}$`)
)

const (
	routePathRule = "a path that begins with '/', without query, '.' and '..'"
	bcryptRule    = "a bcrypt hash of cost 4 to 14: `htpasswd -nB USER` makes one; a Compose file has $$ for each of its $"
)

// route checks one route.
func (v *validator) route(field string, r *RouteSpec) {
	v.check(r.Host == "" || hostName(strings.TrimPrefix(r.Host, "*.")), field+".host", r.Host,
		"a host name such as example.com or *.example.com")
	v.check(r.Path == "" || strings.HasPrefix(r.Path, "/") && !strings.ContainsAny(r.Path, "?# \t\r\n") && !dotSegments(r.Path),
		field+".path", r.Path, routePathRule)
	v.matches(field, &r.RoutePolicy)
	v.check(r.Rewrite == "" || sendable(r.Rewrite), field+".rewrite", r.Rewrite, routePathRule)
	if r.Redirect != nil {
		v.redirect(field+".redirect", r.Redirect)
	}
	v.duration(field+".timeout", r.Timeout)
	v.duration(field+".idleTimeout", r.IdleTimeout)
	v.notNegative(field+".maxBody", r.MaxBody)
	if s := r.Sticky; s != nil {
		v.check(s.Cookie == "" || len(s.Cookie) <= maxCookie && tokenShape.MatchString(s.Cookie), field+".sticky.cookie", s.Cookie,
			fmt.Sprintf("a cookie's name: up to %d letters, digits and signs such as '-' and '_'", maxCookie))
		v.wholeSeconds(field+".sticky.maxAge", s.MaxAge)
	}
	if r.RateLimit != nil {
		v.rateLimit(field+".rateLimit", r.RateLimit)
	}
	v.basicAuth(field+".basicAuth", r.BasicAuth)
	if r.Maintenance != nil {
		v.maintenance(field+".maintenance", r.Maintenance)
	}
}

// matches checks which requests a route takes.
func (v *validator) matches(field string, p *RoutePolicy) {
	v.check(len(p.Methods) <= maxMatches, field+".methods", fmt.Sprint(len(p.Methods)), fmt.Sprintf("at most %d methods", maxMatches))
	for i, m := range p.Methods {
		at := fmt.Sprintf("%s.methods[%d]", field, i)
		v.check(methodShape.MatchString(m) && m != "CONNECT", at, m, "a method in capitals, such as GET; CONNECT is not served")
		v.check(slices.Index(p.Methods, m) == i, at, m, "each method once")
	}
	v.headers(field+".headers", p.Headers)
}

// headers checks the fields by which requests are chosen.
func (v *validator) headers(field string, headers map[string]string) {
	v.check(len(headers) <= maxMatches, field, fmt.Sprint(len(headers)), fmt.Sprintf("at most %d headers", maxMatches))
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lower := strings.ToLower(name)
		v.check(tokenShape.MatchString(name) && lower != "host", field, name, "a header's name, other than Host: that is the route's host")
		v.check(!seen[lower], field, name, "each header once: capitals do not count")
		seen[lower] = true
		v.matchValue(field+"."+name, headers[name])
	}
}

func (v *validator) matchValue(field, value string) {
	v.check(len(value) <= maxHeaderValue && valueShape.MatchString(value), field, value, `a value of printable characters, or "*" for any`)
}

func (v *validator) redirect(field string, r *Redirect) {
	v.check(r.Scheme != "" || r.Host != "" || r.Path != "", field, "", "at least one of scheme, host and path")
	v.check(r.Scheme == "" || r.Scheme == "https" || r.Scheme == "http", field+".scheme", r.Scheme, "https or http")
	v.check(r.Host == "" || hostPort(r.Host), field+".host", r.Host, "a host such as example.com, maybe with ':' and a port")
	v.check(r.Path == "" || sendable(r.Path), field+".path", r.Path, routePathRule)
	switch r.Status {
	case 0, 301, 302, 303, 307, 308:
	default:
		v.bad(field+".status", strconv.Itoa(r.Status), "one of 301, 302, 303, 307, 308")
	}
}

func (v *validator) rateLimit(field string, r *RateLimit) {
	v.within(field+".requests", int64(r.Requests), 1, maxRate)
	v.within(field+".burst", int64(r.Burst), 0, maxRate)
	v.check(slowestFill(r) <= maxFill, field+".burst", strconv.Itoa(r.Burst), "fewer requests than the rate gives back in a year")
	v.check(r.Per == 0 || r.Per.Std() >= time.Millisecond && r.Per.Std() <= 24*time.Hour, field+".per", r.Per.String(), "a duration from 1ms to 24h")
	header, byHeader := strings.CutPrefix(r.By, "header:")
	v.check(r.By == "" || r.By == "client" || r.By == "route" || byHeader && tokenShape.MatchString(header), field+".by", r.By,
		"client, route or header:NAME")
}

// slowestFill gives how long a used-up burst takes to be whole again; of numbers that are wrong by themselves, 0.
func slowestFill(r *RateLimit) time.Duration {
	per := cmp.Or(r.Per.Std(), time.Second)
	if r.Requests < 1 || r.Burst < 1 || per < 0 {
		return 0
	}
	interval := (per + time.Duration(r.Requests) - 1) / time.Duration(r.Requests)
	if interval > math.MaxInt64/time.Duration(r.Burst) {
		return math.MaxInt64
	}
	return interval * time.Duration(r.Burst)
}

// basicAuth checks users and hashes. What was given may hold a password in a wrong place, and is not repeated.
func (v *validator) basicAuth(field string, users map[string]string) {
	v.check(len(users) <= maxUsers, field, fmt.Sprint(len(users)), fmt.Sprintf("at most %d users", maxUsers))
	for _, user := range slices.Sorted(maps.Keys(users)) {
		if !userShape.MatchString(user) {
			v.bad(field, "", "users' names without ':' and control characters")
			continue
		}
		v.check(bcryptShape.MatchString(users[user]), field+"."+user, "", bcryptRule)
	}
}

func (v *validator) maintenance(field string, m *Maintenance) {
	v.check(m.Status == 0 || m.Status >= 200 && m.Status <= 599 && m.Status != 204 && m.Status != 205 && m.Status != 304,
		field+".status", strconv.Itoa(m.Status), "a status that has a body, from 200 to 599, such as 503")
	v.check(len(m.Body) <= maxPage && utf8.ValidString(m.Body), field+".body", fmt.Sprintf("%d bytes", len(m.Body)),
		fmt.Sprintf("text of at most %d bytes", maxPage))
	v.wholeSeconds(field+".retryAfter", m.RetryAfter)
}

// wholeSeconds checks a duration that HTTP counts in seconds.
func (v *validator) wholeSeconds(field string, d Duration) {
	v.check(d == 0 || d.Std() >= time.Second, field, d.String(), "a duration of 1s or more, or 0")
}

// routes checks that no two routes take the same requests.
func (v *validator) routes() {
	claimed := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(v.spec.Services)) {
		for i, r := range v.spec.Services[name].Routes {
			field := fmt.Sprintf("services.%s.routes[%d]", name, i)
			claim := r.Claim()
			if first, taken := claimed[claim]; taken {
				v.bad(field, claim, "a host and path, or methods and headers, that "+first+" does not claim already")
				continue
			}
			claimed[claim] = field
		}
	}
}

// sendable tells whether a path can stand in a request or a Location as it is.
func sendable(p string) bool {
	for _, c := range []byte(p) {
		if c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
			return false
		}
	}
	plain, err := url.PathUnescape(p)
	return strings.HasPrefix(p, "/") && err == nil && !dotSegments(plain)
}

// dotSegments tells whether a path has a segment "." or "..", which clients and servers resolve; some do so also where a
// parameter follows, as in "..;x".
func dotSegments(p string) bool {
	return slices.ContainsFunc(strings.Split(p, "/"), func(s string) bool {
		s, _, _ = strings.Cut(s, ";")
		return s == "." || s == ".."
	})
}

// hostPort tells whether s is a host or an address, an IPv6 one in brackets, maybe with a port.
func hostPort(s string) bool {
	host := s
	if at := strings.LastIndexByte(s, ':'); at >= 0 && !strings.HasSuffix(s, "]") {
		n, err := strconv.ParseUint(s[at+1:], 10, 16)
		if err != nil || n == 0 {
			return false
		}
		host = s[:at]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && addr.Is6() && addr.Zone() == "" && strings.HasSuffix(host, "]")
	}
	return hostName(host)
}
