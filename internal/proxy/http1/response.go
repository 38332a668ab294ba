package http1

import "errors"

// Response is the head of a response. The zero value is ready; a value is best used again and again, so that its slice
// of fields is.
type Response struct {
	Status   int     // 100 to 599
	Reason   []byte  // may be empty
	Minor    int     // of the version: 0 or 1
	Fields   []Field // as sent, in order
	Length   int64   // of the body in bytes, or Chunked or UntilClose
	Declared int64   // Content-Length, -1 for none: an answer to HEAD and a 304 tell it and have no body
	Close    bool    // the connection does not outlive this exchange
	Upgrade  []byte  // the protocol switched to, when Connection names Upgrade too; else nil
	Size     int     // of the head in bytes, its last empty line included

	mark mark
}

// Reset forgets the response and the buffer that it was read from. Parse does so itself, except after ErrIncomplete.
func (r *Response) Reset() {
	clear(r.Fields)
	*r = Response{Fields: r.Fields[:0]}
}

// Parse reads one head from the start of b; head says that it answers a HEAD. It works as [Request.Parse] does. Interim
// answers (1xx) are heads of their own: the caller reads on. Nothing may stand before the status line.
//
// An answer of 1xx or 204 has no body whatever it says (RFC 9112 section 6.3); when it says that it has one, its
// connection is not to be used again, for the target may send it nonetheless.
func (r *Response) Parse(b []byte, head bool) error {
	if len(b) == 0 {
		return ErrIncomplete
	}
	if !r.mark.of(b) {
		*r = Response{Fields: r.Fields[:0], mark: mark{base: &b[0]}}
	}
	err := r.parse(b, head)
	if incomplete(err) {
		return err
	}
	r.mark = mark{}
	if fault, ok := errors.AsType[*Error](err); ok && fault.Status != 502 {
		return &Error{502, fault.Reason}
	}
	return err
}

func (r *Response) parse(b []byte, head bool) error {
	if r.mark.line == 0 {
		if err := r.statusLine(b); err != nil {
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
	r.Declared = m.length
	r.Close = m.closes(r.Minor)
	r.Upgrade = m.protocol(r.Minor)
	switch {
	case r.Status < 200 || r.Status == 204:
		r.Close = r.Close || m.chunked || m.length > 0
		drop(r.Fields, []byte("content-length")) // RFC 9110 section 8.6
	case r.Status == 304 || head:
	case m.chunked:
		r.Length = Chunked
	case m.length >= 0:
		r.Length = m.length
	default:
		r.Length = UntilClose
		r.Close = true
	}
	return nil
}

// statusLine reads the first line (RFC 9112 section 4). The space before an empty reason may be missing, as it is in the
// answers of many small servers: the reason means nothing to a recipient.
func (r *Response) statusLine(b []byte) error {
	const version = "HTTP/1."
	for i := range min(len(b), len(version)) {
		if b[i] != version[i] {
			if i < len("HTTP/") {
				return errStatusLine
			}
			return errStatusOld
		}
	}
	line, err := firstLine(b, 0, &r.mark, errStatusLong)
	if err != nil {
		return err
	}
	if len(line) < len("HTTP/1.1 200") || line[8] != ' ' {
		return errStatusLine
	}
	switch line[7] {
	case '1':
		r.Minor = 1
	case '0':
	default:
		return errStatusOld
	}
	status := number(line[9:12])
	if status < 100 || status > 599 {
		return errStatusLine
	}
	r.Status = int(status)
	reason := line[12:]
	if len(reason) > 0 {
		if reason[0] != ' ' {
			return errStatusLine
		}
		reason = reason[1:]
	}
	if valueEnd(reason, 0) < len(reason) {
		return errStatusLine
	}
	r.Reason = reason
	return nil
}
