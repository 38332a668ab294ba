package policy

import (
	"bytes"
	"strings"
)

// Plain tells whether the path of a request's target is written in the one form that routes are matched by: without
// escapes, dot segments and slashes in a row. Nearly all are.
func Plain(raw []byte) bool {
	if len(raw) == 0 || raw[0] != '/' {
		return false
	}
	for i, c := range raw {
		if c == '%' {
			return false
		}
		if c == '/' && i+1 < len(raw) && (raw[i+1] == '/' || raw[i+1] == '.' && segmentOf(raw[i+1:]) != ordinary) {
			return false
		}
	}
	return true
}

// MatchPath gives the path that routes are matched by, from the path of a request's target as it was sent; the
// package's documentation says by which rules. An empty path, as an absolute target may have it, is "/", and the "*" of
// OPTIONS stays. It is raw itself where that is [Plain], else of scratch, which grows as it must and may not overlap
// raw. ok is false for a path that must be refused, with status 400.
func MatchPath(raw, scratch []byte) (path []byte, ok bool) {
	if Plain(raw) || len(raw) == 1 && raw[0] == '*' {
		return raw, true
	}
	if len(raw) == 0 {
		return append(scratch[:0], '/'), true
	}
	if raw[0] != '/' {
		return nil, false
	}
	path = scratch[:0]
	slash := false
	for i := 0; i < len(raw); {
		c, n := octet(raw[i:])
		if n == 0 || c == 0 {
			return nil, false
		}
		slash = slash || c == '/' && n > 1
		path = append(path, c)
		i += n
	}
	path, dots, ok := resolve(path[:0], path, segmentOf)
	if !ok || dots && slash {
		return nil, false
	}
	return mergeSlashes(path), true
}

// octet decodes what raw begins with and tells of how many bytes that was: 0 for a bad escape.
func octet(raw []byte) (c byte, n int) {
	if raw[0] != '%' {
		return raw[0], 1
	}
	if len(raw) < 3 {
		return 0, 0
	}
	high, low := digit(raw[1]), digit(raw[2])
	if high < 0 || low < 0 {
		return 0, 0
	}
	return byte(high<<4 | low), 3
}

// digit gives the value of a hexadecimal digit, -1 for another character.
func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// segment says what the segment of a path does.
type segment uint8

const (
	ordinary  segment = iota
	here              // ".": stays
	up                // "..": leaves the segment before
	ambiguous         // dots with a parameter, "..;x": one or the other to some servers
)

// segmentOf looks at the first segment of a decoded path that comes after a slash.
func segmentOf(path []byte) segment {
	dots := 0
	for dots < len(path) && dots < 3 && path[dots] == '.' {
		dots++
	}
	return settle(dots, path[dots:])
}

// rawSegmentOf is segmentOf for a path with escapes.
func rawSegmentOf(path []byte) segment {
	dots := 0
	for len(path) > 0 && dots < 3 {
		c, n := octet(path)
		if c != '.' {
			break
		}
		dots++
		path = path[n:]
	}
	return settle(dots, path)
}

// settle says what a segment that begins with so many dots does, by what comes after them.
func settle(dots int, rest []byte) segment {
	if dots == 0 || dots > 2 {
		return ordinary
	}
	switch {
	case len(rest) > 0 && rest[0] == ';':
		return ambiguous
	case len(rest) > 0 && rest[0] != '/':
		return ordinary
	case dots == 1:
		return here
	}
	return up
}

// resolve appends path without its dot segments to dst (RFC 3986, section 5.2.4: an empty segment is a segment), and
// tells whether there were any. dst may be the beginning of path. ok is false for an ambiguous segment.
func resolve(dst, path []byte, of func([]byte) segment) (out []byte, dots, ok bool) {
	start := len(dst)
	for len(path) > 0 {
		end := bytes.IndexByte(path[1:], '/') + 1
		if end == 0 {
			end = len(path)
		}
		s := of(path[1:])
		switch s {
		case ambiguous:
			return nil, true, false
		case ordinary:
			dst = append(dst, path[:end]...)
		case up:
			if i := bytes.LastIndexByte(dst[start:], '/'); i >= 0 {
				dst = dst[:start+i]
			}
		}
		if path = path[end:]; s != ordinary {
			dots = true
			if len(path) == 0 {
				dst = append(dst, '/') // what a dot segment ends with is a directory
			}
		}
	}
	return dst, dots, true
}

// hasDots tells whether a path as it was sent has dot segments.
func hasDots(raw []byte) bool {
	for len(raw) > 1 {
		if c := raw[1]; (c == '.' || c == '%') && rawSegmentOf(raw[1:]) != ordinary {
			return true
		}
		next := bytes.IndexByte(raw[1:], '/')
		if next < 0 {
			return false
		}
		raw = raw[1+next:]
	}
	return false
}

// mergeSlashes makes slashes in a row one, in place.
func mergeSlashes(path []byte) []byte {
	out := path[:0]
	for _, c := range path {
		if c != '/' || len(out) == 0 || out[len(out)-1] != '/' {
			out = append(out, c)
		}
	}
	return out
}

// MatchPrefix gives the form in which a route's path is compared with what MatchPath gives: without a slash at its end,
// and without slashes in a row.
func MatchPrefix(path string) string {
	if strings.Contains(path, "//") {
		path = string(mergeSlashes([]byte(path)))
	}
	return strings.TrimRight(path, "/")
}
