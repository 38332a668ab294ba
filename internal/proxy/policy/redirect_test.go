package policy

import (
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

func TestRedirect(t *testing.T) {
	https, www := api.Redirect{Scheme: "https"}, api.Redirect{Host: "www.example.com"}
	for _, c := range []struct {
		name     string
		redirect api.Redirect
		line     string
		host     string
		tls      bool
		want     string // Location; "" passes on
	}{
		{"to https", https, "GET /a", "example.com", false, "https://example.com/a"},
		{"to https, already there", https, "GET /a", "example.com", true, ""},
		{"the query stays", https, "GET /a?b=c%20d&e", "example.com", false, "https://example.com/a?b=c%20d&e"},
		{"an empty query stays", https, "GET /a?", "example.com", false, "https://example.com/a?"},
		{"http's port goes", https, "GET /", "example.com:8080", false, "https://example.com/"},
		{"http's port goes from an address", https, "GET /", "[2001:db8::1]:80", false, "https://[2001:db8::1]/"},
		{"an address without a port", https, "GET /", "[2001:db8::1]", false, "https://[2001:db8::1]/"},
		{"a given port", api.Redirect{Scheme: "https", Host: "example.com:8443"}, "GET /", "example.com", false, "https://example.com:8443/"},
		{"a given port, already there", api.Redirect{Scheme: "https", Host: "example.com:8443"}, "GET /", "example.com:8443", true, ""},
		{"to http", api.Redirect{Scheme: "http"}, "GET /", "example.com", true, "http://example.com/"},
		{"absolute form", https, "GET http://a.example/b", "b.example", false, "https://a.example/b"},
		{"escapes stay", https, "GET /a%2Fb%0d%0a", "example.com", false, "https://example.com/a%2Fb%0d%0a"},
		{"two slashes stay", https, "GET //evil.example/", "example.com", false, "https://example.com//evil.example/"},
		{"the server as a whole", https, "OPTIONS *", "example.com", false, "https://example.com/"},

		{"host", www, "GET /a?b", "example.com", false, "http://www.example.com/a?b"},
		{"host, over tls", www, "GET /a", "example.com", true, "https://www.example.com/a"},
		{"host, already there", www, "GET /a", "www.example.com", true, ""},
		{"host, whatever case", www, "GET /a", "WWW.Example.COM", true, ""},
		{"host, with a port", www, "GET /a", "www.example.com:8080", false, ""},
		{"host, with a dot", www, "GET /a", "www.example.com.", false, ""},
		{"host and default port", api.Redirect{Host: "example.com:443"}, "GET /", "example.com", true, ""},
		{"host and the other scheme's default port", api.Redirect{Host: "example.com:443"}, "GET /", "example.com", false, "http://example.com:443/"},
		{"host and scheme", api.Redirect{Scheme: "https", Host: "www.example.com"}, "GET /", "example.com", true, "https://www.example.com/"},

		{"path", api.Redirect{Path: "/new"}, "GET /old/x?y", "example.com", false, "/new?y"},
		{"path, already there", api.Redirect{Path: "/new"}, "GET /new?y", "example.com", false, ""},
		{"path, escaped", api.Redirect{Path: "/a b"}, "GET /x", "example.com", false, "/a%20b"},
		{"path, escaped, already there", api.Redirect{Path: "/a b"}, "GET /a%20b", "example.com", false, ""},
		{"a path that looks like a host", api.Redirect{Path: "//new"}, "GET /x", "example.com", false, "/.//new"},
		{"path and scheme", api.Redirect{Scheme: "https", Path: "/new"}, "GET /x", "example.com", true, "https://example.com/new"},
		{"path and scheme, half there", api.Redirect{Scheme: "https", Path: "/new"}, "GET /new", "example.com:80", false, "https://example.com/new"},
	} {
		p := compile(t, "/", api.RoutePolicy{Redirect: &c.redirect}, nil)
		client := from("192.0.2.1")
		client.TLS = c.tls
		a := p.Admit(request(t, c.line, "Host: "+c.host), client, time.Now())
		switch {
		case c.want == "" && a == nil:
		case a == nil || a.Status != 308 || a.field("Location") != c.want:
			t.Errorf("%s: %+v, want %q", c.name, a, c.want)
		}
	}
}

func TestRedirectStatus(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		p := compile(t, "/", api.RoutePolicy{Redirect: &api.Redirect{Scheme: "https", Status: status}}, nil)
		if a := p.Admit(request(t, "GET /", "Host: a"), from("192.0.2.1"), time.Now()); a.status() != status {
			t.Errorf("%d: %+v", status, a)
		}
	}
}

func TestRedirectNeedsAHost(t *testing.T) {
	p := compile(t, "/", api.RoutePolicy{Redirect: &api.Redirect{Scheme: "https"}}, nil)
	for _, host := range []string{"", "user@evil.example", "evil.example%2f", "[::1", "a:b", "[v1.x]y", "a:123456"} {
		r := &http1.Request{Method: []byte("GET"), Path: []byte("/"), Authority: []byte(host)}
		if a := p.Admit(r, from("192.0.2.1"), time.Now()); a.status() != 400 {
			t.Errorf("%q: %+v", host, a)
		}
	}
}

// TestLocationIsOneLine redirects requests of random bytes, more than a parser would let through: what comes out is
// an address of the host that was meant, and nothing that ends a field. Followed, it leads to no further redirect.
func TestLocationIsOneLine(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const likely = "/%.\\@:?#\r\n \tabc[]0"
	noise := func(most int) []byte {
		b := make([]byte, random.IntN(most))
		for i := range b {
			if b[i] = likely[random.IntN(len(likely))]; random.IntN(4) == 0 {
				b[i] = byte(random.IntN(256))
			}
		}
		return b
	}
	redirects := []api.Redirect{
		{Scheme: "https"}, {Host: "www.example.com"}, {Path: "/new path"}, {Scheme: "https", Host: "[2001:db8::1]:443", Path: "/x"},
	}
	answered := 0
	for range 50_000 {
		d := redirects[random.IntN(len(redirects))]
		p := compile(t, "/", api.RoutePolicy{Redirect: &d}, nil)
		r := &http1.Request{
			Method: []byte("GET"), Path: append([]byte{'/'}, noise(12)...), Query: noise(12), HasQuery: random.IntN(2) == 0,
			Authority: []byte("example.com:8080"),
		}
		if random.IntN(4) == 0 {
			r.Authority = noise(8)
		}
		a := p.Admit(r, from("192.0.2.1"), time.Now())
		if a.status() != 308 {
			continue
		}
		answered++
		to := a.field("Location")
		if strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			t.Fatalf("%q is sent to %q", r.Path, to)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatalf("%q is sent to %q: %v", r.Path, to, err)
		}
		if u.User != nil || u.Fragment != "" || d.Host != "" && u.Host != d.Host || d.Scheme != "" && u.Scheme != d.Scheme ||
			d.Scheme == "" && d.Host == "" && u.Host != "" {
			t.Fatalf("%q at %q is sent to %q", r.Path, r.Authority, to)
		}
		next := &http1.Request{Method: []byte("GET"), Path: []byte(u.EscapedPath()), Authority: []byte(u.Host)}
		if u.Host == "" {
			next.Authority = r.Authority
		}
		client := from("192.0.2.1")
		client.TLS = u.Scheme == "https"
		if a := p.Admit(next, client, time.Now()); a != nil {
			t.Fatalf("%q leads to %q, which leads to %+v", r.Path, to, a)
		}
	}
	if answered < 30_000 {
		t.Errorf("only %d of 50000 were redirected", answered)
	}
}
