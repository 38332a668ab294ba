package policy

import (
	"bytes"
	"net/netip"

	"github.com/ikada/ikada/internal/proxy/http1"
)

// maxHops bounds the proxies that one request is followed through.
const maxHops = 32

// Origin gives who sent a request that has come over a connection from nearest, encrypted or not. Where trusts tells
// that nearest is a proxy whose word is taken, it is the last address of X-Forwarded-For that is no such proxy's, and
// X-Forwarded-Proto says whether the client's own connection is encrypted. What stands further left anyone may have
// written. A list that ends in something else than an address, or that there is none of, leaves the proxy as the client.
func Origin(nearest netip.Addr, tls bool, fields []http1.Field, trusts func(netip.Addr) bool) Client {
	c := Client{Addr: nearest, TLS: tls}
	if !trusts(nearest) {
		return c
	}
	proto := false
	hops := 0
	for i := len(fields) - 1; i >= 0; i-- {
		switch f := &fields[i]; f.Kind {
		case http1.XForwardedProto:
			if !proto { // the last field is that of the proxy that is next to us
				first, _, _ := bytes.Cut(f.Value, []byte{','})
				proto, c.TLS = true, foldEqual(bytes.Trim(first, " \t"), "https")
			}
		case http1.XForwardedFor:
			for list := f.Value; hops < maxHops && list != nil; hops++ {
				var last []byte
				last, list = cutLast(list)
				addr, ok := hop(bytes.Trim(last, " \t"))
				if !ok {
					hops = maxHops
					break
				}
				if c.Addr = addr; !trusts(addr) {
					hops = maxHops
				}
			}
		}
	}
	return c
}

// cutLast cuts the last element off a list; rest is nil when it was the only one.
func cutLast(list []byte) (last, rest []byte) {
	if i := bytes.LastIndexByte(list, ','); i >= 0 {
		return list[i+1:], list[:i]
	}
	return list, nil
}

// hop reads an address, which some proxies write with a port.
func hop(text []byte) (netip.Addr, bool) {
	if len(text) > len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535") {
		return netip.Addr{}, false
	}
	s := string(text)
	addr, err := netip.ParseAddr(s)
	if err != nil {
		withPort, portErr := netip.ParseAddrPort(s)
		if portErr != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}
