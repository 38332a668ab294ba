package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

// request reads a request of a line such as "GET /x" and of field lines. HTTP/1.0 lets it do without Host.
func request(t testing.TB, line string, fields ...string) *http1.Request {
	t.Helper()
	version := " HTTP/1.1"
	if !strings.Contains("\r\n"+strings.ToLower(strings.Join(fields, "\r\n")), "\r\nhost:") {
		version = " HTTP/1.0"
	}
	var r http1.Request
	head := strings.Join(append([]string{line + version}, fields...), "\r\n") + "\r\n\r\n"
	if err := r.Parse([]byte(head)); err != nil {
		t.Fatalf("request %q: %v", head, err)
	}
	return &r
}

// response reads a response to GET of a status and field lines; its body has 5000 bytes unless they say otherwise.
func response(t testing.TB, status string, fields ...string) *http1.Response {
	t.Helper()
	lower := strings.ToLower(strings.Join(fields, "\r\n"))
	if !strings.Contains(lower, "content-length:") && !strings.Contains(lower, "transfer-encoding:") {
		fields = append(fields, "Content-Length: 5000")
	}
	var r http1.Response
	head := strings.Join(append([]string{"HTTP/1.1 " + status}, fields...), "\r\n") + "\r\n\r\n"
	if err := r.Parse([]byte(head), false); err != nil {
		t.Fatalf("response %q: %v", head, err)
	}
	return &r
}

func compile(t testing.TB, prefix string, p api.RoutePolicy, old *Policy) *Policy {
	t.Helper()
	n, err := Compile(prefix, p, old)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// from gives a client at an address, in the clear.
func from(addr string) Client { return Client{Addr: netip.MustParseAddr(addr)} }

// field gives the value of an answer's field, "" when it has none.
func (a *Answer) field(name string) string {
	for _, f := range a.Fields {
		if f[0] == name {
			return f[1]
		}
	}
	return ""
}

func (a *Answer) status() int {
	if a == nil {
		return 0
	}
	return a.Status
}
