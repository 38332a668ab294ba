package proxy

import (
	"bytes"
	"net/netip"
	"strconv"

	"github.com/ikada/ikada/internal/proxy/http1"
)

// client is who sends a connection's requests.
type client struct {
	addr    netip.Addr
	tls     bool
	port    uint16         // that it connected to
	dest    netip.AddrPort // the port of a virtual address that it was meant for; zero elsewhere
	name    string         // the address as text
	trusted bool           // it is a proxy whose word about its own clients is taken
	fields  []byte         // the X-Forwarded fields that are the same for all requests of a client that is not
}

func newClient(addr netip.Addr, port uint16, tls, trusted bool) client {
	c := client{addr: addr.Unmap().WithZone(""), port: port, tls: tls, trusted: trusted}
	c.name = c.addr.String()
	var b []byte
	b = append(c.addr.AppendTo(append(b, "X-Forwarded-For: "...)), "\r\nX-Real-Ip: "...)
	b = append(c.addr.AppendTo(b), "\r\nX-Forwarded-Proto: "...)
	b = append(append(b, c.scheme()...), "\r\nX-Forwarded-Port: "...)
	c.fields = append(strconv.AppendUint(b, uint64(port), 10), "\r\n"...)
	return c
}

func (c *client) scheme() string {
	if c.tls {
		return "https"
	}
	return "http"
}

// appendHead makes the request as the target gets it: same method, target and end-to-end fields, Host from the
// authority, one framing, and who asked.
func (x *exchange) appendHead(dst []byte) []byte {
	r := x.request
	dst = append(append(dst, r.Method...), ' ')
	if p := x.search.entry.policy; p.Zero() && r.Scheme == nil && !x.rewritten() {
		dst = append(dst, r.Target...)
	} else {
		dst = p.AppendTarget(dst, r)
	}
	dst = appendLine(append(dst, " HTTP/1.1\r\n"...), "Host", r.Authority)
	hasID := false
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.Hop {
			continue
		}
		switch f.Kind {
		case http1.Host, http1.ContentLength, http1.TransferEncoding:
			continue
		case http1.Expect:
			if !x.streams {
				continue // the body goes with the head
			}
		case http1.Forwarded, http1.XForwardedFor, http1.XForwardedHost, http1.XForwardedProto, http1.XForwardedPort, http1.XRealIP:
			continue
		case http1.XRequestID:
			hasID = true
		}
		dst = appendField(dst, f)
	}
	if !hasID {
		dst = appendLine(dst, "X-Request-Id", x.id.bytes())
	}
	dst = x.appendForwarded(dst)
	if r.Trailers {
		dst = append(dst, "TE: trailers\r\nConnection: TE\r\n"...)
	}
	if r.Upgrade != nil && !isH2C(r.Upgrade) {
		dst = appendLine(append(dst, "Connection: Upgrade\r\n"...), "Upgrade", r.Upgrade)
	}
	switch {
	case r.Length == http1.Chunked && x.streams:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
		dst = appendKind(dst, r.Fields, http1.Trailer)
	case r.Length == http1.Chunked:
		dst = appendLength(dst, int64(len(x.body)))
	case r.Length > 0 || hasKind(r.Fields, http1.ContentLength):
		dst = appendLength(dst, r.Length)
	}
	return append(dst, "\r\n"...)
}

// isH2C tells the switch to HTTP/2, which RFC 9113 dropped. It is not passed on: behind it requests could go past the
// balancer unseen.
func isH2C(protocol []byte) bool { return bytes.EqualFold(protocol, []byte("h2c")) }

// appendLine appends a field's line.
func appendLine[N, V string | []byte](dst []byte, name N, value V) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

func appendField(dst []byte, f *http1.Field) []byte { return appendLine(dst, f.Name, f.Value) }

func appendLength(dst []byte, n int64) []byte {
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), n, 10)
	return append(dst, "\r\n"...)
}

func appendKind(dst []byte, fields []http1.Field, kind http1.Kind) []byte {
	for i := range fields {
		if fields[i].Kind == kind {
			dst = appendField(dst, &fields[i])
		}
	}
	return dst
}

func hasKind(fields []http1.Field, kind http1.Kind) bool { return valueOf(fields, kind) != nil }

// valueOf gives the value of the first field of a kind, nil for none.
func valueOf(fields []http1.Field, kind http1.Kind) []byte {
	for i := range fields {
		if fields[i].Kind == kind {
			return fields[i].Value
		}
	}
	return nil
}

// appendForwarded tells the target who asked, for which host, by which scheme: in the X-Forwarded fields and in
// Forwarded (RFC 7239). What a client wrote there itself is replaced, unless it is a proxy that is trusted; then what
// it said is kept and its own address added.
func (x *exchange) appendForwarded(dst []byte) []byte {
	r, c := x.request, x.client
	if c.trusted {
		return x.appendTrusted(dst)
	}
	dst = append(dst, c.fields...)
	dst = appendLine(dst, "X-Forwarded-Host", r.Authority)
	dst = x.appendForwardedBy(append(dst, "Forwarded: "...))
	return append(dst, "\r\n"...)
}

// appendForwardedBy appends an element of Forwarded.
func (x *exchange) appendForwardedBy(dst []byte) []byte {
	c := x.client
	if c.addr.Is6() {
		dst = append(c.addr.AppendTo(append(dst, `for="[`...)), `]"`...)
	} else {
		dst = c.addr.AppendTo(append(dst, "for="...))
	}
	if len(x.request.Authority) > 0 {
		dst = append(append(append(dst, `;host="`...), x.request.Authority...), '"') // its bytes need no escapes
	}
	return append(append(dst, ";proto="...), c.scheme()...)
}

func (x *exchange) appendTrusted(dst []byte) []byte {
	r, c := x.request, x.client
	list := func(name string, kind http1.Kind, own func([]byte) []byte) {
		dst = append(append(dst, name...), ": "...)
		for i := range r.Fields {
			if r.Fields[i].Kind == kind && len(r.Fields[i].Value) > 0 {
				dst = append(append(dst, r.Fields[i].Value...), ", "...)
			}
		}
		dst = append(own(dst), "\r\n"...)
	}
	keep := func(name string, kind http1.Kind, own []byte) {
		value := valueOf(r.Fields, kind)
		if value == nil {
			value = own
		}
		dst = appendLine(dst, name, value)
	}
	list("X-Forwarded-For", http1.XForwardedFor, func(b []byte) []byte { return c.addr.AppendTo(b) })
	list("Forwarded", http1.Forwarded, x.appendForwardedBy)
	keep("X-Forwarded-Host", http1.XForwardedHost, r.Authority)
	keep("X-Forwarded-Proto", http1.XForwardedProto, []byte(c.scheme()))
	keep("X-Forwarded-Port", http1.XForwardedPort, strconv.AppendUint(nil, uint64(c.port), 10))
	keep("X-Real-Ip", http1.XRealIP, c.addr.AppendTo(nil))
	return dst
}
