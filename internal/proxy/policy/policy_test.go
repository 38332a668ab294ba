package policy

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

// full is a policy with something in every field.
func full(t testing.TB) api.RoutePolicy {
	return api.RoutePolicy{
		Methods: []string{"GET"}, Headers: map[string]string{"X-A": "1"}, Rewrite: "/b",
		Redirect: &api.Redirect{Scheme: "https"}, Timeout: 1, IdleTimeout: 2, MaxBody: 3,
		Sticky: &api.Sticky{}, RateLimit: &api.RateLimit{Requests: 1}, BasicAuth: map[string]string{"ann": hash(t, "x")},
		Maintenance: &api.Maintenance{}, Compress: true,
	}
}

// TestZero sets each field of a policy alone, also one that is added some day: such a policy is not zero, nor is it
// taken for the same as another.
func TestZero(t *testing.T) {
	zero := compile(t, "/a", api.RoutePolicy{}, nil)
	if !zero.Zero() {
		t.Error("the zero policy is not")
	}
	all := full(t)
	for i := range reflect.TypeFor[api.RoutePolicy]().NumField() {
		name := reflect.TypeFor[api.RoutePolicy]().Field(i).Name
		var one api.RoutePolicy
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(all).Field(i))
		if reflect.ValueOf(one).IsZero() {
			t.Errorf("%s: the test sets it to nothing", name)
		}
		p := compile(t, "/a", one, zero)
		if p.Zero() || p == zero {
			t.Errorf("%s: is taken for nothing", name)
		}
		if again := compile(t, "/a", one, p); again != p {
			t.Errorf("%s: the same again is another", name)
		}
	}
	empty := api.RoutePolicy{Methods: []string{}, Headers: map[string]string{}, BasicAuth: map[string]string{}}
	if !compile(t, "/a", empty, nil).Zero() {
		t.Error("empty lists are something")
	}
}

func TestCompileKeepsWhatIsUnchanged(t *testing.T) {
	spec := full(t)
	p := compile(t, "/a", spec, nil)
	same := full(t)
	same.BasicAuth = map[string]string{"ann": spec.BasicAuth["ann"]}
	if compile(t, "/a/", same, p) != p {
		t.Error("an equal policy is another")
	}
	if n := compile(t, "/b", spec, p); n == p || n.guard != p.guard || n.limit != p.limit || n.prefix != "/b" {
		t.Errorf("another path: %+v", n)
	}
	changed := same
	changed.Timeout = 9
	if n := compile(t, "/a", changed, p); n == p || n.guard != p.guard || n.limit != p.limit || n.Timeout() != 9 {
		t.Errorf("another timeout: %+v", n)
	}
	changed.BasicAuth = map[string]string{"bob": spec.BasicAuth["ann"]}
	if n := compile(t, "/a", changed, p); n.guard == p.guard || n.limit != p.limit {
		t.Errorf("other users: %+v", n)
	}
	changed.RateLimit = &api.RateLimit{Requests: 2}
	if n := compile(t, "/a", changed, p); n.limit == p.limit {
		t.Errorf("another limit: %+v", n)
	}
	if n := compile(t, "/a", api.RoutePolicy{}, p); !n.Zero() || n.guard != nil || n.limit != nil {
		t.Errorf("nothing left: %+v", n)
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		field  string
		policy api.RoutePolicy
	}{
		{"timeout", api.RoutePolicy{Timeout: -1}},
		{"idleTimeout", api.RoutePolicy{IdleTimeout: -1}},
		{"maxBody", api.RoutePolicy{MaxBody: -1}},
		{"methods", api.RoutePolicy{Methods: []string{"get"}}},
		{"methods", api.RoutePolicy{Methods: []string{""}}},
		{"methods", api.RoutePolicy{Methods: []string{"GET PUT"}}},
		{"headers", api.RoutePolicy{Headers: map[string]string{"X A": "1"}}},
		{"headers.X-A", api.RoutePolicy{Headers: map[string]string{"X-A": "a\r\nb"}}},
		{"rewrite", api.RoutePolicy{Rewrite: "b"}},
		{"rewrite", api.RoutePolicy{Rewrite: "/b?c"}},
		{"rewrite", api.RoutePolicy{Rewrite: "/b/../c"}},
		{"rewrite", api.RoutePolicy{Rewrite: "/b/%2e%2e"}},
		{"rewrite", api.RoutePolicy{Rewrite: "/b\r\nHost: c"}},
		{"redirect", api.RoutePolicy{Redirect: &api.Redirect{}}},
		{"redirect.scheme", api.RoutePolicy{Redirect: &api.Redirect{Scheme: "ftp"}}},
		{"redirect.host", api.RoutePolicy{Redirect: &api.Redirect{Host: "a/b"}}},
		{"redirect.host", api.RoutePolicy{Redirect: &api.Redirect{Host: "a\r\nb"}}},
		{"redirect.host", api.RoutePolicy{Redirect: &api.Redirect{Host: "a@b"}}},
		{"redirect.path", api.RoutePolicy{Redirect: &api.Redirect{Path: "b"}}},
		{"redirect.path", api.RoutePolicy{Redirect: &api.Redirect{Path: "/a#b"}}},
		{"redirect.status", api.RoutePolicy{Redirect: &api.Redirect{Scheme: "https", Status: 200}}},
		{"sticky.cookie", api.RoutePolicy{Sticky: &api.Sticky{Cookie: "a;b"}}},
		{"sticky.maxAge", api.RoutePolicy{Sticky: &api.Sticky{MaxAge: -1}}},
		{"maintenance.status", api.RoutePolicy{Maintenance: &api.Maintenance{Status: 204}}},
		{"maintenance.status", api.RoutePolicy{Maintenance: &api.Maintenance{Status: 101}}},
		{"maintenance.retryAfter", api.RoutePolicy{Maintenance: &api.Maintenance{RetryAfter: -1}}},
	} {
		_, err := Compile("/", c.policy, nil)
		if !api.IsKind(err, api.Invalid) || !strings.HasPrefix(err.Error(), c.field+":") && !strings.HasPrefix(err.Error(), c.field+";") {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}

// TestAdmitOrder takes one part of a full policy away after another.
func TestAdmitOrder(t *testing.T) {
	spec := full(t)
	r, c, now := request(t, "POST /", "Host: a", "Content-Length: 4"), from("192.0.2.1"), time.Now()
	expect := func(what string, want int) {
		t.Helper()
		if got := compile(t, "/", spec, nil).Admit(r, c, now).status(); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	expect("redirect", 308)
	c.TLS = true
	expect("maintenance", 503)
	spec.Maintenance = nil
	expect("basic auth", 401)
	p := compile(t, "/", spec, nil)
	p.Admit(r, c, now)
	if got := p.Admit(r, c, now).status(); got != 429 {
		t.Errorf("rate limit: %d", got)
	}
	spec.RateLimit, spec.BasicAuth = nil, nil
	expect("body", 413)
	spec.MaxBody = 4
	expect("a body that is just small enough", 0)
	r.Length = http1.Chunked
	expect("a body of unknown length", 0)
}

// TestRandomRequests asks everything of requests that no parser would let through: nothing may crash.
func TestRandomRequests(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	words := []string{
		"GET", "HEAD", "OPTIONS", "/", "%", "%2", "%2e", "..", ";", "?", "=", "q=", "gzip", "zstd", "*", ",", " ", "\t", "\r\n", "\x00",
		"\xff", "Basic ", "ikada_task=", TaskKey("a"), "YTpi", ":", "[", "]", "@", "text/", "no-transform", `"`, "W/", "-1", "99999999999999999999",
	}
	noise := func() []byte {
		var b []byte
		for range random.IntN(6) {
			b = append(b, words[random.IntN(len(words))]...)
		}
		return b
	}
	kinds := []http1.Kind{
		http1.Other, http1.Cookie, http1.Authorization, http1.AcceptEncoding, http1.ContentType, http1.ContentEncoding,
		http1.CacheControl, http1.ETag, http1.ContentLength, http1.Host,
	}
	fields := func() (all []http1.Field) {
		for range random.IntN(8) {
			all = append(all, http1.Field{Kind: kinds[random.IntN(len(kinds))], Name: noise(), Value: noise()})
		}
		return all
	}
	var policies []*Policy
	spec := full(t)
	for _, take := range []func(){
		func() {}, func() { spec.Redirect = nil }, func() { spec.Maintenance = nil }, func() { spec.RateLimit.By = "header:X-A" },
		func() { spec.RateLimit = &api.RateLimit{Requests: 1e6} }, func() { spec.BasicAuth = nil }, func() { spec.Methods = nil },
	} {
		take()
		policies = append(policies, compile(t, "/a", spec, nil))
	}
	for range 20_000 {
		r := &http1.Request{
			Method: noise(), Target: noise(), Path: noise(), Query: noise(), HasQuery: random.IntN(2) == 0,
			Authority: noise(), Fields: fields(), Length: int64(random.IntN(10) - 2),
		}
		res := &http1.Response{Status: random.IntN(600), Fields: fields(), Length: int64(random.IntN(4000) - 2)}
		p := policies[random.IntN(len(policies))]
		p.Matches(r)
		if a := p.Admit(r, Client{TLS: random.IntN(2) == 0}, time.Now()); a != nil {
			for _, f := range a.Fields {
				if !token(f[0]) || !fieldValue(f[1]) {
					t.Fatalf("%q: field %q", r.Path, f)
				}
			}
		}
		p.AppendTarget(nil, r)
		p.StickyTask(r)
		p.Encoding(r, res)
		for _, f := range res.Fields {
			EncodedField(f)
		}
		MatchPath(r.Path, nil)
	}
}

// BenchmarkCompileUnchanged is what each route costs each table.
func BenchmarkCompileUnchanged(b *testing.B) {
	for name, spec := range map[string]api.RoutePolicy{"zero": {}, "full": full(b)} {
		b.Run(name, func(b *testing.B) {
			p := compile(b, "/api/v1", spec, nil)
			b.ReportAllocs()
			for b.Loop() {
				if q, err := Compile("/api/v1", spec, p); q != p || err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
