package network

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/network/networktest"
)

// upstream is a name server on loopback that answers every A question with 203.0.113.9, "big." names with enough
// text to need TCP, and "missing." names with NXDOMAIN. It gives its resolv.conf.
func upstream(t *testing.T, loopback string) (conf string) {
	t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		hdr := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: 60}
		switch {
		case strings.HasPrefix(name, "missing."):
			m.Rcode = dns.RcodeNameError
		case strings.HasPrefix(name, "big."):
			hdr.Rrtype = dns.TypeTXT
			for i := range 40 {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: hdr, Txt: []string{fmt.Sprint(i, strings.Repeat("x", 200))}})
			}
		default:
			hdr.Rrtype = dns.TypeA
			m.Answer = []dns.RR{&dns.A{Hdr: hdr, A: net.IPv4(203, 0, 113, 9)}}
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(m)
	})
	pc, err := net.ListenPacket("udp4", loopback+":53")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", loopback+":53")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go func() { _ = s.ActivateAndServe() }()
		<-up
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	conf = filepath.Join(t.TempDir(), "resolv.conf")
	content := "# made by a test\nnameserver 127.77.1.250\nnameserver " + loopback + "\nsearch corp.example lan\noptions edns0\n"
	if err := os.WriteFile(conf, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return conf
}

func TestDNSAsTasksSeeIt(t *testing.T) {
	needRoot(t)
	loopback := fmt.Sprintf("127.77.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0x7f+1)
	conf := upstream(t, loopback)
	n := open(t, func(c *Config) { c.Resolvers = conf })
	web := attachTask(t, n, "web", "a/prod/default")
	attachTask(t, n, "db", "a/prod/default")
	stranger := attachTask(t, n, "stranger", "b/prod/default")
	e := networktest.Endpoint("inner", "inner", "a/prod/inner")
	e.Internal = true
	inner := attach(t, n, e)
	build, err := n.AttachBuild(t.Context(), "build")
	if err != nil {
		t.Fatal(err)
	}
	own := networktest.Endpoint("own", "own", "a/prod/default")
	own.DNS = []string{loopback}
	chooser := attach(t, n, own)

	dbName := strings.TrimSuffix(mustReverse(t, n, "db"), ".")
	for _, c := range []struct {
		asker   agent.Attachment
		network string
		name    string
		qtype   uint16
		rcode   int
		answers int
	}{
		{web, "udp4", "db", dns.TypeA, dns.RcodeSuccess, 1},
		{web, "tcp4", "DB", dns.TypeA, dns.RcodeSuccess, 1},
		{web, "udp4", "db.1", dns.TypeA, dns.RcodeSuccess, 1},
		{web, "udp4", "tasks.db", dns.TypeA, dns.RcodeSuccess, 1},
		{web, "udp4", "db", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{web, "udp4", "db", dns.TypeMX, dns.RcodeSuccess, 0},
		{web, "udp4", "nobody", dns.TypeA, dns.RcodeNameError, 0},
		{web, "udp4", "nobody.3", dns.TypeA, dns.RcodeNameError, 0},
		{web, "udp4", "stranger", dns.TypeA, dns.RcodeNameError, 0},
		{web, "udp4", dbName, dns.TypePTR, dns.RcodeSuccess, 1},
		{stranger, "udp4", "db", dns.TypeA, dns.RcodeNameError, 0},
		{stranger, "udp4", dbName, dns.TypePTR, dns.RcodeNameError, 0},
		{web, "udp4", "example.com", dns.TypeA, dns.RcodeSuccess, 1},
		{web, "tcp4", "example.com", dns.TypeA, dns.RcodeSuccess, 1},
		{web, "udp4", "missing.example.com", dns.TypeA, dns.RcodeNameError, 0},
		{web, "tcp4", "big.example.com", dns.TypeTXT, dns.RcodeSuccess, 40},
		{chooser, "udp4", "example.com", dns.TypeA, dns.RcodeSuccess, 1},
		{chooser, "udp4", "db", dns.TypeA, dns.RcodeSuccess, 1},
		{build, "udp4", "example.com", dns.TypeA, dns.RcodeSuccess, 1},
		{build, "udp4", "db", dns.TypeA, dns.RcodeNameError, 0},
		{inner, "udp4", "inner", dns.TypeA, dns.RcodeSuccess, 1},
		{inner, "udp4", "example.com", dns.TypeA, dns.RcodeNameError, 0},
	} {
		m := ask(t, c.asker.Netns, n, c.network, c.name, c.qtype)
		if m.Rcode != c.rcode || len(m.Answer) != c.answers {
			t.Errorf("%s asks %s for %s %s: %s with %d answers, want %s with %d", c.asker.Address, c.network, c.name,
				dns.TypeToString[c.qtype], dns.RcodeToString[m.Rcode], len(m.Answer), dns.RcodeToString[c.rcode], c.answers)
		}
	}
	if m := ask(t, web.Netns, n, "udp4", "big.example.com", dns.TypeTXT); !m.Truncated || m.Len() > dns.MinMsgSize {
		t.Errorf("a big answer over UDP: truncated %v, %d bytes", m.Truncated, m.Len())
	}
	if m := ask(t, web.Netns, n, "udp4", "db", dns.TypeA); m.Answer[0].Header().Ttl != 1 {
		t.Errorf("TTL = %d", m.Answer[0].Header().Ttl)
	}
	c := dns.Client{Net: "udp4"}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion("db.", dns.TypeA), n.Gateway().String()+":53")
	if err != nil || m.Rcode != dns.RcodeRefused {
		t.Errorf("the node itself is answered %v, %v; want refused", m, err)
	}
}

func mustReverse(t *testing.T, n *Network, id string) string {
	t.Helper()
	e, ok := n.roster.Get(id)
	if !ok {
		t.Fatalf("no endpoint %s", id)
	}
	name, err := dns.ReverseAddr(e.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFilesOfAnEndpoint(t *testing.T) {
	needRoot(t)
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 192.0.2.53\ndomain old.example\nsearch corp.example lan\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n := open(t, func(c *Config) { c.Resolvers = conf })
	e := networktest.Endpoint("t1", "web", "a/prod/default")
	e.Hostname = "web-1"
	e.Hosts = map[string]string{"host.docker.internal": "host-gateway", "legacy": "192.0.2.7"}
	e.Sysctls = map[string]string{"net.core.somaxconn": "2048", "net/ipv4/tcp_syncookies": "0"}
	a := attach(t, n, e)
	gateway := n.Gateway().String()
	for path, want := range map[string]string{
		a.ResolvConf: "nameserver " + gateway + "\nsearch corp.example lan\noptions ndots:0\n",
		a.HostName:   "web-1\n",
		a.Hosts: "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + a.Address + "\tweb-1\n" +
			gateway + "\thost.docker.internal\n192.0.2.7\tlegacy\n",
	} {
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%s = %q (%v), want %q", filepath.Base(path), b, err, want)
		}
	}
	err := entered(t, a.Netns, func() error {
		for name, want := range map[string]string{
			"net/core/somaxconn": "2048", "net/ipv4/tcp_syncookies": "0", "net/ipv4/ip_unprivileged_port_start": "0",
		} {
			b, err := os.ReadFile("/proc/sys/" + name)
			if err != nil || strings.TrimSpace(string(b)) != want {
				t.Errorf("%s = %q (%v), want %s", name, b, err, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, a.Netns, "127.0.0.1:0") // lo is up
}
