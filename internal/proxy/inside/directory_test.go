package inside

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ikada/ikada/api"
)

func host(id, addr string, ready bool, networks ...Membership) Host {
	return Host{ID: id, Networks: networks, Address: netip.MustParseAddr(addr), Ready: ready}
}

func in(network string, names ...string) Membership {
	return Membership{Network: network, Names: names}
}

// shop is two environments with services that have virtual addresses, and a task of a service that has none.
func shop() *Directory {
	prod := api.EnvRef{App: "a", Env: "p"}
	return NewDirectory(Bridge{
		Subnet: netip.MustParsePrefix("10.0.0.0/24"), Services: netip.MustParsePrefix("10.1.0.0/24"),
		Hosts: []Host{
			host("w1", "10.0.0.2", true, in("a/p/front", "web", "web.1", "www.example", "old")),
			host("w2", "10.0.0.3", true, in("a/p/front", "Web", "web.2")),
			host("db", "10.0.0.4", true, in("a/p/back", "db", "db.1")),
			host("api", "10.0.0.5", false, in("a/p/front", "api", "api.1"), in("a/p/back", "api", "api.1", "center")),
			host("other", "10.0.0.6", true, in("b/p/front", "web", "secret")),
			host("build", "10.0.0.7", false),
		},
	}, []api.Inside{
		{Address: "10.1.0.5", EnvRef: prod, Service: "api", Names: []string{"api"}, Networks: []string{"back", "front"},
			Aliases: map[string][]string{"back": {"Center"}}},
		{Address: "10.1.0.6", EnvRef: prod, Service: "idle", Names: []string{"idle"}, Networks: []string{"front"},
			Aliases: map[string][]string{"front": {"api"}}},
		{Address: "10.1.0.7", EnvRef: prod, Service: "cache", Names: []string{"cache"}, Networks: []string{"elsewhere"}},
		{Address: "no address", EnvRef: prod, Service: "web", Names: []string{"web"}, Networks: []string{"front"}},
	})
}

func TestResolve(t *testing.T) {
	d := shop()
	for _, c := range []struct{ asker, name, want string }{
		{"10.0.0.2", "web", "[10.0.0.2 10.0.0.3] true"},
		{"10.0.0.2", "WEB.", "[10.0.0.2 10.0.0.3] true"},
		{"10.0.0.2", "web.2", "[10.0.0.3] true"},
		{"10.0.0.2", "tasks.web", "[10.0.0.2 10.0.0.3] true"},
		{"10.0.0.2", "www.example", "[10.0.0.2] true"},
		{"10.0.0.2", "idle", "[10.1.0.6] true"}, // no task at all
		{"10.0.0.2", "api", "[10.1.0.5 10.1.0.6] true"},
		{"10.0.0.4", "api", "[10.1.0.5] true"}, // the other's alias is of another network
		{"10.0.0.2", "api.1", "[] true"},       // known, not ready
		{"10.0.0.2", "tasks.api", "[] true"},   // likewise
		{"10.0.0.2", "tasks.idle", "[] false"}, // no task was ever there
		{"10.0.0.2", "center", "[] false"},     // an alias of another network
		{"10.0.0.4", "CENTER", "[10.1.0.5] true"},
		{"10.0.0.2", "db", "[] false"},
		{"10.0.0.2", "cache", "[] false"},
		{"10.0.0.2", "secret", "[] false"},
		{"10.0.0.5", "db", "[10.0.0.4] true"},
		{"10.0.0.6", "web", "[10.0.0.6] true"},
		{"10.0.0.6", "api", "[] false"},
		{"10.0.0.7", "web", "[] false"},
		{"10.0.0.7", "api", "[] false"},
		{"10.9.9.9", "web", "[] false"},
	} {
		addrs, known := d.Resolve(netip.MustParseAddr(c.asker), c.name)
		if got := fmt.Sprint(addrs, known); got != c.want {
			t.Errorf("Resolve(%s, %s) = %s, want %s", c.asker, c.name, got, c.want)
		}
	}
}

func TestReverse(t *testing.T) {
	d := shop()
	for _, c := range []struct{ asker, addr, want string }{
		{"10.0.0.3", "10.0.0.2", "web.1"},
		{"10.0.0.2", "10.0.0.3", "web.2"},
		{"10.0.0.2", "10.0.0.5", "api.1"},
		{"10.0.0.2", "10.1.0.5", "api"},
		{"10.0.0.2", "10.1.0.7", ""},
		{"10.0.0.6", "10.1.0.5", ""},
		{"10.0.0.6", "10.0.0.2", ""},
		{"10.0.0.7", "10.0.0.2", ""},
		{"10.0.0.2", "10.0.0.9", ""},
		{"10.9.9.9", "10.0.0.2", ""},
	} {
		got, ok := d.Reverse(netip.MustParseAddr(c.asker), netip.MustParseAddr(c.addr))
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s knows %s as %q (%v), want %q", c.asker, c.addr, got, ok, c.want)
		}
	}
}

func TestServersOf(t *testing.T) {
	d := shop()
	h := host("x", "10.0.0.4", true, in("a/p/back"))
	if got := d.serversOf(&h); got != nil {
		t.Errorf("one that chose none asks %q", got)
	}
	for _, a := range []string{"192.0.2.1", "10.0.0.5", "10.0.0.6", "10.1.0.5"} {
		h.Servers = append(h.Servers, netip.MustParseAddr(a))
	}
	if got := fmt.Sprint(d.serversOf(&h)); got != "[192.0.2.1:53 10.0.0.5:53]" {
		t.Errorf("servers = %s", got)
	}
	h.Servers = h.Servers[2:3]
	if got := d.serversOf(&h); got == nil || len(got) != 0 {
		t.Errorf("one whose only server is out of its reach asks %q, want none", got)
	}
}
