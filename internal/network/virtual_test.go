package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/network/networktest"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// service makes the description of a service at the nth virtual address, with attached tasks as its targets.
func service(n *Network, nth int, name, env string, networks []string, tasks ...agent.Attachment) api.Inside {
	a := n.Services().Addr()
	for range nth + 1 {
		a = a.Next()
	}
	app, e, _ := strings.Cut(env, "/")
	s := api.Inside{Address: a.String(), EnvRef: api.EnvRef{App: app, Env: e}, Service: name, Names: []string{name}, Networks: networks}
	for i, t := range tasks {
		s.Targets = append(s.Targets, api.Target{Task: fmt.Sprint(name, i), Address: t.Address})
	}
	return s
}

func expose(t *testing.T, n *Network, services ...api.Inside) {
	t.Helper()
	if err := n.Expose(services); err != nil {
		t.Fatal(err)
	}
}

// door answers every connection that is redirected to it with where it was meant to go, as the balancer's stand-in.
func door(t *testing.T, n *Network) {
	t.Helper()
	l, err := net.Listen("tcp4", doorOf(n.Services()).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dest, err := inside.Original(c.(*net.TCPConn))
			from := netip.MustParseAddrPort(c.RemoteAddr().String()).Addr()
			_, _ = fmt.Fprint(c, from, " to ", dest, " ", err)
			_ = c.Close()
		}
	}()
}

func TestVirtualAddressesLeadToTheDoor(t *testing.T) {
	n := open(t, nil)
	door(t, n)
	web := attachTask(t, n, "web", "a/prod/front")
	internal := networktest.Endpoint("inner", "inner", "a/prod/back")
	internal.Internal = true
	inner := attach(t, n, internal)
	apiService := service(n, 1, "api", "a/prod", []string{"front", "back"})
	other := service(n, 2, "other", "a/prod", []string{"elsewhere"})
	expose(t, n, apiService, other)
	late := attachTask(t, n, "late", "a/prod/elsewhere") // joins a network after its service
	stranger := attachTask(t, n, "stranger", "b/prod/front")
	build, err := n.AttachBuild(t.Context(), "build")
	if err != nil {
		t.Fatal(err)
	}
	may := func() {
		t.Helper()
		for _, c := range []struct {
			from agent.Attachment
			to   api.Inside
			port uint16
		}{{web, apiService, 80}, {web, apiService, 65535}, {web, apiService, doorPort}, {inner, apiService, 5432}, {late, other, 1}} {
			want := fmt.Sprintf("%s to %s:%d <nil>", c.from.Address, c.to.Address, c.port)
			if seen := reach(t, c.from, c.to.Address, c.port); seen != want {
				t.Errorf("the door hears %q, want %q", seen, want)
			}
		}
		barred := attempts{t: t}
		barred.fail(web, other.Address, 80)
		barred.fail(inner, other.Address, 80)
		barred.fail(late, apiService.Address, 80)
		barred.fail(stranger, apiService.Address, 80)
		barred.fail(build, apiService.Address, 80)
		for _, from := range []agent.Attachment{web, inner, stranger} { // nor the door itself, nor an address that is nobody's
			barred.fail(from, doorOf(n.Services()).Addr().String(), doorPort)
			barred.fail(from, service(n, 9, "", "", nil).Address, 80)
		}
		barred.Wait()
	}
	may()
	n = reopen(t, n) // nothing is exposed again yet
	may()
	if err := deleteTables(n.tableName(), n.BridgeName()); err != nil {
		t.Fatal(err)
	}
	if restored, err := n.firewall.restore(); !restored || err != nil {
		t.Fatalf("restored = %v, %v", restored, err)
	}
	may()

	apiService.Networks = []string{"back"}
	expose(t, n, apiService, other)
	cannotReach(t, web, apiService.Address, 80)
	reach(t, inner, apiService.Address, 80)
	expose(t, n)
	cannotReach(t, inner, apiService.Address, 80)
	cannotReach(t, late, other.Address, 80)
}

func TestVirtualAddressAnswersEcho(t *testing.T) {
	n := open(t, nil)
	web := attachTask(t, n, "web", "a/prod/front")
	stranger := attachTask(t, n, "stranger", "b/prod/front")
	s := service(n, 1, "api", "a/prod", []string{"front"})
	expose(t, n, s)
	for _, c := range []struct {
		from agent.Attachment
		want bool
	}{{web, true}, {stranger, false}} {
		if got := ping(t, c.from, s.Address, c.want); got != c.want {
			t.Errorf("%s gets an echo from %s: %v, want %v", c.from.Address, s.Address, got, c.want)
		}
	}
}

// ping sends one echo request (RFC 792) and tells whether the reply came. One that is expected may take as long as a
// question for the neighbour's address that is asked again, a second; for another there is no such moment to wait for.
func ping(t *testing.T, from agent.Attachment, addr string, expected bool) bool {
	t.Helper()
	limit := patience
	if expected {
		limit = arrives
	}
	ok := false
	err := entered(t, from.Netns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		wait := unix.NsecToTimeval(int64(limit))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
			return err
		}
		to := &unix.SockaddrInet4{Addr: netip.MustParseAddr(addr).As4()}
		if err := unix.Sendto(fd, []byte{8, 0, 0, 0, 0, 0, 0, 1}, 0, to); err != nil {
			return err
		}
		b := make([]byte, 64)
		k, _, err := unix.Recvfrom(fd, b, 0)
		ok = err == nil && k >= 8 && b[0] == 0
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestVirtualAddressesAreClosedToTheWorld(t *testing.T) {
	n := open(t, nil)
	door(t, n)
	s := service(n, 1, "api", "a/prod", []string{"front"})
	expose(t, n, s)
	world, addr, node := outside(t, 101)
	err := entered(t, world, func() error {
		dst := &net.IPNet{IP: n.services.Addr().AsSlice(), Mask: net.CIDRMask(n.services.Bits(), 32)}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: node.AsSlice()})
	})
	if err != nil {
		t.Fatal(err)
	}
	w := agent.Attachment{Netns: world, Address: addr.String()}
	cannotReach(t, w, s.Address, 80)
	cannotReach(t, w, doorOf(n.Services()).Addr().String(), doorPort)

	neighbour := open(t, nil)
	if n.services.Overlaps(neighbour.services) || n.services.Overlaps(neighbour.subnet) || n.subnet.Overlaps(neighbour.services) {
		t.Fatalf("two instances have %s with %s and %s with %s", n.subnet, n.services, neighbour.subnet, neighbour.services)
	}
	theirs := attachTask(t, neighbour, "web", "a/prod/front") // the same network's name in another instance
	cannotReach(t, theirs, s.Address, 80)
}

// echo answers every datagram at an address in a namespace with a word and where it came from, and gives its port.
func echo(t *testing.T, at agent.Attachment, port uint16, word string) {
	t.Helper()
	var pc net.PacketConn
	err := entered(t, at.Netns, func() (err error) {
		pc, err = net.ListenPacket("udp4", net.JoinHostPort(at.Address, strconv.Itoa(int(port))))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		b := make([]byte, 64)
		for {
			_, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte(word), from)
		}
	}()
}

// client is a UDP socket in a namespace.
func client(t *testing.T, from agent.Attachment, addr string, port uint16) net.Conn {
	t.Helper()
	var c net.Conn
	err := entered(t, from.Netns, func() (err error) {
		c, err = (&net.Dialer{}).DialContext(t.Context(), "udp4", net.JoinHostPort(addr, strconv.Itoa(int(port))))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// say sends a datagram and gives the answer, "" when there is none within a time.
func say(t *testing.T, c net.Conn, limit time.Duration) string {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(limit))
	if _, err := io.WriteString(c, "x"); err != nil {
		return ""
	}
	b := make([]byte, 64)
	k, err := c.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:k])
}

// untilSaid asks until one of the answers comes, which is soon: flows that are tracked follow Expose by a moment.
func untilSaid(t *testing.T, c net.Conn, answers ...string) {
	t.Helper()
	got := ""
	for range 20 {
		if got = say(t, c, 2*patience); slices.Contains(answers, got) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s is answered by %q, want one of %q", c.LocalAddr(), got, answers)
}

func TestDatagramsToVirtualAddresses(t *testing.T) {
	n := open(t, nil)
	web := attachTask(t, n, "web", "a/prod/front")
	stranger := attachTask(t, n, "stranger", "b/prod/front")
	one, two := attachTask(t, n, "one", "a/prod/front"), attachTask(t, n, "two", "a/prod/front")
	const port = 5353
	echo(t, one, port, "one")
	echo(t, two, port, "two")
	s := service(n, 1, "dns", "a/prod", []string{"front"})
	expose(t, n, s)
	early := client(t, web, s.Address, port)
	if got := say(t, early, 2*patience); got != "" {
		t.Errorf("a service without tasks answers %q", got)
	}
	s = service(n, 1, "dns", "a/prod", []string{"front"}, one, two)
	expose(t, n, s)
	untilSaid(t, early, "one", "two")
	heard := map[string]int{}
	for range 40 {
		heard[say(t, client(t, web, s.Address, port), arrives)]++
	}
	if heard["one"] == 0 || heard["two"] == 0 || heard[""] > 0 {
		t.Errorf("answers: %v, want some of each task", heard)
	}
	if got := say(t, client(t, one, s.Address, port), arrives); got == "" { // may be its own
		t.Error("a task of the service gets no answer")
	}
	if got := say(t, client(t, stranger, s.Address, port), 2*patience); got != "" {
		t.Errorf("a stranger is answered %q", got)
	}

	faithful := client(t, web, s.Address, port)
	first := say(t, faithful, arrives)
	for range 10 {
		if got := say(t, faithful, arrives); got != first {
			t.Fatalf("one client is answered by %q, then %q", first, got)
		}
	}
	left, stays := one, "two"
	if first == "two" {
		left, stays = two, "one"
	}
	s.Targets = slices.DeleteFunc(s.Targets, func(g api.Target) bool { return g.Address == left.Address })
	expose(t, n, s)
	untilSaid(t, faithful, stays)
}

func TestExposeLeavesNothing(t *testing.T) {
	n := open(t, nil)
	a := attachTask(t, n, "a", "x/prod/default")
	chains, sets, elements := contents(t, n)
	count := func() (chains, elements int) {
		t.Helper()
		conn, _, err := openNFTables()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.CloseLasting() }()
		all, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if c.Table.Name == n.tableName() {
				chains++
			}
		}
		els, err := conn.GetSetElements(n.firewall.datagrams)
		if err != nil {
			t.Fatal(err)
		}
		return chains, len(els)
	}
	fixed, none := count()
	for i := range 5 {
		expose(t, n, service(n, 1, "api", "x/prod", []string{"default"}, a), service(n, 2+i, "b", "x/prod", []string{"default", "more"}, a))
	}
	if c, e := count(); c != fixed+2 || e != none+2 {
		t.Errorf("%d chains and %d elements with two services, %d and %d without", c, e, fixed, none)
	}
	expose(t, n)
	if c, e := count(); c != fixed || e != none {
		t.Errorf("%d chains and %d elements are left, at first %d and %d", c, e, fixed, none)
	}
	if c, s, e := contents(t, n); c != chains || s != sets || e != elements {
		t.Errorf("the bridge table holds %d chains, %d sets, %d elements; at first %d, %d, %d", c, s, e, chains, sets, elements)
	}
	expose(t, n, service(n, 1, "api", "x/prod", []string{"default"}, a))
	if err := n.Reset(context.Background()); err != nil {
		t.Fatal(err)
	}
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); ok && p == n.services {
			t.Errorf("route %v is left", r)
		}
	}
	if entries, err := os.ReadDir(n.cfg.StateDir); err != nil || len(entries) != 0 {
		t.Errorf("%v (%v) are left in the state directory", entries, err)
	}
}

func TestNamesOfServices(t *testing.T) {
	var names *inside.Names
	n := open(t, func(c *Config) {
		names = answering(t, "/nonexistent")
		c.Announce = names.Announce
	})
	web := attachTask(t, n, "web", "a/prod/front")
	s := service(n, 1, "api", "a/prod", []string{"front"})
	expose(t, n, s)
	names.Route([]api.Inside{s})
	if got := addressesIn(ask(t, web.Netns, n, "udp4", "api", dns.TypeA)); len(got) != 1 || got[0].String() != s.Address {
		t.Errorf("api is found at %v, want %s", got, s.Address)
	}
	task := attachTask(t, n, "api", "a/prod/front")
	if got := addressesIn(ask(t, web.Netns, n, "tcp4", "tasks.api", dns.TypeA)); len(got) != 1 || got[0].String() != task.Address {
		t.Errorf("tasks.api is found at %v, want %s", got, task.Address)
	}
	// Another process takes the sockets over while ikada is gone; the questions of that time wait.
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := names.Files()
	if err != nil || len(files) != 2 {
		t.Fatalf("%d sockets, %v", len(files), err)
	}
	next := answering(t, "/nonexistent")
	next.Inherit(files)
	next.Announce(inside.Bridge{Subnet: n.subnet, Gateway: n.gateway, Services: n.services, Hosts: n.roster.Hosts()})
	for range 10 { // whichever of the two hears them
		if got := addressesIn(ask(t, web.Netns, n, "udp4", "api.1", dns.TypeA)); len(got) != 1 {
			t.Errorf("api.1 is found at %v", got)
		}
	}
	if p := next.Problems(); len(p) != 0 {
		t.Errorf("problems: %v", p)
	}
}
