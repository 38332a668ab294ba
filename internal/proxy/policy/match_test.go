package policy

import (
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

func TestMatch(t *testing.T) {
	beta := api.RequestMatch{Headers: map[string]string{"X-Beta": "1"}}
	cookie := api.RequestMatch{Cookies: map[string]string{"lane": "new"}}
	for _, c := range []struct {
		name  string
		match api.RequestMatch
		head  string
		want  bool
	}{
		{"no such header", beta, "", false},
		{"header", beta, "x-beta: 1\r\n", true},
		{"other value", beta, "X-Beta: 10\r\n", false},
		{"second field", beta, "X-Beta: 0\r\nX-BETA: 1\r\n", true},
		{"any value", api.RequestMatch{Headers: map[string]string{"X-Beta": "*"}}, "X-Beta:\r\n", true},
		{"no cookie", cookie, "", false},
		{"cookie", cookie, "Cookie: lane=new\r\n", true},
		{"among others", cookie, "Cookie: a=b; lane=new;c=d\r\n", true},
		{"second of a name", cookie, "Cookie: lane=old; lane=new\r\n", true},
		{"longer name", cookie, "Cookie: xlane=new; lanes=new\r\n", false},
		{"other case", cookie, "Cookie: Lane=new\r\n", false},
		{"any cookie", api.RequestMatch{Cookies: map[string]string{"lane": "*"}}, "Cookie: lane=\r\n", true},
		{"both, one is missing", api.RequestMatch{Headers: beta.Headers, Cookies: cookie.Cookies}, "X-Beta: 1\r\n", false},
		{"both", api.RequestMatch{Headers: beta.Headers, Cookies: cookie.Cookies}, "X-Beta: 1\r\nCookie: lane=new\r\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, "GET /", strings.FieldsFunc(c.head, func(r rune) bool { return r == '\r' || r == '\n' })...)
			if got := CompileMatch(c.match).Takes(r); got != c.want {
				t.Errorf("takes it: %v, want %v", got, c.want)
			}
		})
	}
}
