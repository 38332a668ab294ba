package policy

import (
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/http1"
)

// rewrite puts another path in the place of the route's.
type rewrite struct {
	prefix string // of the request's path, decoded, without the slash at its end
	whole  string // what stands for the prefix alone
	base   string // what comes before a slash and the rest
}

func compileRewrite(to, prefix string) (*rewrite, error) {
	if to == "" {
		return nil, nil // no rewrite is no error
	}
	if !configuredPath(to) {
		return nil, api.FieldError("rewrite", to, configuredRule)
	}
	whole := string(appendURI(nil, to))
	return &rewrite{prefix: prefix, whole: whole, base: strings.TrimRight(whole, "/")}, nil
}

const configuredRule = "a path that begins with '/', without query, '.' and '..'"

// configuredPath tells whether what requests are sent or redirected to is a path, and will not be resolved to another.
func configuredPath(path string) bool {
	return strings.HasPrefix(path, "/") && fieldValue(path) && !strings.ContainsAny(path, "?#") && !hasDots([]byte(path))
}

// AppendTarget appends the request target to send on to dst: the path as the client wrote it, with the route's rewrite,
// and the query. Dot segments are resolved; the package's documentation says why. An absolute target becomes its path
// (RFC 9112, section 3.2.1).
func (p *Policy) AppendTarget(dst []byte, r *http1.Request) []byte {
	path := r.Path
	switch {
	case len(path) == 0:
		return append(dst, r.Target...) // CONNECT's, which is nobody's path
	case path[0] != '/':
		return append(dst, path...) // "*"
	}
	if hasDots(path) {
		if resolved, _, ok := resolve(nil, path, rawSegmentOf); ok {
			path = resolved
		}
	}
	if p.rewrite != nil {
		dst = p.rewrite.append(dst, path)
	} else {
		dst = append(dst, path...)
	}
	if r.HasQuery {
		dst = append(append(dst, '?'), r.Query...)
	}
	return dst
}

// append appends the rewritten path. A path that is not below the route's stays as it is.
func (w *rewrite) append(dst, path []byte) []byte {
	rest, ok := cut(path, w.prefix)
	if !ok {
		return append(dst, path...)
	}
	if len(rest) == 0 {
		return append(dst, w.whole...)
	}
	// One slash stands for however many there were: "//host" would be another server's address in a link.
	dst = append(append(dst, w.base...), '/')
	return append(dst, trimSlashes(rest)...)
}

// cut gives what follows prefix in a path as it was sent: nothing, or what begins with a slash, encoded or not. prefix
// is decoded and has no slash at its end. ok is false when the path is not below it.
func cut(path []byte, prefix string) (rest []byte, ok bool) {
	for i := range len(prefix) {
		if len(path) == 0 {
			return nil, false
		}
		c, n := octet(path)
		if n == 0 || c != prefix[i] {
			return nil, false
		}
		if path = path[n:]; c == '/' {
			path = trimSlashes(path)
		}
	}
	if len(path) > 0 {
		if c, _ := octet(path); c != '/' {
			return nil, false
		}
	}
	return path, true
}

// trimSlashes takes the slashes off the beginning of a path as it was sent, encoded ones too.
func trimSlashes(path []byte) []byte {
	for len(path) > 0 {
		c, n := octet(path)
		if c != '/' {
			break
		}
		path = path[n:]
	}
	return path
}

// appendURI appends s with everything escaped that may not stand in a path or query (RFC 3986, sections 3.3 and 3.4), so
// that the result has neither white space nor control characters. An escape stays one.
func appendURI[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		bad := c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>[\\]^`{|}", c) >= 0
		if c == '%' {
			bad = i+2 >= len(s) || digit(s[i+1]) < 0 || digit(s[i+2]) < 0
		}
		if bad {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}
