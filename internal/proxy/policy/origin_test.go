package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ikada/ikada/internal/proxy/http1"
)

func TestOrigin(t *testing.T) {
	trusts := func(a netip.Addr) bool { return netip.MustParsePrefix("10.0.0.0/8").Contains(a) }
	for _, c := range []struct {
		nearest string
		tls     bool
		fields  []string // "for VALUE", "proto VALUE"
		want    string
		wantTLS bool
	}{
		{"192.0.2.1", false, []string{"for 198.51.100.7", "proto https"}, "192.0.2.1", false},
		{"192.0.2.1", true, []string{"proto http"}, "192.0.2.1", true},
		{"10.0.0.1", true, nil, "10.0.0.1", true},
		{"10.0.0.1", false, []string{"for 198.51.100.7", "proto https"}, "198.51.100.7", true},
		{"10.0.0.1", true, []string{"for 198.51.100.7", "proto HTTP"}, "198.51.100.7", false},
		{"10.0.0.1", false, []string{"for 6.6.6.6, 198.51.100.7,10.0.0.2 , 10.0.0.3"}, "198.51.100.7", false},
		{"10.0.0.1", false, []string{"for 6.6.6.6", "for 198.51.100.7", "for 10.0.0.2"}, "198.51.100.7", false},
		{"10.0.0.1", false, []string{"for 198.51.100.7", "for 10.0.0.2, 2001:db8::1"}, "2001:db8::1", false},
		{"10.0.0.1", false, []string{"for 10.0.0.3, 10.0.0.2"}, "10.0.0.3", false},
		{"10.0.0.1", false, []string{"for 198.51.100.7:4711"}, "198.51.100.7", false},
		{"10.0.0.1", false, []string{"for [2001:db8::1]:4711"}, "2001:db8::1", false},
		{"10.0.0.1", false, []string{"for ::ffff:198.51.100.7"}, "198.51.100.7", false},
		{"10.0.0.1", false, []string{"for fe80::1%eth0"}, "fe80::1", false},
		{"10.0.0.1", false, []string{"for 198.51.100.7, unknown"}, "10.0.0.1", false},
		{"10.0.0.1", false, []string{"for 198.51.100.7, unknown, 10.0.0.2"}, "10.0.0.2", false},
		{"10.0.0.1", false, []string{"for "}, "10.0.0.1", false},
		{"10.0.0.1", false, []string{"for 198.51.100.7,"}, "10.0.0.1", false},
		{"10.0.0.1", false, []string{"for " + strings.Repeat("9", 100)}, "10.0.0.1", false},
		{"10.0.0.1", false, []string{"for 198.51.100.7" + strings.Repeat(",10.0.0.2", 100)}, "10.0.0.2", false},
		{"10.0.0.1", false, []string{"proto https, http"}, "10.0.0.1", true},
		{"10.0.0.1", false, []string{"proto https", "proto http"}, "10.0.0.1", false},
	} {
		var fields []http1.Field
		for _, f := range c.fields {
			kind, value, _ := strings.Cut(f, " ")
			fields = append(fields, http1.Field{Kind: map[string]http1.Kind{"for": http1.XForwardedFor, "proto": http1.XForwardedProto}[kind], Value: []byte(value)})
		}
		got := Origin(netip.MustParseAddr(c.nearest), c.tls, fields, trusts)
		if got.Addr != netip.MustParseAddr(c.want) || got.TLS != c.wantTLS {
			t.Errorf("%s with %q: %+v, want %s %v", c.nearest, c.fields, got, c.want, c.wantTLS)
		}
	}
}

// TestOriginOfStrangersIsFree holds that the usual request pays nothing for what only proxies ask for.
func TestOriginOfStrangersIsFree(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	fields := []http1.Field{{Kind: http1.XForwardedFor, Value: []byte("198.51.100.7")}}
	if n := testing.AllocsPerRun(100, func() { Origin(addr, false, fields, func(netip.Addr) bool { return false }) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
