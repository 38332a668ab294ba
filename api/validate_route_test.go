package api

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// hash has the shape of bcrypt's, at its least cost.
const hash = "$2a$04$5nUS0mVzdYgC1YSR2q0Jp.KJ9zJwLFg1XqvTYfYvBvVNYQx0Gq1yS"

// routed is the valid spec with one route of web's.
func routed(r RouteSpec) AppSpec {
	spec := valid()
	web := spec.Services["web"]
	web.Routes = []RouteSpec{r}
	spec.Services["web"] = web
	return spec
}

func TestRoutePolicies(t *testing.T) {
	for i, p := range []RoutePolicy{
		{},
		{Methods: []string{"GET", "HEAD", "M-SEARCH"}, Headers: map[string]string{"X-Version": "2", "Accept": "*", "A": "b \"c\" d"}},
		{Rewrite: "/", Redirect: &Redirect{Scheme: "https"}},
		{Rewrite: "/a%20b/c", Redirect: &Redirect{Host: "example.com:8443", Path: "/new", Status: 301}},
		{Redirect: &Redirect{Host: "[2001:db8::1]:443"}},
		{Redirect: &Redirect{Host: "[2001:db8::1]"}},
		{Redirect: &Redirect{Host: "10.0.0.1"}},
		{Timeout: Duration(time.Minute), IdleTimeout: 1, MaxBody: 1 << 40},
		{Sticky: &Sticky{}, RateLimit: &RateLimit{Requests: 1}, Maintenance: &Maintenance{}, Compress: true},
		{Sticky: &Sticky{Cookie: "my_task", MaxAge: Duration(time.Hour)}},
		{RateLimit: &RateLimit{Requests: 100, Per: Duration(time.Minute), Burst: 20, By: "header:X-Api-Key"}},
		{BasicAuth: map[string]string{"ann": hash, "bob jones": strings.Replace(hash, "$2a$04", "$2y$14", 1)}},
		{Maintenance: &Maintenance{Status: 200, Body: "Back soon — ありがとう", RetryAfter: Duration(time.Minute)}},
	} {
		spec := routed(RouteSpec{Host: "example.com", RoutePolicy: p})
		if err := spec.Validate(); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestRoutePoliciesRefused(t *testing.T) {
	const secret = "hunter2"
	for _, c := range []struct {
		field string
		RoutePolicy
	}{
		{"methods[0]", RoutePolicy{Methods: []string{"get"}}},
		{"methods[1]", RoutePolicy{Methods: []string{"GET", "GET"}}},
		{"methods[0]", RoutePolicy{Methods: []string{"CONNECT"}}},
		{"methods[0]", RoutePolicy{Methods: []string{""}}},
		{"methods", RoutePolicy{Methods: strings.Fields(strings.Repeat("A ", 33))}},
		{"headers", RoutePolicy{Headers: map[string]string{"a b": "c"}}},
		{"headers", RoutePolicy{Headers: map[string]string{"": "c"}}},
		{"headers", RoutePolicy{Headers: map[string]string{"HOST": "c"}}},
		{"headers", RoutePolicy{Headers: map[string]string{"a": "b", "A": "c"}}},
		{"headers.A", RoutePolicy{Headers: map[string]string{"A": ""}}},
		{"headers.A", RoutePolicy{Headers: map[string]string{"A": "x\r\ny"}}},
		{"headers.A", RoutePolicy{Headers: map[string]string{"A": " x"}}},
		{"rewrite", RoutePolicy{Rewrite: "api"}},
		{"rewrite", RoutePolicy{Rewrite: "/a?b"}},
		{"rewrite", RoutePolicy{Rewrite: "/a%2"}},
		{"rewrite", RoutePolicy{Rewrite: "/ä"}},
		{"rewrite", RoutePolicy{Rewrite: "/a/../b"}},
		{"rewrite", RoutePolicy{Rewrite: "/a/%2E./b"}},
		{"rewrite", RoutePolicy{Rewrite: "/a/..;x/b"}},
		{"rewrite", RoutePolicy{Rewrite: "/a%2f.."}},
		{"redirect", RoutePolicy{Redirect: &Redirect{}}},
		{"redirect", RoutePolicy{Redirect: &Redirect{Status: 301}}},
		{"redirect.scheme", RoutePolicy{Redirect: &Redirect{Scheme: "ftp"}}},
		{"redirect.host", RoutePolicy{Redirect: &Redirect{Host: "a b"}}},
		{"redirect.host", RoutePolicy{Redirect: &Redirect{Host: "a.com:0"}}},
		{"redirect.host", RoutePolicy{Redirect: &Redirect{Host: "a.com:99999"}}},
		{"redirect.host", RoutePolicy{Redirect: &Redirect{Host: "a.com/x"}}},
		{"redirect.host", RoutePolicy{Redirect: &Redirect{Host: "[10.0.0.1]"}}},
		{"redirect.host", RoutePolicy{Redirect: &Redirect{Host: "[::1"}}},
		{"redirect.path", RoutePolicy{Redirect: &Redirect{Path: "/a\r\nSet-Cookie: b"}}},
		{"redirect.path", RoutePolicy{Redirect: &Redirect{Path: "/a?b=c"}}},
		{"redirect.status", RoutePolicy{Redirect: &Redirect{Host: "a.com", Status: 200}}},
		{"timeout", RoutePolicy{Timeout: -1}},
		{"idleTimeout", RoutePolicy{IdleTimeout: -1}},
		{"maxBody", RoutePolicy{MaxBody: -1}},
		{"sticky.cookie", RoutePolicy{Sticky: &Sticky{Cookie: "a=b"}}},
		{"sticky.cookie", RoutePolicy{Sticky: &Sticky{Cookie: strings.Repeat("a", 65)}}},
		{"sticky.maxAge", RoutePolicy{Sticky: &Sticky{MaxAge: Duration(time.Millisecond)}}},
		{"sticky.maxAge", RoutePolicy{Sticky: &Sticky{MaxAge: -1}}},
		{"rateLimit.requests", RoutePolicy{RateLimit: &RateLimit{}}},
		{"rateLimit.requests", RoutePolicy{RateLimit: &RateLimit{Requests: maxRate + 1}}},
		{"rateLimit.per", RoutePolicy{RateLimit: &RateLimit{Requests: 1, Per: 1}}},
		{"rateLimit.per", RoutePolicy{RateLimit: &RateLimit{Requests: 1, Per: Duration(25 * time.Hour)}}},
		{"rateLimit.burst", RoutePolicy{RateLimit: &RateLimit{Requests: 1, Burst: -1}}},
		{"rateLimit.burst", RoutePolicy{RateLimit: &RateLimit{Requests: 1, Per: Duration(24 * time.Hour), Burst: 366}}},
		{"rateLimit.burst", RoutePolicy{RateLimit: &RateLimit{Requests: 1, Per: Duration(24 * time.Hour), Burst: maxRate}}},
		{"rateLimit.by", RoutePolicy{RateLimit: &RateLimit{Requests: 1, By: "user"}}},
		{"rateLimit.by", RoutePolicy{RateLimit: &RateLimit{Requests: 1, By: "header:"}}},
		{"basicAuth.ann", RoutePolicy{BasicAuth: map[string]string{"ann": secret}}},
		{"basicAuth.ann", RoutePolicy{BasicAuth: map[string]string{"ann": ""}}},
		{"basicAuth.ann", RoutePolicy{BasicAuth: map[string]string{"ann": strings.Replace(hash, "$04", "$15", 1)}}},
		{"basicAuth.ann", RoutePolicy{BasicAuth: map[string]string{"ann": "$apr1$hunter2$x"}}},
		{"basicAuth", RoutePolicy{BasicAuth: map[string]string{"ann:hunter2": hash}}},
		{"basicAuth", RoutePolicy{BasicAuth: map[string]string{"": hash}}},
		{"maintenance.status", RoutePolicy{Maintenance: &Maintenance{Status: 204}}},
		{"maintenance.status", RoutePolicy{Maintenance: &Maintenance{Status: 100}}},
		{"maintenance.body", RoutePolicy{Maintenance: &Maintenance{Body: strings.Repeat("x", maxPage+1)}}},
		{"maintenance.body", RoutePolicy{Maintenance: &Maintenance{Body: "\xff"}}},
		{"maintenance.retryAfter", RoutePolicy{Maintenance: &Maintenance{RetryAfter: Duration(time.Millisecond)}}},
	} {
		spec := routed(RouteSpec{Host: "example.com", RoutePolicy: c.RoutePolicy})
		err := spec.Validate()
		at := "services.web.routes[0]." + c.field
		if !IsKind(err, Invalid) || !strings.HasPrefix(err.Error(), at+": ") && !strings.HasPrefix(err.Error(), at+"; expected ") {
			t.Errorf("%s: got %v", c.field, err)
		}
		if strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("%s: a password is repeated: %v", c.field, err)
		}
	}
	for _, path := range []string{"/a/../b", "/./a", "/..", "a", "/a?b"} {
		spec := routed(RouteSpec{Path: path})
		if err := spec.Validate(); !IsKind(err, Invalid) || !strings.HasPrefix(err.Error(), "services.web.routes[0].path: ") {
			t.Errorf("path %s: %v", path, err)
		}
	}
}

func TestRoutesMayShareHostAndPath(t *testing.T) {
	get, post := []string{"GET", "HEAD"}, []string{"POST"}
	for _, c := range []struct {
		a, b     RoutePolicy
		conflict bool
	}{
		{RoutePolicy{}, RoutePolicy{}, true},
		{RoutePolicy{}, RoutePolicy{Compress: true}, true},
		{RoutePolicy{}, RoutePolicy{Methods: get}, false},
		{RoutePolicy{Methods: post}, RoutePolicy{Methods: get}, false},
		{RoutePolicy{Methods: []string{"HEAD", "GET"}}, RoutePolicy{Methods: get}, true},
		{RoutePolicy{Methods: get}, RoutePolicy{Methods: get, Headers: map[string]string{"A": "1"}}, false},
		{RoutePolicy{Headers: map[string]string{"A": "2"}}, RoutePolicy{Headers: map[string]string{"A": "1"}}, false},
		{RoutePolicy{Headers: map[string]string{"a": "1", "B": "2"}}, RoutePolicy{Headers: map[string]string{"b": "2", "A": "1"}}, true},
	} {
		spec := routed(RouteSpec{Host: "a.com", Path: "/x/", RoutePolicy: c.a})
		spec.Services["db"] = ServiceSpec{Image: "x", Routes: []RouteSpec{{Host: "A.com", Path: "/x", RoutePolicy: c.b}}}
		err := spec.Validate()
		if c.conflict != (err != nil) || err != nil && !strings.HasPrefix(err.Error(), "services.web.routes[0]: \"a.com/x") {
			t.Errorf("%+v and %+v: %v", c.a, c.b, err)
		}
	}
}

func TestClaim(t *testing.T) {
	for want, r := range map[string]RouteSpec{
		"*/":                               {},
		"example.com/api/v1":               {Host: "Example.com", Path: "/api/v1/"},
		`a.com/ GET,PUT x-a=1 x-b="Two *"`: {Host: "a.com", RoutePolicy: RoutePolicy{Methods: []string{"PUT", "GET"}, Headers: map[string]string{"X-B": "Two *", "X-a": "1"}}},
	} {
		if got := r.Claim(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
