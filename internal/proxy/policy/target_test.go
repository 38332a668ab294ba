package policy

import (
	"testing"

	"github.com/ikada/ikada/api"
)

func TestAppendTarget(t *testing.T) {
	for _, c := range []struct{ prefix, rewrite, line, want string }{
		{"/", "", "GET /", "/"},
		{"/", "", "GET /a?b=c&d", "/a?b=c&d"},
		{"/", "", "GET /a?", "/a?"},
		{"/", "", "GET /a%2Fb%20c//d;e=f?x=%2F../..", "/a%2Fb%20c//d;e=f?x=%2F../.."},
		{"/", "", "GET http://example.com/a?b", "/a?b"},
		{"/", "", "GET http://example.com", "/"},
		{"/", "", "GET http://example.com?a", "/?a"},
		{"/", "", "OPTIONS *", "*"},
		{"/", "", "OPTIONS http://example.com", "*"},
		{"/", "/v2", "OPTIONS *", "*"},
		{"/", "", "CONNECT example.com:443", "example.com:443"},

		{"/", "", "GET /public/../admin?q", "/admin?q"},
		{"/", "", "GET /a%20b/c%20d/%2e./e%20f", "/a%20b/e%20f"},
		{"/", "", "GET /a/..", "/"},

		{"/api", "/", "GET /api", "/"},
		{"/api", "/", "GET /api/", "/"},
		{"/api", "/", "GET /api?x", "/?x"},
		{"/api/", "/", "GET /api/a/b?x", "/a/b?x"},
		{"/api", "/v2", "GET /api", "/v2"},
		{"/api", "/v2", "GET /api/", "/v2/"},
		{"/api", "/v2", "GET /api/a", "/v2/a"},
		{"/api", "/v2/", "GET /api", "/v2/"},
		{"/api", "/v2/", "GET /api/a", "/v2/a"},
		{"/api", "/api", "GET /api/a", "/api/a"},
		{"/", "/v2", "GET /a", "/v2/a"},
		{"/", "/v2", "GET /", "/v2/"},
		{"/a/b", "/c", "GET /a%2Fb/x%2Fy", "/c/x%2Fy"},
		{"/a/b", "/c", "GET /%61/b%2Fx", "/c/x"},
		{"/a//b", "/c", "GET /a/b/x", "/c/x"},
		{"/a/b", "/c", "GET //a///b//x//y", "/c/x//y"},
		{"/api", "/", "GET /api//evil.example", "/evil.example"}, // never another server's name
		{"/api", "/", "GET /api/%2Fevil.example", "/evil.example"},
		{"/api", "/", "GET /x/../api/a", "/a"},
		{"/api", "/", "GET /api/../other", "/other"}, // was matched as /other, by another route
		{"/api", "/", "GET /apiary", "/apiary"},
		{"/café", "/", "GET /caf%C3%A9/x", "/x"},
		{"/api", "/caf%C3%A9", "GET /api/x", "/caf%C3%A9/x"},
		{"/api", "/café au lait", "GET /api/x", "/caf%C3%A9%20au%20lait/x"},
		{"/api", "/50%", "GET /api/x", "/50%25/x"},
		{"/api", "/", "GET http://example.com/api/x", "/x"},
	} {
		p := compile(t, c.prefix, api.RoutePolicy{Rewrite: c.rewrite}, nil)
		if got := string(p.AppendTarget([]byte(" "), request(t, c.line, "Host: example.com"))); got != " "+c.want {
			t.Errorf("%s -> %q: %s is sent on as %q, want %q", c.prefix, c.rewrite, c.line, got[1:], c.want)
		}
	}
}

func TestAppendTargetAllocations(t *testing.T) {
	p := compile(t, "/api", api.RoutePolicy{Rewrite: "/v2"}, nil)
	r, dst := request(t, "GET /api/a/b?c"), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { p.AppendTarget(dst, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppendTarget(b *testing.B) {
	p := compile(b, "/api", api.RoutePolicy{Rewrite: "/"}, nil)
	r, dst := request(b, "GET /api/v1/users/12345/orders?page=2"), make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		p.AppendTarget(dst, r)
	}
}
