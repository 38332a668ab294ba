package http1

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// chunksCase is a chunked body and what is behind it.
type chunksCase struct {
	name     string // with the section of RFC 9112, or of RFC 9110 where it says so
	body     string
	data     string // when there is no error
	trailers string // "name=value" of each, with a space between
	rest     string // of body, not used
	open     bool   // the body does not end
	err      *Error
}

var chunksCases = []chunksCase{
	{name: "7.1 no data", body: "0\r\n\r\n"},
	{name: "7.1 one chunk", body: "5\r\nhello\r\n0\r\n\r\n", data: "hello"},
	{name: "7.1 some chunks", body: "1\r\na\r\n0A\r\n0123456789\r\n2\r\n\r\n\r\n0\r\n\r\n", data: "a0123456789\r\n"},
	{name: "7.1 what follows is not used", body: "1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", data: "a", rest: "GET / HTTP/1.1\r\n"},
	{name: "7.1 digits of both cases", body: "0000000000000aA\r\n" + strings.Repeat("b", 0xaa) + "\r\n000\r\n\r\n", data: strings.Repeat("b", 0xaa)},
	{name: "7.1 data like a chunk", body: "5\r\n0\r\n\r\n\r\n0\r\n\r\n", data: "0\r\n\r\n"},
	{name: "7.1 not whole: size", body: "1\r\na\r\n1", data: "a", open: true},
	{name: "7.1 not whole: data", body: "5\r\nhel", data: "hel", open: true},
	{name: "7.1 not whole: no last chunk", body: "1\r\na\r\n", data: "a", open: true},
	{name: "7.1 not whole: no empty line", body: "1\r\na\r\n0\r\n", data: "a", open: true},
	{name: "7.1 not whole: nothing", body: "", open: true},
	{name: "7.1 greatest size", body: "400000000000000\r\na", data: "a", open: true},
	{name: "7.1 size too great", body: "400000000000001\r\na", err: errChunkBig},
	{name: "7.1 size of 63 bits", body: "7fffffffffffffff\r\na", err: errChunkBig},
	{name: "7.1 size of 64 bits", body: "ffffffffffffffff\r\na", err: errChunkBig},
	{name: "7.1 size of 65 bits", body: "10000000000000000\r\na", err: errChunkBig},
	{name: "7.1 size that would wrap around", body: "10000000000000001\r\na", err: errChunkBig},
	{name: "7.1 seventeen zeros", body: "00000000000000000\r\n\r\n", err: errChunkBig},
	{name: "7.1 empty size", body: "\r\n\r\n", err: errChunkSize},
	{name: "7.1 extension alone", body: ";a\r\n\r\n", err: errChunkSize},
	{name: "7.1 no digit", body: "g\r\n\r\n", err: errChunkSize},
	{name: "7.1 prefix of a number", body: "0x1\r\na\r\n0\r\n\r\n", err: errChunkLine},
	{name: "7.1 minus", body: "-1\r\na\r\n0\r\n\r\n", err: errChunkSize},
	{name: "7.1 plus", body: "+1\r\na\r\n0\r\n\r\n", err: errChunkSize},
	{name: "7.1 underscore", body: "1_0\r\na\r\n0\r\n\r\n", err: errChunkLine},
	{name: "7.1 space before the size", body: " 1\r\na\r\n0\r\n\r\n", err: errChunkSize},
	{name: "7.1 space behind the size", body: "1 \r\na\r\n0\r\n\r\n", err: errChunkLine},
	{name: "7.1.1 space before an extension", body: "1 ;a\r\nb\r\n0\r\n\r\n", err: errChunkLine},
	{name: "2.2 size ends with LF", body: "1\na\r\n0\r\n\r\n", err: errBareLF},
	{name: "2.2 size ends with CR", body: "1\ra\r\n0\r\n\r\n", err: errBareCR},
	{name: "2.2 last size ends with LF", body: "0\n\r\n", err: errBareLF},
	{name: "2.2 last size ends with two CR", body: "0\r\r\n\r\n", err: errBareCR},
	{name: "7.1 data longer than its size", body: "1\r\nab\r\n0\r\n\r\n", err: errChunkEnd},
	{name: "7.1 data shorter than its size", body: "3\r\na\r\n0\r\n\r\n", err: errChunkEnd},
	{name: "2.2 data ends with LF", body: "1\r\na\n0\r\n\r\n", err: errChunkEnd},
	{name: "2.2 data ends with CR", body: "1\r\na\r0\r\n\r\n", err: errChunkEnd},
	{name: "7.1 no line end behind the data", body: "1\r\na0\r\n\r\n", err: errChunkEnd},

	{name: "7.1.1 extensions are dropped", body: "1;a;b=c;d=\"e f\t\xff;\"\r\nx\r\n0;g\r\n\r\n", data: "x"},
	{name: "7.1.1 bare LF in an extension", body: "1;a\nx\r\n0\r\n\r\n", err: errBareLF},
	{name: "7.1.1 bare CR in an extension", body: "1;a\rb\r\nx\r\n0\r\n\r\n", err: errBareCR},
	{name: "7.1.1 quoted line end in an extension", body: "1;a=\"\r\nx\r\n0\r\n\r\n", data: "x"},
	{name: "7.1.1 NUL in an extension", body: "1;a\x00\r\nx\r\n0\r\n\r\n", err: errChunkLineByte},
	{name: "7.1.1 longest line", body: "1;" + strings.Repeat("a", maxChunkLine-2) + "\r\nx\r\n0\r\n\r\n", data: "x"},
	{name: "7.1.1 line too long", body: "1;" + strings.Repeat("a", maxChunkLine-1) + "\r\nx\r\n0\r\n\r\n", err: errChunkLineLong},
	{name: "7.1.1 single bytes are in order", body: strings.Repeat("1\r\na\r\n", 5000) + "0\r\n\r\n", data: strings.Repeat("a", 5000)},
	{name: "7.1.1 too much in extensions", body: strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\na\r\n", 100) + "0\r\n\r\n", err: errChunkExcess},

	{name: "7.1.2 trailers", body: "0\r\nX-A: b \r\ngrpc-status:0\r\nEmpty:\r\n\r\n", trailers: "X-A=b grpc-status=0 Empty="},
	{name: "7.1.2 trailers, and what follows", body: "1\r\na\r\n0\r\nA: b\r\n\r\nHTTP/1.1", data: "a", trailers: "A=b", rest: "HTTP/1.1"},
	{name: "9110 6.5.1 what must not be there is dropped",
		body: "0\r\nContent-Length: 1\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\nHost: a\r\nConnection: X-A\r\nSet-Cookie: a\r\nAuthorization: a\r\n" +
			"X-Forwarded-For: a\r\nX-Forwarded-User: a\r\nX_Forwarded_For: a\r\nRANGE: a\r\nIf-Match: a\r\nPragma: a\r\nETag: a\r\nTrailer: a\r\nContent-Type: a\r\n\r\n",
		trailers: "X-A=1 ETag=a"},
	{name: "7.1.2 half a trailer", body: "0\r\nX-A: b\r\n", open: true},
	{name: "7.1.2 space before the colon", body: "0\r\nX-A : b\r\n\r\n", err: errNameSpace},
	{name: "7.1.2 folded", body: "0\r\nX-A: b\r\n c\r\n\r\n", err: errFolded},
	{name: "7.1.2 bare LF", body: "0\r\nX-A: b\n\r\n", err: errBareLF},
	{name: "7.1.2 empty line is LF", body: "0\r\n\n", err: errBareLF},
	{name: "7.1.2 empty line is CR and more", body: "0\r\n\rX", err: errBareCR},
	{name: "7.1.2 no colon", body: "0\r\n0\r\n\r\n", err: errNoColon},
	{name: "7.1.2 NUL", body: "0\r\nX-A: \x00\r\n\r\n", err: errValueByte},
	{name: "7.1.2 longest section", body: "0\r\nA: " + strings.Repeat("b", maxTrailers-7) + "\r\n\r\n", trailers: "A=" + strings.Repeat("b", maxTrailers-7)},
	{name: "7.1.2 section too long", body: "0\r\nA: " + strings.Repeat("b", maxTrailers-6) + "\r\n\r\n", err: errTrailersLong},
	{name: "7.1.2 most trailers", body: "0\r\n" + strings.Repeat("A:\r\n", MaxFields) + "\r\n", trailers: strings.TrimSpace(strings.Repeat("A= ", MaxFields))},
	{name: "7.1.2 too many trailers", body: "0\r\n" + strings.Repeat("A:\r\n", MaxFields+1) + "\r\n", err: errManyFields},
}

// decoded is what came of a chunked body.
type decoded struct {
	data, trailers string
	used           int // bytes, when done
	done           bool
	err            error
}

// decode gives c the body in pieces that end at the offsets of cuts, and each piece until it is used up.
func decode(t *testing.T, c *Chunks, body []byte, cuts ...int) decoded {
	t.Helper()
	var d decoded
	begin := 0
	for _, end := range append(slices.Clone(cuts), len(body)) {
		for b := body[begin:end:end]; ; {
			data, used, done, err := c.Next(b)
			if err != nil {
				if _, _, _, again := c.Next([]byte("0\r\n\r\n")); again != err { //nolint:errorlint // the very same
					t.Fatalf("%q: after %v: %v", body, err, again)
				}
				return decoded{err: err}
			}
			if cap(data) != len(data) {
				t.Fatalf("%q: data that can be appended to: %q", body, data)
			}
			d.data += string(data)
			d.used += used
			if done {
				d.done = true
				for _, f := range c.Trailer() {
					d.trailers += fmt.Sprintf(" %s=%s", f.Name, f.Value)
				}
				d.trailers = strings.TrimPrefix(d.trailers, " ")
				return d
			}
			if c.Trailer() != nil {
				t.Fatalf("%q: trailers before the end", body)
			}
			if used == 0 && len(b) > 0 {
				t.Fatalf("%q: no step on %q", body, b)
			}
			if b = b[used:]; len(b) == 0 {
				break
			}
		}
		begin = end
	}
	return d
}

func TestChunks(t *testing.T) {
	var c Chunks // one for all
	for _, tc := range chunksCases {
		t.Run(tc.name, func(t *testing.T) {
			want := decoded{data: tc.data, trailers: tc.trailers, used: len(tc.body) - len(tc.rest), done: !tc.open}
			if tc.err != nil {
				want = decoded{err: tc.err}
			}
			c.Reset()
			if got := decode(t, &c, []byte(tc.body)); got != want {
				t.Errorf("%.200q\ngot  %.200v\nwant %.200v", tc.body, got, want)
			}
			checkChunkSplits(t, []byte(tc.body))
		})
	}
}

// checkChunkSplits decodes a body in all the ways that it can come in, when it is short, and byte by byte.
func checkChunkSplits(t *testing.T, body []byte) {
	t.Helper()
	c := new(Chunks)
	want := decode(t, c, body)
	if len(body) < 600 {
		for n := range body {
			c.Reset()
			if got := decode(t, c, body, n); got != want {
				t.Fatalf("%q split at %d:\ngot  %v\nwant %v", body, n, got, want)
			}
		}
	}
	every := make([]int, 0, len(body))
	for n := range body {
		every = append(every, n)
	}
	c.Reset()
	if got := decode(t, c, body, every...); got != want {
		t.Fatalf("%.200q byte by byte:\ngot  %.200v\nwant %.200v", body, got, want)
	}
}

// TestChunksTakeOneStep shows what a caller gets of a piece: data of one chunk, with all that is not data behind it.
func TestChunksTakeOneStep(t *testing.T) {
	var c Chunks
	for _, step := range []struct {
		b, data string
		used    int
		done    bool
	}{
		{"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abc", 11, false},
		{"de\r\n0\r\n\r\nX", "de", 9, true},
		{"X", "", 0, true},
		{"", "", 0, true},
	} {
		data, used, done, err := c.Next([]byte(step.b))
		if err != nil || string(data) != step.data || used != step.used || done != step.done {
			t.Errorf("%q: %q %d %v %v", step.b, data, used, done, err)
		}
	}
}

// TestTrailersAreCopies overwrites the buffer that a trailer section came in.
func TestTrailersAreCopies(t *testing.T) {
	var c Chunks
	for _, piece := range []string{"0\r\nFirst: 1", "23\r\nSecond: ", strings.Repeat("4", 500) + "\r\n\r\n"} {
		b := []byte(piece)
		if _, used, _, err := c.Next(b); err != nil || used != len(b) {
			t.Fatal(used, err)
		}
		copy(b, bytes.Repeat([]byte{'x'}, len(b)))
	}
	want := "0 false \"First\" \"123\"\n0 false \"Second\" \"" + strings.Repeat("4", 500) + "\"\n"
	if got := showFields(c.Trailer()); got != want {
		t.Errorf("got %s", got)
	}
}

// TestResetForgetsTrailers keeps one large trailer section from being held for a connection's life.
func TestResetForgetsTrailers(t *testing.T) {
	var c Chunks
	decode(t, &c, []byte("0\r\nA: "+strings.Repeat("b", 4*keptTrailers)+"\r\n\r\n"))
	c.Reset()
	if cap(c.trailer) > keptTrailers || c.Trailer() != nil {
		t.Errorf("kept %d bytes, %v", cap(c.trailer), c.Trailer())
	}
}

func TestAppendChunkHead(t *testing.T) {
	for n, want := range map[int]string{0: "0\r\n", 1: "1\r\n", 31: "1f\r\n", 65536: "10000\r\n"} {
		if got := AppendChunkHead([]byte("x"), n); string(got) != "x"+want {
			t.Errorf("%d: %q", n, got)
		}
	}
}
