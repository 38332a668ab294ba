package network

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

// resolvers is what a resolv.conf says.
type resolvers struct {
	servers []string // host:port
	search  []string
}

// readResolvers reads a resolv.conf(5); a file that is missing says nothing.
func readResolvers(path string) resolvers {
	f, err := os.Open(path)
	if err != nil {
		return resolvers{}
	}
	defer f.Close()
	var r resolvers
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil {
				r.servers = append(r.servers, net.JoinHostPort(a.String(), "53"))
			}
		case "search", "domain": // the last one holds
			r.search = r.search[:0]
			for _, w := range words[1:] {
				if hostForm.MatchString(w) {
					r.search = append(r.search, w)
				}
			}
		}
	}
	return r
}

// forwarder asks outside name servers. It runs in the node's namespace, so it reaches also a server that listens on
// the node's loopback, as systemd-resolved does.
type forwarder struct {
	path string     // the node's resolv.conf
	self netip.Addr // our own server: asking it would go round in circles

	mu    sync.Mutex
	stamp fileStamp
	known resolvers
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
		f.stamp, f.known = stamp, readResolvers(f.path)
	}
	return f.known.servers
}

// ask passes a question on to the first of the servers that answers, the node's when servers is nil, and gives its
// answer. An answer that was cut off is asked for again over TCP. The error is of kind Unavailable.
func (f *forwarder) ask(ctx context.Context, servers []string, q *dns.Msg, udp bool) (*dns.Msg, error) {
	if servers == nil {
		servers = f.servers()
	}
	question := q.Copy()
	question.Id = dns.Id() // not the asker's: it shall not be guessed
	var last error
	for range askRounds {
		for _, server := range servers {
			if a, err := netip.ParseAddrPort(server); err == nil && a.Addr() == f.self {
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
