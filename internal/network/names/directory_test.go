package names

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ikada/ikada/internal/agent"
)

func entry(id, addr string, ready bool, networks ...agent.Member) Entry {
	return Entry{
		Endpoint: agent.Endpoint{ID: id, Networks: networks}, Address: netip.MustParseAddr(addr), Ready: ready,
	}
}

func in(network string, names ...string) agent.Member {
	return agent.Member{Network: network, Names: names}
}

func TestResolve(t *testing.T) {
	var d Directory
	d.Put(entry("w1", "10.0.0.2", true, in("a/p/front", "web", "web.1", "www")))
	d.Put(entry("w2", "10.0.0.3", true, in("a/p/front", "Web", "web.2")))
	d.Put(entry("db", "10.0.0.4", true, in("a/p/back", "db", "db.1")))
	d.Put(entry("api", "10.0.0.5", false, in("a/p/front", "api"), in("a/p/back", "api")))
	d.Put(entry("other", "10.0.0.6", true, in("b/p/front", "web", "secret")))
	d.Put(entry("build", "10.0.0.7", false))
	for _, c := range []struct{ asker, name, want string }{
		{"10.0.0.2", "web", "[10.0.0.2 10.0.0.3] true"},
		{"10.0.0.2", "WEB.", "[10.0.0.2 10.0.0.3] true"},
		{"10.0.0.2", "web.2", "[10.0.0.3] true"},
		{"10.0.0.2", "tasks.web", "[10.0.0.2 10.0.0.3] true"},
		{"10.0.0.2", "www", "[10.0.0.2] true"},
		{"10.0.0.2", "db", "[] false"},
		{"10.0.0.2", "secret", "[] false"},
		{"10.0.0.2", "api", "[] true"}, // known, not ready
		{"10.0.0.5", "db", "[10.0.0.4] true"},
		{"10.0.0.6", "web", "[10.0.0.6] true"},
		{"10.0.0.7", "web", "[] false"},
		{"10.9.9.9", "web", "[] false"},
	} {
		addrs, known := d.Resolve(netip.MustParseAddr(c.asker), c.name)
		if got := fmt.Sprint(addrs, known); got != c.want {
			t.Errorf("Resolve(%s, %s) = %s, want %s", c.asker, c.name, got, c.want)
		}
	}
}

func TestReadyReplaceRemove(t *testing.T) {
	var d Directory
	asker := netip.MustParseAddr("10.0.0.2")
	d.Put(entry("w1", "10.0.0.2", false, in("n", "web")))
	if _, changed := d.SetReady("w1", true); !changed {
		t.Error("first SetReady changed nothing")
	}
	if _, changed := d.SetReady("w1", true); changed {
		t.Error("second SetReady changed something")
	}
	if _, changed := d.SetReady("nobody", true); changed {
		t.Error("SetReady of an unknown ID changed something")
	}
	if a, _ := d.Resolve(asker, "web"); len(a) != 1 {
		t.Fatalf("ready endpoint not found: %v", a)
	}
	d.Put(entry("w1", "10.0.0.2", true, in("n", "app")))
	if _, known := d.Resolve(asker, "web"); known {
		t.Error("old name is still known after a replacement")
	}
	d.Remove("w1")
	d.Remove("w1")
	if _, ok := d.At(asker); ok || len(d.IDs()) != 0 || len(d.byName) != 0 {
		t.Error("entry left after Remove")
	}
}

func TestReverseAndShare(t *testing.T) {
	var d Directory
	d.Put(entry("w1", "10.0.0.2", true, in("n", "web", "web.1", "www.example")))
	d.Put(entry("w2", "10.0.0.3", true, in("n", "web")))
	d.Put(entry("x", "10.0.0.4", true, in("m", "web")))
	a, b, c := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")
	if n, ok := d.Reverse(b, a); n != "web.1" || !ok {
		t.Errorf("Reverse = %q, %v", n, ok)
	}
	if n, ok := d.Reverse(a, b); n != "web" || !ok {
		t.Errorf("Reverse = %q, %v", n, ok)
	}
	if n, ok := d.Reverse(c, a); ok {
		t.Errorf("a stranger learnt the name %q", n)
	}
	if !d.Share(a, b) || d.Share(a, c) || !d.Share(c, c) || d.Share(a, netip.MustParseAddr("10.0.0.9")) {
		t.Error("Share is wrong")
	}
}
