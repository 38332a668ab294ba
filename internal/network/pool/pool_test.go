package pool

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

func TestTakeAllThenExhausted(t *testing.T) {
	p, err := New(netip.MustParsePrefix("10.1.2.8/29"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 5 {
		a, err := p.Take()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.String())
	}
	if s := strings.Join(got, " "); s != "10.1.2.10 10.1.2.11 10.1.2.12 10.1.2.13 10.1.2.14" {
		t.Fatalf("took %s", s)
	}
	_, err = p.Take()
	if !api.IsKind(err, api.Exhausted) || !strings.Contains(err.Error(), "10.1.2.8/29") {
		t.Fatalf("error = %v, want Exhausted naming the subnet", err)
	}
}

func TestReuseIsLeastRecentFirst(t *testing.T) {
	p, _ := New(netip.MustParsePrefix("10.1.2.0/29"))
	a, _ := p.Take() // .2
	b, _ := p.Take() // .3
	p.Give(b)
	p.Give(a)
	p.Give(a) // twice is once
	want := []string{"10.1.2.4", "10.1.2.5", "10.1.2.6", "10.1.2.3", "10.1.2.2"}
	for _, w := range want {
		if got, err := p.Take(); err != nil || got.String() != w {
			t.Fatalf("took %v (%v), want %s", got, err, w)
		}
	}
	if p.Held() != 5 {
		t.Fatalf("held %d, want 5", p.Held())
	}
}

func TestClaim(t *testing.T) {
	p, _ := New(netip.MustParsePrefix("10.1.2.0/29"))
	for addr, want := range map[string]bool{
		"10.1.2.0": false, "10.1.2.1": false, "10.1.2.7": false, "10.1.3.2": false, "10.1.2.4": true,
	} {
		if got := p.Claim(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Claim(%s) = %v, want %v", addr, got, want)
		}
	}
	if p.Claim(netip.MustParseAddr("10.1.2.4")) {
		t.Error("claimed the same address twice")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, s := range []string{"fd00::/64", "10.0.0.0/31", "10.0.0.0/8"} {
		if _, err := New(netip.MustParsePrefix(s)); !api.IsKind(err, api.Invalid) {
			t.Errorf("New(%s) = %v, want Invalid", s, err)
		}
	}
	if _, err := New(netip.Prefix{}); !api.IsKind(err, api.Invalid) {
		t.Errorf("New of nothing = %v, want Invalid", err)
	}
}
