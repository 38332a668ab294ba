package proxy

import (
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// poolAt gives the name of the pool at a host, as a client writes it, and a path in the form that routes are matched by.
func poolAt(r *routes, host, path string) string {
	e := r.find(cleanHost([]byte(host)), []byte(path), &http1.Request{})
	if e == nil {
		return "none"
	}
	return e.pool.Name
}

func routesOf(list ...string) routes {
	pools := map[string]*pool{}
	var all []api.Route
	for _, s := range list {
		host, path, _ := strings.Cut(s, "/")
		pools[s] = &pool{Pool: api.Pool{Name: s}}
		all = append(all, api.Route{Host: host, Path: "/" + path, Pool: s})
	}
	c := &compiler{old: emptyTable(), next: &table{pools: pools, entries: map[string]*entry{}, conflicts: map[string]string{}}, meters: meter.New()}
	return c.routes(all)
}

func TestRoutes(t *testing.T) {
	r := routesOf("a.example/", "a.example/api", "a.example/api/v2", "*.example/", "*.b.example/only", "/", "/health",
		"only.test/deep/path/", "[::1]/")
	for _, c := range []struct{ host, path, pool string }{
		{"a.example", "/", "a.example/"},
		{"A.Example:8080", "/x", "a.example/"},
		{"a.example.", "/x", "a.example/"},
		{"a.example", "/api", "a.example/api"},
		{"a.example", "/api/", "a.example/api"},
		{"a.example", "/api/x/y", "a.example/api"},
		{"a.example", "/apix", "a.example/"},
		{"a.example", "/api/v2", "a.example/api/v2"},
		{"a.example", "/api/v2/", "a.example/api/v2"},
		{"a.example", "/api/v2x", "a.example/api"},
		{"a.example", "/health", "a.example/"},
		{"c.example", "/api", "*.example/"},
		{"d.c.example", "/", "*.example/"},
		{"example", "/", "/"},
		{".example", "/", "/"},
		{"x.b.example", "/only", "*.b.example/only"},
		{"x.b.example", "/other", "*.example/"},
		{"b.example", "/only", "*.example/"},
		{"only.test", "/deep/path", "only.test/deep/path/"},
		{"only.test", "/deep/path/x", "only.test/deep/path/"},
		{"only.test", "/deep", "/"},
		{"only.test", "/health/x", "/health"},
		{"", "/healthy", "/"},
		{"other", "*", "/"},
		{"other", "", "/"},
		{"[::1]:80", "/", "[::1]/"},
		{"[::1]", "/", "[::1]/"},
	} {
		if got := poolAt(&r, c.host, c.path); got != c.pool {
			t.Errorf("%s%s: %s, want %s", c.host, c.path, got, c.pool)
		}
	}
	none := routesOf("a.example/api")
	for _, s := range []string{"a.example/", "b.example/api", "a.example/apix", "/api"} {
		host, path, _ := strings.Cut(s, "/")
		if got := poolAt(&none, host, "/"+path); got != "none" {
			t.Errorf("%s: %s, want none", s, got)
		}
	}
}

func TestFirstOfEqualRoutesHolds(t *testing.T) {
	r := routesOf("x/a", "X/a/")
	if got := poolAt(&r, "x", "/a"); got != "x/a" {
		t.Errorf("of two equal routes %s was taken", got)
	}
}

// FuzzRoutes compares with the rule as it is written in the package's documentation, tried route by route.
func FuzzRoutes(f *testing.F) {
	list := []string{"a.example/", "a.example/api", "a.example/api/v2", "*.example/b", "*.b.example/api", "/health", "/h"}
	r := routesOf(list...)
	for _, s := range []string{"a.example/api/v2/x", "x.b.example/api", "q.example/b/c", "other/health", "x:80/h"} {
		host, path, _ := strings.Cut(s, "/")
		f.Add(host, "/"+path)
	}
	f.Fuzz(func(t *testing.T, host, path string) {
		want := "none"
		best := -1
		for _, s := range list {
			at, prefix, _ := strings.Cut(s, "/")
			prefix = strings.TrimSuffix("/"+prefix, "/")
			name := string(cleanHost([]byte(host)))
			exact := 0
			switch {
			case at == name && at != "":
				exact = 1 << 20
			case strings.HasPrefix(at, "*."):
				if !strings.HasSuffix(name, at[1:]) || len(name) == len(at)-1 || len(name) > maxHost {
					continue
				}
				exact = len(at) << 10
			case at != "":
				continue
			}
			if prefix != "" && path != prefix && !strings.HasPrefix(path, prefix+"/") {
				continue
			}
			if score := exact + len(prefix); score > best {
				best, want = score, s
			}
		}
		if got := poolAt(&r, host, path); got != want {
			t.Errorf("%q %q: %q, want %q", host, path, got, want)
		}
	})
}
