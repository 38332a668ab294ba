package network

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
)

// plantedPort is the client's port of flows that no datagram made: whether they go shows whether the kernel's flows
// were looked through.
const plantedPort = 4242

// plant has the kernel track a flow of datagrams from a task to a service, answered by another task.
func plant(t *testing.T, from agent.Attachment, s api.Inside, by agent.Attachment) {
	t.Helper()
	client, service, task := netip.MustParseAddr(from.Address), addressOf(s), netip.MustParseAddr(by.Address)
	port := uint16(service.As4()[3]) // the answers of two flows may not look the same
	err := netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
		FamilyType: unix.AF_INET, TimeOut: 60,
		Forward: netlink.IPTuple{SrcIP: client.AsSlice(), SrcPort: plantedPort, DstIP: service.AsSlice(), DstPort: port, Protocol: unix.IPPROTO_UDP},
		Reverse: netlink.IPTuple{SrcIP: task.AsSlice(), SrcPort: port, DstIP: client.AsSlice(), DstPort: plantedPort, Protocol: unix.IPPROTO_UDP},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// planted gives who answers the planted flow of a service, "" when it is gone.
func planted(t *testing.T, s api.Inside) string {
	t.Helper()
	all, err := dump(func() ([]*netlink.ConntrackFlow, error) {
		return netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.Forward.Protocol == unix.IPPROTO_UDP && f.Forward.SrcPort == plantedPort && f.Forward.DstIP.String() == s.Address {
			return f.Reverse.SrcIP.String()
		}
	}
	return ""
}

// settle exposes services and waits until all that follows is done.
func settle(t *testing.T, n *Network, services ...api.Inside) {
	t.Helper()
	expose(t, n, services...)
	for range 3000 {
		n.exposing.Lock()
		done := reflect.DeepEqual(n.settled, n.exposed)
		n.exposing.Unlock()
		if done {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("what is exposed does not get settled")
}

func TestFlowsAreLookedThroughOnlyAfterDatagrams(t *testing.T) {
	n := open(t, nil)
	web := attachTask(t, n, "web", "a/prod/front")
	one, two := attachTask(t, n, "one", "a/prod/front"), attachTask(t, n, "two", "a/prod/front")
	echo(t, one, 53, "one")
	echo(t, two, 53, "two")
	silent := func(to ...agent.Attachment) api.Inside {
		return service(n, 1, "silent", "a/prod", []string{"front"}, to...)
	}
	spoken := func(to ...agent.Attachment) api.Inside {
		return service(n, 2, "spoken", "a/prod", []string{"front"}, to...)
	}
	begin := func() {
		t.Helper()
		settle(t, n, silent(one, two), spoken(one, two))
	}
	change := func(spokenTo agent.Attachment, wantSilent, wantSpoken string) {
		t.Helper()
		plant(t, web, silent(), one)
		plant(t, web, spoken(), spokenTo)
		settle(t, n, silent(two), spoken(two))
		if got := planted(t, silent()); got != wantSilent {
			t.Errorf("the flow to the service without datagrams is answered by %q, want %q", got, wantSilent)
		}
		if got := planted(t, spoken()); got != wantSpoken {
			t.Errorf("the flow to the service with datagrams is answered by %q, want %q", got, wantSpoken)
		}
		if err := n.deleteListed([]flows{{service: addressOf(silent())}, {service: addressOf(spoken())}}); err != nil {
			t.Fatal(err)
		}
		if planted(t, silent()) != "" || planted(t, spoken()) != "" {
			t.Fatal("flows are left that were listed and deleted")
		}
	}

	begin()
	change(one, one.Address, one.Address) // nobody has sent a datagram yet

	begin()
	if got := say(t, client(t, web, spoken().Address, 53), arrives); got == "" {
		t.Fatal("no answer")
	}
	change(one, one.Address, "")
	begin()
	change(two, one.Address, two.Address)

	n = reopen(t, n)
	begin()
	change(one, one.Address, "")

	settle(t, n, silent(one, two)) // when a service ends, so does what is known of it
	begin()
	change(one, one.Address, one.Address)

	begin() // a datagram while nobody writes down what is known
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if got := say(t, client(t, web, spoken().Address, 53), arrives); got == "" {
		t.Fatal("no answer while the network is closed")
	}
	n = reopen(t, n)
	change(one, one.Address, "")

	begin() // after the tables were removed it is not known what flows there are
	if err := deleteTables(n.tableName(), n.BridgeName()); err != nil {
		t.Fatal(err)
	}
	if got := n.firewall.askedOf([]netip.Addr{addressOf(silent())}); len(got) != 1 {
		t.Errorf("asked for without tables: %v, want every address", got)
	}
	if restored, err := n.firewall.restore(); !restored || err != nil {
		t.Fatalf("restored = %v, %v", restored, err)
	}
	change(one, "", "")
}

func addressOf(s api.Inside) netip.Addr { return netip.MustParseAddr(s.Address) }

func TestOutdatedFlows(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	to := func(targets ...netip.Addr) virtual { return virtual{Targets: targets} }
	for name, k := range map[string]struct {
		before, after map[netip.Addr]virtual
		want          []flows
	}{
		"new":       {nil, map[netip.Addr]virtual{a: to(b)}, nil},
		"more":      {map[netip.Addr]virtual{a: to(b)}, map[netip.Addr]virtual{a: to(b, c)}, nil},
		"first":     {map[netip.Addr]virtual{a: to()}, map[netip.Addr]virtual{a: to(b)}, nil},
		"one less":  {map[netip.Addr]virtual{a: to(b, c)}, map[netip.Addr]virtual{a: to(c)}, []flows{{a, b}}},
		"exchanged": {map[netip.Addr]virtual{a: to(b)}, map[netip.Addr]virtual{a: to(c)}, []flows{{a, b}}},
		"none left": {map[netip.Addr]virtual{a: to(b, c)}, map[netip.Addr]virtual{a: to()}, []flows{{a, b}, {a, c}}},
		"ended":     {map[netip.Addr]virtual{a: to(b)}, nil, []flows{{service: a}}},
	} {
		if got := outdated(k.before, k.after)[a]; !reflect.DeepEqual(got, k.want) {
			t.Errorf("%s: %v, want %v", name, got, k.want)
		}
	}
}
