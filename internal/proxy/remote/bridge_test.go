package remote

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// bridge is one with two hosts in a network, on loopback addresses of this test's own.
func bridge(t *testing.T) inside.Bridge {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: names are answered at port 53")
	}
	subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 66, byte(os.Getpid()), 0}), 24)
	at := func(n int) netip.Addr {
		a := subnet.Addr()
		for range n {
			a = a.Next()
		}
		return a
	}
	network := env.String() + "/default"
	return inside.Bridge{
		Subnet: subnet, Gateway: at(1), Services: netip.MustParsePrefix("10.9.9.0/24"), Door: netip.AddrPortFrom(at(1), freePort(t)),
		Hosts: []inside.Host{
			{ID: "web", Address: at(2), Ready: true, Networks: []inside.Membership{{Network: network, Names: []string{"web"}}}},
			{ID: "api", Address: at(3), Ready: true, Networks: []inside.Membership{{Network: network, Names: []string{"api", "api.1"}}}},
		},
	}
}

// named is a table with one service that has a virtual address.
func named(version uint64) *api.RouteTable {
	return &api.RouteTable{Version: version, Inside: []api.Inside{
		{Address: "10.9.9.7", EnvRef: env, Service: "api", Names: []string{"api"}, Networks: []string{"default"}}}}
}

// ask gives the one address that the first host finds under a name.
func ask(b inside.Bridge, network, name string) string {
	from := net.Addr(net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.Hosts[0].Address, 0)))
	if network == "tcp" {
		from = net.TCPAddrFromAddrPort(netip.AddrPortFrom(b.Hosts[0].Address, 0))
	}
	c := dns.Client{Net: network, Dialer: &net.Dialer{LocalAddr: from, Timeout: 20 * time.Second}, Timeout: 20 * time.Second}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), netip.AddrPortFrom(b.Gateway, 53).String())
	if err != nil {
		return err.Error()
	}
	if len(m.Answer) != 1 {
		return fmt.Sprintf("%s with %d answers", dns.RcodeToString[m.Rcode], len(m.Answer))
	}
	return m.Answer[0].(*dns.A).A.String()
}

func wantNames(t *testing.T, b inside.Bridge, when string) {
	t.Helper()
	for name, want := range map[string]string{"api": "10.9.9.7", "api.1": b.Hosts[1].Address.String(), "nobody": "NXDOMAIN with 0 answers"} {
		for _, network := range []string{"udp", "tcp"} {
			if got := ask(b, network, name); got != want {
				t.Errorf("%s, over %s: %s is found at %s, want %s", when, network, name, got, want)
			}
		}
	}
}

// TestNamesOutliveTheNode asks while the node's side comes and goes, and its process is killed.
func TestNamesOutliveTheNode(t *testing.T) {
	dir, b := shortDir(t), bridge(t)
	one := start(t, dir, "1")
	one.Announce(b)
	one.Apply(named(1))
	wantNames(t, b, "at first")
	one.end()
	wantNames(t, b, "without the node")

	two := start(t, dir, "1")
	wantNames(t, b, "with the next, before it has said anything")
	b.Hosts[1].Address = b.Hosts[1].Address.Next()
	two.Announce(b)
	two.Apply(named(2))
	wantNames(t, b, "once it has")

	if err := unix.Kill(two.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantNames(t, b, "right after the process was killed") // the questions wait for the next

	b.Hosts[0].Ready = false
	two.Announce(b)
	if got := ask(b, "udp", "web"); got != "NOERROR with 0 answers" {
		t.Errorf("a task that is not ready is found at %s", got)
	}
}

// TestNamesOverUpgrades asks all the time while the process is replaced: no question is lost.
func TestNamesOverUpgrades(t *testing.T) {
	dir, b := shortDir(t), bridge(t)
	last := start(t, dir, "1")
	last.Announce(b)
	last.Apply(named(1))
	wantNames(t, b, "at first")
	stop, lost := make(chan struct{}), make(chan string, 2)
	var asking sync.WaitGroup
	for _, network := range []string{"udp", "tcp"} {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				if got := ask(b, network, "api"); got != "10.9.9.7" {
					lost <- network + ": " + got
					return
				}
			}
		})
	}
	for i := 2; i < 5; i++ {
		last.end()
		last = start(t, dir, fmt.Sprint(i))
		last.Announce(b)
		pid := last.PID()
		last.Apply(named(uint64(i)))
		if last.PID() == pid {
			t.Fatal("the process was not replaced")
		}
		wantNames(t, b, "after an upgrade")
	}
	close(stop)
	asking.Wait()
	select {
	case got := <-lost:
		t.Errorf("a question during the upgrades: %s", got)
	default:
	}
}

// TestNamesAtATakenPort says in the status that another server has the port, and takes it once it is free.
func TestNamesAtATakenPort(t *testing.T) {
	dir, b := shortDir(t), bridge(t)
	at := netip.AddrPortFrom(b.Gateway, 53)
	other, err := net.ListenPacket("udp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, dir, "1")
	n.Announce(b)
	n.Apply(named(1))
	if got := n.Status().Problem[at.String()]; got == "" {
		t.Errorf("problems: %v", n.Status().Problem)
	}
	_ = other.Close()
	until(t, "names", func() bool { return ask(b, "udp", "api") == "10.9.9.7" })
	until(t, "the status", func() bool { return len(n.Status().Problem) == 0 })
}
