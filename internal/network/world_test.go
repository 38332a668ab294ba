package network

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/network/networktest"
	"github.com/ikada/ikada/internal/proxy/inside"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes bridges and network namespaces")
	}
}

// open starts a network of its own for the test and removes it at the end.
func open(t testing.TB, change func(*Config)) *Network {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	cfg := Config{Instance: dir, StateDir: dir}
	if change != nil {
		change(&cfg)
	}
	if cfg.Announce == nil {
		cfg.Announce = answering(t, cfg.Resolvers).Announce
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Reset(context.Background()); err != nil {
			t.Errorf("reset: %v", err)
		}
	})
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// answering runs a name service, which knows of no services unless it is told, for the test. It goes on as the
// balancer's process would when the network's is killed.
func answering(t testing.TB, resolvers string) *inside.Names {
	t.Helper()
	names := inside.NewNames(resolvers, func() {}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	names.Route(nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- names.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return names
}

// reopen stands for a new process after the old one was killed: it shares nothing with it but the machine.
func reopen(t testing.TB, old *Network) *Network {
	t.Helper()
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := New(old.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func attach(t testing.TB, n *Network, e agent.Endpoint) agent.Attachment {
	t.Helper()
	a, err := n.Attach(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	n.Publish(e.ID, true)
	return a
}

func attachTask(t testing.TB, n *Network, id string, networks ...string) agent.Attachment {
	t.Helper()
	return attach(t, n, networktest.Endpoint(id, id, networks...))
}

// entered runs f on a thread in a network namespace.
func entered(t testing.TB, netns string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		ns, err := os.Open(netns)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// serve answers every TCP connection at an address inside a namespace ("" is the node's) with the client's address,
// and gives the port.
func serve(t testing.TB, netns, addr string) uint16 {
	t.Helper()
	var l net.Listener
	listen := func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp4", addr)
		return err
	}
	var err error
	if netns == "" {
		err = listen()
	} else {
		err = entered(t, netns, listen)
	}
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
			_, _ = io.WriteString(c, netip.MustParseAddrPort(c.RemoteAddr().String()).Addr().String())
			_ = c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// patience is how long a packet that must not arrive is waited for.
const patience = 250 * time.Millisecond

// arrives is how long one that must arrive is waited for.
const arrives = 20 * time.Second

// dial connects from a namespace and gives what the server answered: the address it saw.
func dial(t testing.TB, netns, addr string, port uint16, wait time.Duration) (seen string, err error) {
	t.Helper()
	err = entered(t, netns, func() error {
		c, err := (&net.Dialer{Timeout: wait}).Dial("tcp4", net.JoinHostPort(addr, strconv.Itoa(int(port))))
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(arrives))
		b, err := io.ReadAll(c)
		seen = string(b)
		return err
	})
	return seen, err
}

func reach(t testing.TB, from agent.Attachment, addr string, port uint16) string {
	t.Helper()
	seen, err := dial(t, from.Netns, addr, port, arrives)
	if err != nil {
		t.Errorf("%s does not reach %s:%d: %v", from.Address, addr, port, err)
	}
	return seen
}

func cannotReach(t testing.TB, from agent.Attachment, addr string, port uint16) {
	t.Helper()
	if _, err := dial(t, from.Netns, addr, port, patience); err == nil {
		t.Errorf("%s reaches %s:%d", from.Address, addr, port)
	}
}

// attempts are connections that must not come about, tried side by side: that nothing arrives can only be waited for.
type attempts struct {
	t testing.TB
	sync.WaitGroup
}

func (a *attempts) fail(from agent.Attachment, addr string, port uint16) {
	a.Go(func() { cannotReach(a.t, from, addr, port) })
}

// ask asks the gateway a question from inside a namespace.
func ask(t testing.TB, netns string, n *Network, network, name string, qtype uint16) *dns.Msg {
	t.Helper()
	var reply *dns.Msg
	err := entered(t, netns, func() (err error) {
		c := dns.Client{Net: network, Timeout: arrives}
		reply, _, err = c.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), n.Gateway().String()+":53")
		return err
	})
	if err != nil {
		t.Fatalf("ask for %s: %v", name, err)
	}
	return reply
}

func addressesIn(m *dns.Msg) []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A.To4())
			addrs = append(addrs, addr)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

func TestConformance(t *testing.T) {
	networktest.Run(t, func(t *testing.T, subnet netip.Prefix) networktest.Subject {
		n := open(t, func(c *Config) { c.Subnet = subnet })
		return networktest.Subject{
			Network: n,
			Lookup: func(t *testing.T, id, name string) []netip.Addr {
				return addressesIn(ask(t, filepath.Join(n.netnsDir(), id), n, "udp4", name, dns.TypeA))
			},
			Restart: func(t *testing.T) agent.Network { n = reopen(t, n); return n },
		}
	})
}
