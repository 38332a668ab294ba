package proxy

import (
	"bufio"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// clients counts connections by client, so that one client cannot take them all.
type clients struct {
	most   int
	shards [16]struct {
		mu    sync.Mutex
		count map[netip.Addr]int
	}
}

// admit counts one more connection of a client; false: it has too many. An IPv6 client is its /64 network, which one
// customer has as a rule.
func (s *clients) admit(addr netip.Addr) (release func(), ok bool) {
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	last := addr.As16()
	shard := &s.shards[int(last[15]^last[7])%len(s.shards)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.count == nil {
		shard.count = map[netip.Addr]int{}
	}
	if shard.count[addr] >= s.most {
		return nil, false
	}
	shard.count[addr]++
	return func() {
		shard.mu.Lock()
		defer shard.mu.Unlock()
		if shard.count[addr]--; shard.count[addr] <= 0 {
			delete(shard.count, addr)
		}
	}, true
}

// arrival is what is known of a connection before it has said what it wants.
type arrival struct {
	client
	head []byte // read already
}

// trusts tells whether an address is one of a proxy whose word about its own clients is taken.
func (p *Proxy) trusts(addr netip.Addr) bool {
	addr = addr.Unmap()
	for _, prefix := range p.cfg.TrustProxy {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// clientOf finds out who a connection is from: its other end, or whom a trusted proxy names by the PROXY protocol
// (versions 1 and 2, https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt).
func (d *door) clientOf(c *net.TCPConn) (arrival, error) {
	p := d.proxy
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	port := c.LocalAddr().(*net.TCPAddr).AddrPort().Port()
	var dest netip.AddrPort
	if d.kind == virtual {
		var err error
		if dest, err = inside.Original(c); err != nil {
			return arrival{}, err
		}
		if !p.enter(dest) {
			_ = c.SetLinger(0) // refused, as far as that can still be said
			return arrival{}, api.Errorf(api.NotFound, "no service has the address %s", dest)
		}
		port = dest.Port()
	}
	trusted := p.trusts(from.Addr())
	var head []byte
	if trusted && p.cfg.ProxyProtocol && d.kind != virtual {
		source, rest, err := readProxyHeader(c, p.cfg.HeadTimeout)
		if err != nil {
			return arrival{}, err
		}
		if head = rest; source.IsValid() {
			// The proxy has passed the connection on as it is: its words are the client's own.
			from, trusted = source, p.trusts(source.Addr())
		}
	}
	who := newClient(from.Addr(), port, d.kind == sharedHTTPS, trusted)
	who.dest = dest
	return arrival{who, head}, nil
}

// readProxyHeader reads the header that must be there. A proxy that asks on its own account (LOCAL, UNKNOWN) names no
// source.
func readProxyHeader(c *net.TCPConn, limit time.Duration) (source netip.AddrPort, rest []byte, err error) {
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return source, nil, err
	}
	r := bufio.NewReaderSize(c, smallBytes)
	h, err := proxyproto.Read(r)
	if err != nil {
		return source, nil, err
	}
	if addr, ok := h.SourceAddr.(*net.TCPAddr); ok && h.Command.IsProxy() {
		source = addr.AddrPort()
	}
	rest, err = r.Peek(r.Buffered())
	if err != nil {
		return source, nil, err
	}
	return source, append([]byte(nil), rest...), c.SetReadDeadline(time.Time{})
}
