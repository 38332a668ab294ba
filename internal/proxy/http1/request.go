package http1

import "bytes"

// Lengths of a body that are no number of bytes.
const (
	Chunked    = -1 // see [Chunks]
	UntilClose = -2 // a response's, up to the connection's end
)

// Request is the head of a request. The zero value is ready; a value is best used again and again, so that its slice of
// fields is.
type Request struct {
	Method, Target []byte // as sent

	// Path and Query are of the target, raw: escapes stand as sent. Path is nil for CONNECT, "*" for the server as a
	// whole, and never empty: "/" or "*" where an absolute target has none (RFC 9112 sections 3.2.1, 3.2.4).
	Path, Query []byte
	HasQuery    bool // the target has a "?", be it the last byte

	// Authority is host and port, if there is one, as sent: those of an absolute target or of CONNECT's, which win over
	// the Host field (RFC 9112 section 3.2.2), or that field's. Nil for HTTP/1.0 without either. Whoever passes the
	// request on sends this as Host, not the field.
	Authority []byte
	Scheme    []byte // "http" or "https" of an absolute target, nil for the other forms

	Minor    int     // of the version: 0 or 1
	Fields   []Field // as sent, in order
	Length   int64   // of the body in bytes, or Chunked
	Close    bool    // the connection does not outlive this exchange
	Upgrade  []byte  // the protocols to switch to, when Connection names Upgrade too; else nil
	Expect   bool    // the client waits for 100 (Continue) before it sends the body, which it has
	Trailers bool    // the client accepts a trailer section: TE has trailers
	Size     int     // of the head in bytes, its last empty line and a blank line before it included

	mark mark
}

// Reset forgets the request and the buffer that it was read from. Parse does so itself, except after ErrIncomplete.
func (r *Request) Reset() {
	clear(r.Fields)
	*r = Request{Fields: r.Fields[:0]}
}

// Parse reads one head from the start of b. What it sets is valid when it gives nil; after an *Error, Method and Target
// are as far as they were read.
//
// ErrIncomplete means that b ends before the head does: call again with the same bytes and more behind them, in the same
// array, where it goes on, or moved to another, where it starts anew; call Reset first when b begins with other bytes.
// An error is found at the first byte that shows it, except in the request line, which is judged when it is whole. The
// answer depends on the bytes alone, not on how they came in.
//
// The caller bounds the head by the length of b. One blank line before the request line is skipped (RFC 9112
// section 2.2).
func (r *Request) Parse(b []byte) error {
	if len(b) == 0 {
		return ErrIncomplete
	}
	if !r.mark.of(b) {
		*r = Request{Fields: r.Fields[:0], mark: mark{base: &b[0]}}
	}
	err := r.parse(b)
	if !incomplete(err) {
		r.mark = mark{}
	}
	return err
}

func (r *Request) parse(b []byte) error {
	if r.mark.line == 0 {
		if err := r.requestLine(b); err != nil {
			return err
		}
	}
	var err error
	if r.Fields, r.Size, err = appendFields(r.Fields, b, &r.mark); err != nil {
		return err
	}
	m, err := settle(r.Fields, r.Minor)
	if err != nil {
		return err
	}
	if err := r.host(&m); err != nil {
		return err
	}
	switch {
	case m.chunked:
		r.Length = Chunked
	case m.length > 0:
		r.Length = m.length
	}
	r.Close = m.closes(r.Minor)
	r.Upgrade = m.protocol(r.Minor)
	// RFC 9110 section 10.1.1: of no meaning in HTTP/1.0, nor without a body.
	r.Expect = m.expect && r.Minor == 1 && r.Length != 0
	r.Trailers = m.trailers && r.Minor == 1
	return nil
}

// requestLine reads the first line.
func (r *Request) requestLine(b []byte) error {
	start := 0
	if b[0] == '\r' {
		switch {
		case len(b) == 1:
			return ErrIncomplete
		case b[1] != '\n':
			return errLeadingReturn
		case len(b) == 2:
			return ErrIncomplete
		}
		start = 2
	}
	if class[b[start]]&inName == 0 {
		return errMethod // at once, so that TLS on a plain port need not wait for a line's end
	}
	line, err := firstLine(b, start, &r.mark, errLineLong)
	if err != nil {
		return err
	}
	i := bytes.IndexByte(line, ' ')
	if i < 0 {
		return errRequestLine
	}
	if !all(line[:i], inName) {
		return errMethod
	}
	r.Method = line[:i:i]
	const version = len(" HTTP/1.1")
	end := len(line) - version
	if end <= i+1 {
		return errRequestLine
	}
	switch v := line[end:]; {
	case string(v) == " HTTP/1.1":
		r.Minor = 1
	case string(v) == " HTTP/1.0":
	case isVersion(v):
		return errVersion
	default:
		return errRequestLine
	}
	r.Target = line[i+1 : end : end]
	return r.splitTarget()
}

// isVersion tells whether b is a space and a version that is neither of the two known ones.
func isVersion(b []byte) bool {
	return string(b[:6]) == " HTTP/" && '0' <= b[6] && b[6] <= '9' && b[7] == '.' && '0' <= b[8] && b[8] <= '9'
}

// host checks the Host field (RFC 9112 section 3.2).
func (r *Request) host(m *meaning) error {
	switch {
	case m.hosts > 1:
		return errHosts
	case m.host == nil:
		if r.Minor == 1 {
			return errHostMissing
		}
		return nil
	case !validHost(m.host.Value, false):
		return errHost
	}
	if r.Authority == nil {
		r.Authority = m.host.Value
	}
	return nil
}

// firstLine gives the line at start without its end, and sets the mark behind it. With ErrIncomplete the mark is how
// far there is no end of it.
func firstLine(b []byte, start int, m *mark, long error) ([]byte, error) {
	i := max(start, m.seen)
	n := bytes.IndexByte(b[i:], '\n')
	if n < 0 {
		if len(b)-start > MaxLine+1 {
			return nil, long
		}
		m.seen = len(b)
		return nil, ErrIncomplete
	}
	line := b[start : i+n]
	if len(line) > MaxLine+1 {
		return nil, long
	}
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return nil, errBareLF
	}
	m.line, m.seen = i+n+1, i+n+1
	return line[:len(line)-1], nil
}
