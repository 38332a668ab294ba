package policy

import (
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func TestMatches(t *testing.T) {
	get := api.RoutePolicy{Methods: []string{"GET", "HEAD"}}
	beta := api.RoutePolicy{Headers: map[string]string{"X-Channel": "beta"}}
	for _, c := range []struct {
		name   string
		policy api.RoutePolicy
		line   string
		fields []string
		want   bool
	}{
		{"no conditions", api.RoutePolicy{}, "PATCH /", nil, true},
		{"first method", get, "GET /", nil, true},
		{"second method", get, "HEAD /", nil, true},
		{"another method", get, "POST /", nil, false},
		{"methods have capitals", get, "get /", nil, false},
		{"a method's beginning", get, "GE /", nil, false},
		{"header", beta, "GET /", []string{"X-Channel: beta"}, true},
		{"a name's case does not count", beta, "GET /", []string{"x-CHANNEL: beta"}, true},
		{"a value's does", beta, "GET /", []string{"X-Channel: Beta"}, false},
		{"second of two", beta, "GET /", []string{"X-Channel: alpha", "X-Channel: beta"}, true},
		{"part of a value", beta, "GET /", []string{"X-Channel: alpha, beta"}, false},
		{"no header", beta, "GET /", []string{"X-Channels: beta"}, false},
		{"known header", api.RoutePolicy{Headers: map[string]string{"user-agent": "curl"}}, "GET /", []string{"User-Agent: curl"}, true},
		{"any value", api.RoutePolicy{Headers: map[string]string{"Authorization": "*"}}, "GET /", []string{"authorization: x"}, true},
		{"any value, even none", api.RoutePolicy{Headers: map[string]string{"X-A": "*"}}, "GET /", []string{"x-a:"}, true},
		{"any value, but the header", api.RoutePolicy{Headers: map[string]string{"X-A": "*"}}, "GET /", nil, false},
		{
			"all of two", api.RoutePolicy{Headers: map[string]string{"X-A": "1", "X-B": "2"}}, "GET /",
			[]string{"X-B: 2", "X-A: 1"}, true,
		},
		{
			"one of two", api.RoutePolicy{Headers: map[string]string{"X-A": "1", "X-B": "2"}}, "GET /",
			[]string{"X-B: 2", "X-C: 1"}, false,
		},
		{
			"header without method", api.RoutePolicy{Methods: []string{"PUT"}, Headers: map[string]string{"X-A": "1"}},
			"GET /", []string{"X-A: 1"}, false,
		},
	} {
		if got := compile(t, "/", c.policy, nil).Matches(request(t, c.line, c.fields...)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestSpecificity(t *testing.T) {
	ordered := []api.RoutePolicy{ // from the least specific
		{},
		{Headers: map[string]string{"A": "*"}},
		{Headers: map[string]string{"A": "1"}},
		{Headers: map[string]string{"A": "*", "B": "*"}},
		{Headers: map[string]string{"A": "*", "B": "1"}},
		{Methods: []string{"GET"}},
		{Methods: []string{"GET", "PUT"}, Headers: map[string]string{"A": "1"}},
	}
	last := -1
	for i, p := range ordered {
		got := compile(t, "/", p, nil).Specificity()
		if got <= last {
			t.Errorf("%d: %d does not come after %d", i, got, last)
		}
		last = got
	}
}

func BenchmarkMethodsOnly(b *testing.B) {
	p := compile(b, "/", api.RoutePolicy{Methods: []string{"GET", "HEAD", "POST"}}, nil)
	r := request(b, "POST /", "Host: example.com", "User-Agent: bench", "Accept: */*")
	c, now := from("192.0.2.1"), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if !p.Matches(r) || p.Admit(r, c, now) != nil {
			b.Fatal("not let through")
		}
	}
}

func TestMethodsOnlyAllocations(t *testing.T) {
	p := compile(t, "/", api.RoutePolicy{Methods: []string{"GET"}, Headers: map[string]string{"X-A": "1"}}, nil)
	r := request(t, "GET /", "X-A: 1")
	c, now := from("192.0.2.1"), time.Now()
	if n := testing.AllocsPerRun(100, func() {
		if !p.Matches(r) || p.Admit(r, c, now) != nil {
			t.Error("not let through")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
