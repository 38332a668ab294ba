package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/network/networktest"
)

func TestTasksReachEachOtherOnlyWithinANetwork(t *testing.T) {
	n := open(t, nil)
	internal := networktest.Endpoint("inner", "inner", "a/prod/back")
	internal.Internal = true
	tasks := map[string]agent.Attachment{
		"web":     attachTask(t, n, "web", "a/prod/front"),
		"mid":     attachTask(t, n, "mid", "a/prod/front", "a/prod/back"),
		"db":      attachTask(t, n, "db", "a/prod/back"),
		"inner":   attach(t, n, internal),
		"staging": attachTask(t, n, "staging", "a/staging/front"),
	}
	build, err := n.AttachBuild(t.Context(), "build")
	if err != nil {
		t.Fatal(err)
	}
	tasks["build"] = build
	ports := map[string]uint16{}
	for name, a := range tasks {
		ports[name] = serve(t, a.Netns, a.Address+":0")
	}
	share := map[[2]string]bool{
		{"web", "mid"}: true, {"mid", "db"}: true, {"mid", "inner"}: true, {"db", "inner"}: true,
	}
	barred := attempts{t: t}
	for from, a := range tasks {
		for to, b := range tasks {
			switch {
			case from == to:
			case share[[2]string{from, to}] || share[[2]string{to, from}]:
				if seen := reach(t, a, b.Address, ports[to]); seen != a.Address {
					t.Errorf("%s sees %s as %s, want %s", to, from, seen, a.Address)
				}
			default:
				barred.fail(a, b.Address, ports[to])
			}
		}
	}
	barred.Wait()
	// The node itself, as its balancer, reaches all of them.
	for name, a := range tasks {
		c, err := net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", a.Address, ports[name]), 5*time.Second)
		if err != nil {
			t.Errorf("the node does not reach %s: %v", name, err)
			continue
		}
		_ = c.Close()
	}
}

// A task may be given NET_ADMIN: neither another source address nor the gateway as a router gets it elsewhere.
func TestNoWayAroundIsolation(t *testing.T) {
	n := open(t, nil)
	a, b := attachTask(t, n, "a", "x/prod/default"), attachTask(t, n, "b", "y/prod/default")
	friend := attachTask(t, n, "friend", "y/prod/default")
	port := serve(t, b.Netns, b.Address+":0")
	reach(t, friend, b.Address, port)

	err := entered(t, a.Netns, func() error {
		dst := &net.IPNet{IP: net.ParseIP(b.Address), Mask: net.CIDRMask(32, 32)}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: n.gateway.AsSlice()})
	})
	if err != nil {
		t.Fatal(err)
	}
	cannotReach(t, a, b.Address, port)

	if err := n.Detach(t.Context(), "friend"); err != nil {
		t.Fatal(err)
	}
	err = entered(t, a.Netns, func() error { // the address that was allowed to
		l, err := netlink.LinkByName(taskInterface)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(fmt.Sprintf("%s/%d", friend.Address, n.subnet.Bits()))
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
		own, err := netlink.ParseAddr(fmt.Sprintf("%s/%d", a.Address, n.subnet.Bits()))
		if err != nil {
			return err
		}
		return netlink.AddrDel(l, own)
	})
	if err != nil {
		t.Fatal(err)
	}
	cannotReach(t, a, b.Address, port)
	cannotReach(t, a, n.gateway.String(), 53)
}

func TestNoIPv6BetweenTasks(t *testing.T) {
	n := open(t, nil)
	a, b := attachTask(t, n, "a", "x/prod/default"), attachTask(t, n, "b", "x/prod/default")
	for i, task := range []agent.Attachment{a, b} {
		err := entered(t, task.Netns, func() error {
			if err := writeSysctl("net.ipv6.conf.eth0.disable_ipv6", "0"); err != nil {
				return err
			}
			if err := writeSysctl("net.ipv6.conf.eth0.accept_dad", "0"); err != nil {
				return err
			}
			l, err := netlink.LinkByName(taskInterface)
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(fmt.Sprintf("fd12::%d/64", i+1))
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			return netlink.AddrAdd(l, addr)
		})
		if err != nil {
			t.Skipf("no IPv6 in this kernel: %v", err)
		}
	}
	err := entered(t, b.Netns, func() error {
		l, err := net.Listen("tcp6", "[fd12::2]:4000")
		if err == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = entered(t, a.Netns, func() error {
		c, err := net.DialTimeout("tcp6", "[fd12::2]:4000", patience)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	if err == nil {
		t.Error("tasks reach each other over IPv6")
	}
}

func TestNodeIsClosedButForItsPorts(t *testing.T) {
	n := open(t, nil)
	a := attachTask(t, n, "a", "x/prod/default")
	gateway := n.Gateway().String()
	published, secret, loopback := serve(t, "", "0.0.0.0:0"), serve(t, "", "0.0.0.0:0"), serve(t, "", "127.0.0.1:0")
	cannotReach(t, a, gateway, published)
	if err := n.SetPorts([]uint16{published, published}); err != nil {
		t.Fatal(err)
	}
	reach(t, a, gateway, published)
	cannotReach(t, a, gateway, secret)
	cannotReach(t, a, gateway, loopback)
	cannotReach(t, a, "127.0.0.1", loopback)
	for _, addr := range nodeAddresses(t) { // by its other addresses as well
		reach(t, a, addr, published)
		cannotReach(t, a, addr, secret)
	}
	if err := n.SetPorts(nil); err != nil {
		t.Fatal(err)
	}
	cannotReach(t, a, gateway, published)

	if _, err := dial(t, a.Netns, gateway, secret, arrives); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a closed port is not refused at once: %v", err)
	}
}

func nodeAddresses(t *testing.T) []string {
	t.Helper()
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		t.Fatal(err)
	}
	var others []string
	for _, a := range addrs {
		link, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil || a.IP.IsLoopback() || strings.HasPrefix(link.Attrs().Name, "ik-") {
			continue // gone since, or the bridge of an instance, which guards it
		}
		others = append(others, a.IP.String())
	}
	return others
}

// outside makes a namespace that stands for the world: linked with the node by a /30, with no route to any subnet
// of ours. It gives its path, its address, and the node's address on the link.
func outside(t *testing.T, third byte) (netns string, addr, node netip.Addr) {
	t.Helper()
	netns = filepath.Join(t.TempDir(), "outside")
	node, addr = netip.AddrFrom4([4]byte{198, 51, third, 1}), netip.AddrFrom4([4]byte{198, 51, third, 2})
	host, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	name := fmt.Sprintf("ikt%d-%d", os.Getpid()%100000, third)
	err = inNewNamespace(netns, func(ns *os.File) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		veth := netlink.NewVeth(attrs)
		veth.PeerName, veth.PeerNamespace = taskInterface, netlink.NsFd(int(ns.Fd()))
		if err := host.LinkAdd(veth); err != nil {
			return err
		}
		l, err := netlink.LinkByName(taskInterface)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: slash30(addr)}); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l, err := host.LinkByName(name); err == nil {
			_ = host.LinkDel(l)
		}
		if err := removeNamespace(netns); err != nil {
			t.Error(err)
		}
	})
	l, err := host.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := host.AddrAdd(l, &netlink.Addr{IPNet: slash30(node)}); err != nil {
		t.Fatal(err)
	}
	if err := host.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	return netns, addr, node
}

func slash30(a netip.Addr) *net.IPNet { return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(30, 32)} }

func TestEgressIsMasqueradedAndInternalHasNone(t *testing.T) {
	n := open(t, nil)
	world, addr, node := outside(t, 100)
	port := serve(t, world, addr.String()+":0")
	a := attachTask(t, n, "a", "x/prod/default")
	e := networktest.Endpoint("inner", "inner", "x/prod/inner")
	e.Internal = true
	inner := attach(t, n, e)
	build, err := n.AttachBuild(t.Context(), "build")
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []agent.Attachment{a, build} {
		if seen := reach(t, from, addr.String(), port); seen != node.String() {
			t.Errorf("the world sees %s as %s, want %s", from.Address, seen, node)
		}
	}
	cannotReach(t, inner, addr.String(), port)

	// The world does not get in by routing over the node, nor at the gateway address.
	err = entered(t, world, func() error {
		dst := &net.IPNet{IP: n.subnet.Addr().AsSlice(), Mask: net.CIDRMask(n.subnet.Bits(), 32)}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: node.AsSlice()})
	})
	if err != nil {
		t.Fatal(err)
	}
	w := agent.Attachment{Netns: world, Address: addr.String()}
	cannotReach(t, w, a.Address, serve(t, a.Netns, a.Address+":0"))
	cannotReach(t, w, n.Gateway().String(), 53)
	if seen := reach(t, a, addr.String(), port); seen != node.String() {
		t.Errorf("with a route back the world sees %s, want %s", seen, node)
	}
}

// Docker sets the policy of iptables' FORWARD chain to drop, firewalld and others have chains of their own.
func TestOthersWhoDropByDefault(t *testing.T) {
	needRoot(t)
	conn := inOwnNode(t)
	drop := nftables.ChainPolicyDrop
	filter := conn.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4})
	for name, hook := range map[string]*nftables.ChainHook{
		"FORWARD": nftables.ChainHookForward, "INPUT": nftables.ChainHookInput,
	} {
		conn.AddChain(&nftables.Chain{
			Name: name, Table: filter, Type: nftables.ChainTypeFilter, Hooknum: hook,
			Priority: nftables.ChainPriorityFilter, Policy: &drop,
		})
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	f := &firewall{bridge: "ik-abcdef", conn: conn, ipTable: &nftables.Table{Name: "ikada-abcdef"}}
	for range 2 { // the second time finds its rules
		if p := f.openForeign(); len(p) != 0 {
			t.Fatalf("problems = %q", p)
		}
	}
	if got := ruleCount(t, conn, filter, "FORWARD") + ruleCount(t, conn, filter, "INPUT"); got != 3 {
		t.Errorf("%d rules put into foreign chains, want 3", got)
	}
	other := conn.AddTable(&nftables.Table{Name: "firewalld", Family: nftables.TableFamilyINet})
	conn.AddChain(&nftables.Chain{
		Name: "fwd", Table: other, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward,
		Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "Chain fwd of table firewalld drops what no rule of it accepts, and so traffic of tasks: accept the " +
		"interface ik-abcdef there (nft insert rule inet firewalld fwd iifname ik-abcdef accept)."
	if p := f.openForeign(); len(p) != 1 || p[0] != want {
		t.Errorf("problems = %q, want %q", p, want)
	}
	if err := closeForeign(conn, "ik-abcdef"); err != nil {
		t.Fatal(err)
	}
	if got := ruleCount(t, conn, filter, "FORWARD") + ruleCount(t, conn, filter, "INPUT"); got != 0 {
		t.Errorf("%d rules left in foreign chains", got)
	}
}

// inOwnNode gives nftables of a fresh namespace, so that the machine's own rules stay as they are.
func inOwnNode(t *testing.T) *nftables.Conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node")
	if err := inNewNamespace(path, func(*os.File) error { return nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeNamespace(path); err != nil {
			t.Error(err)
		}
	})
	ns, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runtime.KeepAlive(ns) })
	return conn
}

func ruleCount(t *testing.T, conn *nftables.Conn, table *nftables.Table, chain string) int {
	t.Helper()
	rules, err := conn.GetRules(table, &nftables.Chain{Name: chain, Table: table})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if v, ok := r.Exprs[len(r.Exprs)-1].(*expr.Verdict); !ok || v.Kind != expr.VerdictAccept {
			t.Errorf("rule in %s does not accept", chain)
		}
	}
	return len(rules)
}
