package policy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

func sticky(t testing.TB, s api.Sticky) *Policy {
	t.Helper()
	return compile(t, "/", api.RoutePolicy{Sticky: &s}, nil)
}

// TestTaskKeyIsTheSameEverywhere pins the hash: balancers of other versions must find the same task.
func TestTaskKeyIsTheSameEverywhere(t *testing.T) {
	if got, want := TaskKey("t-1"), "d7714bfc96db14b0792cb2df"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if TaskKey("t-1") == TaskKey("t-2") {
		t.Error("two tasks have one key")
	}
}

func TestStickyCookie(t *testing.T) {
	key := TaskKey("t-1")
	for _, c := range []struct {
		name   string
		sticky api.Sticky
		tls    bool
		want   string
	}{
		{"default", api.Sticky{}, false, "ikada_task=" + key + "; Path=/; HttpOnly; SameSite=Lax"},
		{"tls", api.Sticky{}, true, "ikada_task=" + key + "; Path=/; HttpOnly; SameSite=Lax; Secure"},
		{
			"name and age", api.Sticky{Cookie: "at", MaxAge: api.Duration(time.Hour)}, false,
			"at=" + key + "; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax",
		},
	} {
		p := sticky(t, c.sticky)
		got := p.StickyCookie("t-1", c.tls)
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if !p.Sticks() {
			t.Errorf("%s: does not stick", c.name)
		}
		// What a browser makes of it comes back as the same task.
		set, err := http.ParseSetCookie(got)
		if err != nil {
			t.Fatal(err)
		}
		if back := p.StickyTask(request(t, "GET /", "Cookie: a=b; "+set.Name+"="+set.Value)); back != key {
			t.Errorf("%s: comes back as %q", c.name, back)
		}
	}
	if p := compile(t, "/", api.RoutePolicy{}, nil); p.Sticks() || p.StickyCookie("t-1", true) != "" ||
		p.StickyTask(request(t, "GET /", "Cookie: ikada_task="+key)) != "" {
		t.Error("a route that is not sticky is")
	}
}

func TestStickyTask(t *testing.T) {
	p, key, other := sticky(t, api.Sticky{}), TaskKey("a"), TaskKey("b")
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{nil, ""},
		{[]string{"Cookie: ikada_task=" + key}, key},
		{[]string{"Cookie: a=b;ikada_task=" + key + ";c=d"}, key},
		{[]string{"Cookie: a=b", "cookie:  ikada_task=" + key + " "}, key},
		{[]string{"Cookie: ikada_task=" + key + "; ikada_task=" + other}, key},
		{[]string{"Cookie: ikada_task=gone; ikada_task=" + key}, key},
		{[]string{"Cookie: ikada_task=gone", "Cookie: ikada_task=" + key}, key},
		{[]string{"Cookie: ikada_tasks=" + key}, ""},
		{[]string{"Cookie: Ikada_task=" + key}, ""},
		{[]string{"Cookie: x=ikada_task=" + key}, ""},
		{[]string{"Cookie: ikada_task=" + strings.ToUpper(key)}, ""},
		{[]string{"Cookie: ikada_task=" + key + "0"}, ""},
		{[]string{"Cookie: ikada_task=" + key[1:]}, ""},
		{[]string{"Cookie: ikada_task=", "Cookie: ikada_task", "Cookie: ;;=;"}, ""},
		{[]string{"X-Cookie: ikada_task=" + key}, ""},
	} {
		if got := p.StickyTask(request(t, "GET /", c.fields...)); got != c.want {
			t.Errorf("%q: %q, want %q", c.fields, got, c.want)
		}
	}
}

// FuzzStickyTask holds that what a client sends is taken for a key only when it is one, and that one at the end of any
// list of cookies is found, unless another came first.
func FuzzStickyTask(f *testing.F) {
	f.Add("a=b; c=d")
	f.Add("ikada_task=x; ikada_task=0123456789abcdef01234567")
	f.Add(";;=;\" ikada_task")
	p, key := sticky(f, api.Sticky{}), TaskKey("a")
	f.Fuzz(func(t *testing.T, cookies string) {
		r := &http1.Request{Fields: []http1.Field{{Kind: http1.Cookie, Value: []byte(cookies)}}}
		got := p.StickyTask(r)
		if got != "" && (!taskKey([]byte(got)) || !strings.Contains(cookies, "ikada_task="+got)) {
			t.Fatalf("%q gives %q", cookies, got)
		}
		r.Fields[0].Value = []byte(cookies + "; ikada_task=" + key)
		want := got
		if want == "" {
			want = key
		}
		if again := p.StickyTask(r); again != want {
			t.Fatalf("%q gives %q, want %q", r.Fields[0].Value, again, want)
		}
	})
}
