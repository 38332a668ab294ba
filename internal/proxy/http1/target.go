package http1

import (
	"bytes"
	"net/netip"
)

// Paths that a target leaves out (RFC 9112 sections 3.2.1 and 3.2.4).
var (
	rootPath    = []byte("/")
	serverWide  = []byte("*")
	schemeHTTP  = []byte("http")
	schemeHTTPS = []byte("https")
)

// splitTarget checks the target and takes it apart (RFC 9112 section 3.2).
//
// Of what the grammar of URIs does not allow it refuses what programs read differently: bytes outside of visible ASCII
// (nginx passes bytes from 0x80 on, HAProxy refuses them), "#" (nginx routes by what is before it, to net/http it is part
// of the path, HAProxy refuses it) and escapes that are none in the path (nginx and net/http refuse them, HAProxy passes
// them). So does it with an escaped NUL there, which the grammar allows and nginx refuses. A stray "%" in the query
// passes, as it does in all of those, and so do the visible bytes that browsers leave as they are.
func (r *Request) splitTarget() error {
	t := r.Target
	for _, c := range t {
		if class[c]&inTarget == 0 {
			if c == ' ' {
				return errRequestLine
			}
			return errTargetByte
		}
	}
	switch {
	case string(r.Method) == "CONNECT":
		if !validHost(t, true) {
			return errAuthority
		}
		r.Authority = t
		return nil
	case t[0] == '/':
		return r.splitPath(t)
	case t[0] == '*':
		if len(t) > 1 || string(r.Method) != "OPTIONS" {
			return errTargetForm
		}
		r.Path = t
		return nil
	}
	return r.splitAbsolute(t)
}

// splitAbsolute takes apart a target in absolute form.
func (r *Request) splitAbsolute(t []byte) error {
	i := bytes.IndexByte(t, ':')
	if i < 0 || !bytes.HasPrefix(t[i:], []byte("://")) {
		return errTargetForm
	}
	switch {
	case isFold(t[:i], "http"):
		r.Scheme = schemeHTTP
	case isFold(t[:i], "https"):
		r.Scheme = schemeHTTPS
	default:
		return errTargetScheme
	}
	t = t[i+len("://"):]
	end := bytes.IndexAny(t, "/?")
	if end < 0 {
		end = len(t)
	}
	if !validHost(t[:end], false) {
		return errAuthority
	}
	r.Authority = t[:end:end]
	switch t = t[end:]; {
	case len(t) == 0 && string(r.Method) == "OPTIONS":
		r.Path = serverWide
		return nil
	case len(t) == 0:
		r.Path = rootPath
		return nil
	case t[0] == '?':
		r.Path, r.Query, r.HasQuery = rootPath, t[1:], true
		return nil
	}
	return r.splitPath(t)
}

// splitPath takes apart path and query.
func (r *Request) splitPath(t []byte) error {
	r.Path = t
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		r.Path, r.Query, r.HasQuery = t[:i:i], t[i+1:], true
	}
	for rest := r.Path; ; {
		i := bytes.IndexByte(rest, '%')
		if i < 0 {
			return nil
		}
		rest = rest[i+1:]
		if len(rest) < 2 || !all(rest[:2], inHex) || string(rest[:2]) == "00" {
			return errTargetEscape
		}
		rest = rest[2:]
	}
}

// validHost tells whether b is a host with an optional port, or one that must have it: a name of letters, digits and
// "-._~", an IPv4 address, or an IPv6 address in brackets. The grammar (RFC 3986 section 3.2.2) would also allow an empty
// name, which http forbids (RFC 9110 section 4.2.1), and escapes and "!$&'()*+,;=", which no name that is in use has and
// which could pass for a list or a command elsewhere.
func validHost(b []byte, needsPort bool) bool {
	end := 0
	if len(b) > 0 && b[0] == '[' {
		end = bytes.IndexByte(b, ']')
		if end < 0 || !validIPv6(b[1:end]) {
			return false
		}
		end++
	} else {
		for end < len(b) && class[b[end]]&inHost != 0 {
			end++
		}
		if end == 0 {
			return false
		}
	}
	if end == len(b) {
		return !needsPort
	}
	if b[end] != ':' {
		return false
	}
	port := b[end+1:]
	if len(port) == 0 {
		return !needsPort // RFC 3986 section 3.2.3 allows it to be empty
	}
	n := number(port)
	return len(port) <= 5 && 0 <= n && n <= 1<<16-1
}

// validIPv6 tells whether b is an IPv6 address without a zone. It makes a string of it, the package's only allocation
// for a valid head.
func validIPv6(b []byte) bool {
	if len(b) > len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255") {
		return false
	}
	a, err := netip.ParseAddr(string(b))
	return err == nil && a.Is6() && a.Zone() == ""
}
