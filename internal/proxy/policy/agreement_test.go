package policy

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestWhatIsTakenCompiles holds that the balancer serves every policy that the API takes: one that does not compile
// would leave its route closed after a deployment that was taken.
func TestWhatIsTakenCompiles(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	one := func(list ...string) string { return list[random.IntN(len(list))] }
	number := func(list ...int) int { return list[random.IntN(len(list))] }
	span := func() api.Duration {
		return []api.Duration{0, 0, 1, -1, api.Duration(time.Millisecond), api.Duration(time.Second), api.Duration(time.Minute), api.Duration(24 * time.Hour), 1 << 62}[random.IntN(9)]
	}
	paths := []string{
		"", "", "/", "/a", "/a/", "//", "//b", "/a b", "/a%20b", "/a%2", "/a%2Fb", "/a/../b", "/a/%2e%2E/b", "/a/.;x", "/a%2f..", "/..a", "/a..",
		"/ä", "/a\\b", "/a\x00", "/a?b", "a", "/*", "/a;b=c", "/~{}|^`\"<>",
	}
	words := []string{"", "a", "A-b", "a b", "x\r\ny", "*", "host", "Content-Length", "ä", "\x7f", " a", "a\tb", strings.Repeat("a", 70), strings.Repeat("b", 2000)}
	hash := "abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde"
	taken := 0
	for range 50_000 {
		var p api.RoutePolicy
		for range 1 + random.IntN(3) {
			switch random.IntN(10) {
			case 0:
				p.Methods = []string{one("GET", "POST", "get", "M-SEARCH", "A_B", "CONNECT", "", "A B"), one("PUT", "GET")}
			case 1:
				p.Headers = map[string]string{one(words...): one(words...)}
			case 2:
				p.Rewrite = one(paths...)
			case 3:
				p.Redirect = &api.Redirect{
					Scheme: one("", "http", "https", "ftp"), Path: one(paths...), Status: number(0, 301, 308, 304, 200),
					Host: one("", "a.com", "a_b.c-d", "a.com:443", "a.com:0", "a.com:65536", "[::1]", "[::]:80", "[::1", "[::ffff:1.2.3.4]", "[fe80::1%25eth0]", "::1", "a b", "-a", "a.", "1.2.3.4:1", strings.Repeat("a.", 130)+"b"),
				}
			case 4:
				p.Timeout, p.IdleTimeout, p.MaxBody = span(), span(), int64(number(0, 1, -1, 1<<62))
			case 5:
				p.Sticky = &api.Sticky{Cookie: one(words...), MaxAge: span()}
			case 6:
				p.RateLimit = &api.RateLimit{
					Requests: number(0, 1, 7, 1_000_000, 1_000_001, -1), Per: span(), Burst: number(0, 0, 1, 365, 366, 1_000_000, 1<<62),
					By: one("", "client", "route", "header:X-Key", "header:", "header:a b", "user"),
				}
			case 7:
				p.BasicAuth = map[string]string{one(words...): one("$2a$", "$2b$", "$2y$", "$2x$", "$1$") + one("04", "10", "14", "15", "03", "99") + "$" + hash + one("", "", "x")}
			case 8:
				p.Maintenance = &api.Maintenance{Status: number(0, 200, 503, 599, 204, 304, 100, 600), Body: one("", " ", "<p>", "text", "\xff"), RetryAfter: span()}
			case 9:
				p.Compress = true
			}
		}
		route := api.RouteSpec{Host: "example.com", Path: one(paths...), RoutePolicy: p}
		spec := api.AppSpec{App: "a", Env: "b", Services: map[string]api.ServiceSpec{"web": {Image: "i", Routes: []api.RouteSpec{route}}}}
		if spec.Validate() != nil {
			continue
		}
		taken++
		if _, err := Compile(route.Path, p, nil); err != nil {
			t.Fatalf("%+v is taken, and then: %v", route, err)
		}
	}
	if taken < 3_000 {
		t.Errorf("only %d of 50000 policies were taken", taken)
	}
}
