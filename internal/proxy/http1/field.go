package http1

import "bytes"

// MaxFields is how many fields a head or a trailer section may have.
const MaxFields = 256

// MaxLine is how many bytes a request line or a status line may have, without its end. RFC 9112 section 3 asks for 8000
// at least.
const MaxLine = 16 << 10

// maxNominated is how many fields beside the usual ones Connection may name: each is searched for in all fields.
const maxNominated = 32

// Field is one field line. Its slices are of the message's buffer.
type Field struct {
	Kind Kind
	// Hop marks what must not be passed on: a field that means this connection only, one that Connection names, one
	// whose name reads like that of a known field once "_" is taken for "-" (as CGI and its heirs do, to whom
	// X_Forwarded_For would count as X-Forwarded-For), and Content-Length in an answer that cannot have a body.
	Hop   bool
	Name  []byte // as sent
	Value []byte // without white space around it; may be empty
}

// mark is how far a head was read that was not whole, so that each byte is looked at once however it trickles in. All
// offsets are below the length of the buffer that they were taken from.
type mark struct {
	base  *byte // where the buffer began: another buffer is read from its start
	line  int   // start of the first line that was not whole; 0 for the first line, blank line before it included
	colon int   // of that field line, 0 when its name is not whole
	seen  int   // where to go on within that line
}

// of tells whether b still begins with what the mark was taken from. That the bytes are the same is up to the caller.
func (m *mark) of(b []byte) bool { return m.base == &b[0] && m.seen <= len(b) }

// appendFields reads field lines from m on up to the empty line and appends them to dst, a field a line. It gives the
// offset behind the empty line. With ErrIncomplete the mark is where to go on.
func appendFields(dst []Field, b []byte, m *mark) ([]Field, int, error) {
	start, i, colon := m.line, m.seen, m.colon
	for {
		if colon == 0 {
			for i < len(b) && class[b[i]]&inName != 0 {
				i++
			}
			switch {
			case i == len(b):
				m.line, m.colon, m.seen = start, 0, i
				return dst, 0, ErrIncomplete
			case b[i] == ':' && i > start:
				colon = i
				i++
			case b[i] == '\r' && i == start:
				if i+1 == len(b) {
					m.line, m.colon, m.seen = start, 0, i
					return dst, 0, ErrIncomplete
				}
				if b[i+1] != '\n' {
					return dst, 0, errBareCR
				}
				return dst, i + 2, nil
			default:
				return dst, 0, nameFault(b[start:], i-start)
			}
		}
		i = valueEnd(b, i)
		if i+1 >= len(b) && (i == len(b) || b[i] == '\r') {
			m.line, m.colon, m.seen = start, colon, i
			return dst, 0, ErrIncomplete
		}
		if b[i] != '\r' || b[i+1] != '\n' {
			return dst, 0, valueFault(b[i])
		}
		if len(dst) == MaxFields {
			return dst, 0, errManyFields
		}
		name := b[start:colon:colon]
		kind := KindOf(name)
		dst = append(dst, Field{
			Kind: kind, Hop: hops[kind] || kind == Other && looksKnown(name),
			Name: name, Value: trimOWS(b[colon+1 : i : i]),
		})
		i += 2
		start, colon = i, 0
	}
}

// nameFault says what is wrong with a field line that is a name only up to the byte at i.
func nameFault(line []byte, i int) error {
	switch c := line[i]; {
	case c == ':':
		return errEmptyName
	case c == '\n' && i == 0:
		return errBareLF
	case c == '\r' || c == '\n':
		return errNoColon
	case isOWS(c) && i == 0:
		return errFolded
	case isOWS(c):
		return errNameSpace
	}
	return errNameByte
}

// valueFault says why a value may not have the byte c.
func valueFault(c byte) error {
	switch c {
	case '\n':
		return errBareLF
	case '\r':
		return errBareCR
	}
	return errValueByte
}

// looksKnown tells whether a name that is no kind's is one once "_" is taken for "-".
func looksKnown(name []byte) bool {
	if len(name) > len("proxy-authorization") || bytes.IndexByte(name, '_') < 0 {
		return false
	}
	var dashed [len("proxy-authorization")]byte
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		dashed[i] = c
	}
	return KindOf(dashed[:len(name)]) != Other
}
