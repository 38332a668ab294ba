package http1

import "strconv"

const (
	maxChunkLine = 256      // bytes of a chunk's first line, extensions included, without its end
	maxChunk     = 1 << 58  // bytes of a chunk; another digit behind it still fits an int64
	maxDigits    = 16       // of a chunk's size
	maxExcess    = 16 << 10 // bytes of a body's lines beyond what is in order, see endLine
	maxTrailers  = 16 << 10 // bytes of the trailer section
	keptTrailers = 1 << 10  // bytes of its buffer that a Chunks keeps for its next body
)

// place is where in a chunked body a Chunks is.
type place uint8

const (
	atSize      place = iota // among the digits of a chunk's size
	atExtension              // behind them
	atLineFeed               // behind the CR of that line
	atData
	atDataReturn // behind a chunk's data
	atDataFeed
	atTrailers // behind the last chunk's line
	atEnd
)

// Chunks decodes one chunked body (RFC 9112 section 7.1), piece by piece. The zero value is ready.
type Chunks struct {
	place   place
	digits  int   // of the size, so far
	line    int   // bytes of the chunk's first line, so far
	left    int64 // of the chunk's data; while its size is read, that
	excess  int64
	trailer []byte // the trailer section as received, and maybe bytes behind it
	fields  []Field
	mark    mark // within trailer
	err     error
}

// Reset makes c ready for another body. Its trailer fields are no longer valid.
func (c *Chunks) Reset() {
	trailer := c.trailer[:0]
	if cap(trailer) > keptTrailers {
		trailer = nil
	}
	clear(c.fields)
	*c = Chunks{trailer: trailer, fields: c.fields[:0]}
}

// Trailer gives the fields of the trailer section once Next has said that the body is done; none before. They are copies,
// valid until Reset. What may not stand in a trailer section has been left out: fields that frame, route, authenticate or
// control the message, or say how to read its content (RFC 9110 section 6.5.1).
func (c *Chunks) Trailer() []Field {
	if c.place != atEnd {
		return nil
	}
	return c.fields
}

// Next takes the next step on b, the bytes not used yet. It gives some of the body's data, a slice of b that may be
// empty; how many bytes of b are used up, which may be fewer than there are, also with no data; and whether the body with
// its trailer section has ended. Bytes behind the end are not used. An error is an *Error and stays; the data that came
// before it in b is not given.
//
// It needs no whole chunk nor line: it uses all of b unless there is more data behind other data, or the body ends.
// Extensions of chunks are checked for their bytes and dropped.
func (c *Chunks) Next(b []byte) (data []byte, used int, done bool, err error) {
	if c.err != nil {
		return nil, 0, false, c.err
	}
	i := 0
	for i < len(b) && c.place != atEnd {
		if c.place == atData {
			if data != nil {
				return data, i, false, nil
			}
			n := int(min(int64(len(b)-i), c.left))
			data = b[i : i+n : i+n]
			i += n
			if c.left -= int64(n); c.left == 0 {
				c.place = atDataReturn
			}
			continue
		}
		n, err := c.step(b[i:])
		if err != nil {
			c.err = err
			return nil, 0, false, err
		}
		i += n
	}
	return data, i, c.place == atEnd, nil
}

// step reads what is not data. It gives how many bytes it used: at least one.
func (c *Chunks) step(b []byte) (int, error) {
	switch c.place {
	case atSize:
		return c.size(b)
	case atExtension:
		return c.extension(b)
	case atLineFeed:
		if b[0] != '\n' {
			return 0, errBareCR
		}
		return 1, c.endLine()
	case atDataReturn:
		if b[0] != '\r' {
			return 0, errChunkEnd
		}
		c.place = atDataFeed
		return 1, nil
	case atDataFeed:
		if b[0] != '\n' {
			return 0, errChunkEnd
		}
		c.place = atSize
		return 1, nil
	}
	return c.trailers(b)
}

// size reads digits, and the byte that ends them. White space there, which RFC 9112 section 7.1.1 would have parsed
// before an extension, is refused: programs differ in it.
func (c *Chunks) size(b []byte) (int, error) {
	for i, ch := range b {
		digit := class[ch]&inHex != 0
		switch {
		case digit && c.digits == maxDigits:
			return 0, errChunkBig
		case digit:
			c.digits++
			c.line++
			if c.left = c.left<<4 | int64(hexDigit(ch)); c.left > maxChunk || c.left < 0 {
				return 0, errChunkBig
			}
			continue
		case c.digits == 0:
			return 0, errChunkSize
		case ch == ';':
			c.place = atExtension
			c.line++
		case ch == '\r':
			c.place = atLineFeed
		case ch == '\n':
			return 0, errBareLF
		default:
			return 0, errChunkLine
		}
		return i + 1, nil
	}
	return len(b), nil
}

// hexDigit gives the value of a hexadecimal digit.
func hexDigit(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// extension passes over a chunk's extensions and the CR behind them.
func (c *Chunks) extension(b []byte) (int, error) {
	i := valueEnd(b, 0)
	if c.line += i; c.line > maxChunkLine {
		return 0, errChunkLineLong
	}
	switch {
	case i == len(b):
		return i, nil
	case b[i] == '\r':
		c.place = atLineFeed
		return i + 1, nil
	case b[i] == '\n':
		return 0, errBareLF
	}
	return 0, errChunkLineByte
}

// endLine takes the size that was read. A sender may put a line around each byte of data but not make the receiver read
// without end for nothing: it has 16 bytes a chunk and twice the data, and 16 KiB beyond those, as in net/http.
func (c *Chunks) endLine() error {
	c.excess = max(0, c.excess+int64(c.line)+2-16-2*c.left)
	if c.excess > maxExcess {
		return errChunkExcess
	}
	c.place = atData
	if c.left == 0 {
		c.place = atTrailers
	}
	c.digits, c.line = 0, 0
	return nil
}

// trailers reads the trailer section, mostly an empty line.
func (c *Chunks) trailers(b []byte) (int, error) {
	if len(c.trailer) == 0 && len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		c.place = atEnd
		return 2, nil
	}
	before := len(c.trailer)
	n := min(len(b), maxTrailers-before)
	c.trailer = append(c.trailer, b[:n]...)
	fields, end, err := appendFields(c.fields, c.trailer, &c.mark)
	c.fields = fields
	switch {
	case incomplete(err) && len(c.trailer) == maxTrailers:
		return 0, errTrailersLong
	case incomplete(err):
		return n, nil
	case err != nil:
		return 0, err
	}
	kept := c.fields[:0]
	for _, f := range c.fields {
		if MayTrail(&f) {
			kept = append(kept, f)
		}
	}
	c.fields = kept
	c.place = atEnd
	return end - before, nil
}

// MayTrail tells whether a field may stand in a trailer section: of those that a proxy knows only ETag (RFC 9110
// section 8.8.3), and of the others all that are not for the start of the message.
func MayTrail(f *Field) bool {
	if f.Hop || f.Kind != Other && f.Kind != ETag || isForwarded(f.Name) {
		return false
	}
	for _, name := range leading {
		if isFold(f.Name, name) {
			return false
		}
	}
	return true
}

// leading are the fields beside those of a Kind that must come before the content: controls, conditions, credentials,
// what says how to read the content, and names that targets believe about the client.
var leading = [...]string{
	"accept", "accept-charset", "accept-language", "accept-ranges", "age", "allow", "content-disposition",
	"content-language", "content-location", "expires", "from", "if-match", "if-modified-since", "if-none-match",
	"if-range", "if-unmodified-since", "last-modified", "max-forwards", "origin", "pragma", "range",
	"strict-transport-security", "tracestate", "warning", "www-authenticate", "authentication-info",
	"proxy-authentication-info",
}

// AppendChunkHead appends the first line of a chunk of n bytes; 0 is the last chunk's.
func AppendChunkHead(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), '\r', '\n')
}
