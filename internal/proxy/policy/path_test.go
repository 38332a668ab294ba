package policy

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

func TestMatchPath(t *testing.T) {
	for _, c := range []struct{ raw, want string }{ // want "" is refused
		{"/", "/"},
		{"", "/"},
		{"*", "*"},
		{"/a/b.c/", "/a/b.c/"},
		{"/.well-known/acme", "/.well-known/acme"},
		{"/...", "/..."},
		{"/a..b/..c/d../.e", "/a..b/..c/d../.e"},

		{"/caf%C3%A9", "/café"},
		{"/a%20b%0a", "/a b\n"},
		{"/%61%2Fb", "/a/b"},
		{"/a%2fb", "/a/b"},
		{"/%252e%252e/a", "/%2e%2e/a"}, // decoded once
		{"/100%25", "/100%"},

		{"/.", "/"},
		{"/..", "/"},
		{"/./a", "/a"},
		{"/a/.", "/a/"},
		{"/a/b/..", "/a/"},
		{"/public/../admin", "/admin"},
		{"/public/%2e%2E/admin", "/admin"},
		{"/public/.%2e/admin", "/admin"},
		{"/%2E/admin", "/admin"},
		{"/../../a", "/a"},
		{"/a/b/c/./../../g", "/a/g"}, // RFC 3986, section 5.2.4
		{"/a/..//b", "/b"},
		{"/a//../b", "/a/b"}, // an empty segment is one

		{"//admin", "/admin"},
		{"/a///b//", "/a/b/"},
		{"/%2Fadmin", "/admin"},

		{"/%", ""},
		{"/%2", ""},
		{"/%zz", ""},
		{"/%2g", ""},
		{"/a%00b", ""},
		{"/public%2F..%2Fadmin", ""},
		{"/public/..%2Fadmin", ""},
		{"/a%2Fb/../c", ""},
		{"/public/..;/admin", ""},
		{"/public/..;a=b/admin", ""},
		{"/public/.;/admin", ""},
		{"/public/%2e%2e%3b/admin", ""},
		{"a", ""},
		{"example.com:443", ""},
	} {
		path, ok := MatchPath([]byte(c.raw), nil)
		if ok != (c.want != "") || string(path) != c.want {
			t.Errorf("MatchPath(%q) = %q, %v; want %q", c.raw, path, ok, c.want)
		}
		if plain := Plain([]byte(c.raw)); plain != (c.raw == c.want && c.raw[0] == '/') {
			t.Errorf("Plain(%q) = %v", c.raw, plain)
		}
	}
}

func TestMatchPathMemory(t *testing.T) {
	raw, scratch := []byte("/plain/path"), make([]byte, 0, 64)
	if path, _ := MatchPath(raw, scratch); &path[0] != &raw[0] {
		t.Error("a plain path is copied")
	}
	raw = []byte("/a%20b/../c")
	if path, _ := MatchPath(raw, scratch); &path[0] != &scratch[:1][0] {
		t.Error("scratch is not used")
	}
	if string(raw) != "/a%20b/../c" {
		t.Errorf("the path is changed: %q", raw)
	}
	if n := testing.AllocsPerRun(100, func() { MatchPath(raw, scratch) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMatchPrefix(t *testing.T) {
	for path, want := range map[string]string{"": "", "/": "", "/a": "/a", "/a/": "/a", "/a//b//": "/a/b", "//": ""} {
		if got := MatchPrefix(path); got != want {
			t.Errorf("MatchPrefix(%q) = %q, want %q", path, got, want)
		}
	}
}

// FuzzMatchPath holds what guards routes: a path is matched in one form only, and what is sent on reaches no other.
func FuzzMatchPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/x", "//a//", "/a%2Fb/c", "/a/./b/..", "/..;/", "/%41%zz", "/a//..//b/%20"} {
		f.Add(s)
	}
	rewriting := compile(f, "/a", api.RoutePolicy{Rewrite: "/v2"}, nil)
	plain := compile(f, "/a", api.RoutePolicy{}, nil)
	f.Fuzz(func(t *testing.T, raw string) {
		path, ok := MatchPath([]byte(raw), nil)
		if Plain([]byte(raw)) && (!ok || string(path) != raw) {
			t.Fatalf("plain path %q is matched as %q, %v", raw, path, ok)
		}
		if !ok || raw == "*" || raw == "" {
			return
		}
		if path[0] != '/' || bytes.Contains(path, []byte("//")) {
			t.Fatalf("%q is matched as %q", raw, path)
		}
		for segment := range strings.SplitSeq(string(path), "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("%q is matched as %q", raw, path)
			}
		}
		r := &http1.Request{Method: []byte("GET"), Target: []byte(raw), Path: []byte(raw)}
		sent := plain.AppendTarget(nil, r)
		if hasDots(sent) {
			t.Fatalf("%q is sent on as %q", raw, sent)
		}
		if again, ok := MatchPath(sent, nil); !ok || !bytes.Equal(again, path) {
			t.Fatalf("%q is matched as %q and sent on as %q, which is %q", raw, path, sent, again)
		}
		rest, below := bytes.CutPrefix(path, []byte("/a"))
		below = below && (len(rest) == 0 || rest[0] == '/')
		want := string(path)
		if below {
			want = "/v2" + string(rest)
		}
		sent = rewriting.AppendTarget(nil, r)
		if again, ok := MatchPath(sent, nil); !ok || string(again) != want {
			t.Fatalf("%q is matched as %q and rewritten to %q, which is %q", raw, path, sent, again)
		}
	})
}

func BenchmarkMatchPath(b *testing.B) {
	for name, raw := range map[string]string{"plain": "/api/v1/users/12345/orders", "escaped": "/api/v1/users/a%20b/orders"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			path, scratch := []byte(raw), make([]byte, 0, 128)
			for b.Loop() {
				MatchPath(path, scratch)
			}
		})
	}
}
