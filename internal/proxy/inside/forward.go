package inside

import (
	"bufio"
	"context"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/ikada/ikada/api"
)

const (
	askTimeout = 2 * time.Second // for one server; stub resolvers give up on us after 5 s
	askRounds  = 2
)

// Resolvers is what a resolv.conf(5) says.
type Resolvers struct {
	Servers []string // host:port
	Search  []string // as they stand there
}

// ReadResolvers reads a resolv.conf(5); a file that is missing says nothing.
func ReadResolvers(path string) Resolvers {
	f, err := os.Open(path)
	if err != nil {
		return Resolvers{}
	}
	defer f.Close()
	var r Resolvers
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil {
				r.Servers = append(r.Servers, net.JoinHostPort(a.String(), "53"))
			}
		case "search", "domain": // the last one holds
			r.Search = words[1:]
		}
	}
	return r
}

// forwarder asks outside name servers. It runs in the node's namespace, so it reaches also a server that listens on
// the node's loopback, as systemd-resolved does.
type forwarder struct {
	path string // the node's resolv.conf

	mu    sync.Mutex
	stamp fileStamp
	known Resolvers
}

type fileStamp struct {
	at   time.Time
	size int64
}

// servers gives the node's name servers as its resolv.conf has them now.
func (f *forwarder) servers() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var stamp fileStamp
	if i, err := os.Stat(f.path); err == nil && i.Mode()&fs.ModeDir == 0 {
		stamp = fileStamp{i.ModTime(), i.Size()}
	}
	if stamp != f.stamp {
		f.stamp, f.known = stamp, ReadResolvers(f.path)
	}
	return f.known.Servers
}

// ask passes a question on to the first of the servers that answers, the node's when servers is nil, and gives its
// answer. It passes over our own server, self: asking that would go round in circles. An answer that was cut off is
// asked for again over TCP. The error is of kind Unavailable.
func (f *forwarder) ask(ctx context.Context, self netip.Addr, servers []string, q *dns.Msg, udp bool) (*dns.Msg, error) {
	if servers == nil {
		servers = f.servers()
	}
	question := q.Copy()
	question.Id = dns.Id() // not the asker's: it shall not be guessed
	var last error
	for range askRounds {
		for _, server := range servers {
			if a, err := netip.ParseAddrPort(server); err == nil && a.Addr() == self {
				continue
			}
			reply, err := exchange(ctx, question, server, udp)
			if err != nil {
				last = err
				continue
			}
			if reply.Rcode == dns.RcodeServerFailure || reply.Rcode == dns.RcodeRefused {
				last = api.Errorf(api.Unavailable, "%s answers %s", server, dns.RcodeToString[reply.Rcode])
				continue
			}
			reply.Id = q.Id
			return reply, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	if last == nil {
		return nil, api.Errorf(api.Unavailable, "ask outside name servers: none is configured")
	}
	return nil, api.Errorf(api.Unavailable, "ask outside name servers: %w", last)
}

func exchange(ctx context.Context, q *dns.Msg, server string, udp bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if udp {
		c := dns.Client{Net: "udp", UDPSize: dns.MaxMsgSize, Timeout: askTimeout}
		reply, _, err := c.ExchangeContext(ctx, q, server)
		if err != nil || !reply.Truncated {
			return reply, err
		}
	}
	c := dns.Client{Net: "tcp", Timeout: askTimeout}
	reply, _, err := c.ExchangeContext(ctx, q, server)
	return reply, err
}
