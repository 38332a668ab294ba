package inside

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/ikada/ikada/api"
)

func TestLocalNames(t *testing.T) {
	for name, want := range map[string]bool{
		"web.": true, "web.3.": true, "web": true, "example.com.": false, "tasks.web.": false, ".": false, "1.2.3.4.": true,
	} {
		if got := local(name); got != want {
			t.Errorf("local(%q) = %v, want %v", name, got, want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"web.", "tasks.web.", "2.0.99.10.in-addr.arpa.", "api.", "3.0.98.10.in-addr.arpa.", "nobody.3.", "."} {
		b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	subnet := netip.MustParsePrefix("10.99.0.0/24")
	asker, other := netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("10.99.0.3")
	s := &answerer{outside: forwarder{path: "/nonexistent"}, slots: make(chan struct{}, 1)}
	s.directory.Store(NewDirectory(Bridge{Subnet: subnet, Gateway: subnet.Addr().Next(), Services: netip.MustParsePrefix("10.98.0.0/24"), Hosts: []Host{
		{ID: "a", Address: asker, Ready: true, Networks: []Membership{{"x/prod/n", []string{"web", "web.1"}}}},
		{ID: "b", Address: other, Ready: true, Networks: []Membership{{"y/prod/n", []string{"hidden", "hidden.1"}}}},
	}}, []api.Inside{
		{Address: "10.98.0.2", EnvRef: api.EnvRef{App: "x", Env: "prod"}, Service: "api", Names: []string{"api"}, Networks: []string{"n"}},
		{Address: "10.98.0.3", EnvRef: api.EnvRef{App: "y", Env: "prod"}, Service: "hidden", Names: []string{"hidden"}, Networks: []string{"n"}},
	}))
	foreign := func(rr dns.RR) bool {
		a, ok := rr.(*dns.A)
		return ok && (a.A.Equal(other.AsSlice()) || a.A.Equal(net.IPv4(10, 98, 0, 3)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q := new(dns.Msg)
		if q.Unpack(b) != nil {
			return
		}
		reply := s.answer(context.Background(), asker, q, true)
		if reply == nil {
			if !q.Response {
				t.Fatalf("no reply to %v", q)
			}
			return
		}
		if reply.Id != q.Id || !reply.Response {
			t.Fatalf("%v is no reply to %v", reply, q)
		}
		reply.Truncate(answerLimit(q))
		if reply.Len() > maxUDPAnswer && len(reply.Answer) > 0 {
			t.Fatalf("reply of %d bytes", reply.Len())
		}
		if slices.ContainsFunc(reply.Answer, foreign) || strings.Contains(reply.String(), "hidden.") && len(reply.Answer) > 0 {
			t.Fatalf("a stranger's address or name is told: %v", reply)
		}
		if _, err := reply.Pack(); err != nil {
			if _, again := q.Pack(); again == nil {
				t.Fatalf("reply cannot be packed: %v", err)
			}
		}
	})
}
