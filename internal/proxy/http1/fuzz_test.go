package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"slices"
	"testing"
)

// The fuzz targets hold this package against net/http: what is a message here must be the same message there, down to
// the byte at which the next one begins. That net/http accepts more is no fault: it repairs what is refused here.

// rest gives what is left of a reader, with what it has buffered.
func rest(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sameFields compares fields with a header of net/http, which keeps some fields elsewhere: those are left out on both
// sides. It also adds Cache-Control to a Pragma of no-cache, which HTTP/1.0 had instead.
func sameFields(t *testing.T, fields []Field, h http.Header, elsewhere ...string) {
	t.Helper()
	mine := http.Header{}
	for _, f := range fields {
		key := textproto.CanonicalMIMEHeaderKey(string(f.Name))
		mine[key] = append(mine[key], string(f.Value))
	}
	theirs := maps.Clone(h)
	if pragma := mine["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && mine["Cache-Control"] == nil {
		delete(theirs, "Cache-Control")
	}
	for _, name := range elsewhere {
		delete(mine, name)
		delete(theirs, name)
	}
	if !maps.EqualFunc(mine, theirs, slices.Equal[[]string]) {
		t.Errorf("fields %q, net/http's %q", mine, theirs)
	}
}

// sameBody decodes the body behind a head and compares it with what net/http reads, and what follows it. A body that
// is not whole or is refused proves nothing.
func sameBody(t *testing.T, b []byte, length int64, theirs io.Reader, trailer func() http.Header, behind io.Reader) {
	t.Helper()
	var want decoded
	switch {
	case length == Chunked:
		if want = decode(t, new(Chunks), b); !want.done {
			return
		}
	case length > int64(len(b)):
		return
	default:
		want = decoded{data: string(b[:length]), used: int(length)}
	}
	if got := rest(t, theirs); got != want.data {
		t.Errorf("body %q, net/http's %q", want.data, got)
	}
	if length == Chunked {
		c := new(Chunks)
		decode(t, c, b)
		for _, f := range c.Trailer() {
			if !slices.Contains(trailer()[textproto.CanonicalMIMEHeaderKey(string(f.Name))], string(f.Value)) {
				t.Errorf("trailer %q: %q is not among net/http's %q", f.Name, f.Value, trailer())
			}
		}
	}
	if got := rest(t, behind); got != string(b[want.used:]) {
		t.Errorf("%q follows, to net/http %q", b[want.used:], got)
	}
}

// reader gives b to net/http with room to look ahead: it gives up on a trailer section beyond its buffer.
func reader(b []byte) *bufio.Reader { return bufio.NewReaderSize(bytes.NewReader(b), 2*maxTrailers) }

func FuzzRequest(f *testing.F) {
	for _, c := range requestCases {
		if len(c.head) < 2000 {
			f.Add([]byte(c.head + "5;a=b\r\nhello\r\n0\r\nX-A: b\r\n\r\nGET / HTTP/1.1\r\n"))
		}
	}
	f.Add(browserRequest)
	f.Fuzz(func(t *testing.T, b []byte) {
		checkSplits(t, b, requestParser)
		checkRequest(t, b)
	})
}

// checkRequest compares what a request is here and to net/http.
func checkRequest(t *testing.T, b []byte) {
	t.Helper()
	var r Request
	mine := r.Parse(copied(b))
	if incomplete(mine) {
		return
	}
	// The first exception: a blank line before the request line, which RFC 9112 section 2.2 lets a server skip.
	// net/http's server does so, its ReadRequest does not.
	br := reader(bytes.TrimPrefix(b, []byte("\r\n")))
	req, err := http.ReadRequest(br)
	if fault, refused := errors.AsType[*Error](mine); refused {
		if err == nil && !stricter[fault] {
			t.Errorf("%q is refused for %v; net/http accepts it", b, fault)
		}
		return
	}
	if err != nil {
		t.Fatalf("%q: net/http refuses it: %v", b, err)
	}
	sameRequestLine(t, &r, req)
	if req.Host != string(r.Authority) {
		t.Errorf("host %q, net/http's %q", r.Authority, req.Host)
	}
	if req.ContentLength != r.Length || slices.Equal(req.TransferEncoding, []string{"chunked"}) != (r.Length == Chunked) {
		t.Errorf("length %d, net/http's %d %q", r.Length, req.ContentLength, req.TransferEncoding)
	}
	if req.Close != r.Close {
		t.Errorf("close %v, net/http's %v", r.Close, req.Close)
	}
	elsewhere := []string{"Host", "Transfer-Encoding"}
	if r.Length == Chunked {
		elsewhere = append(elsewhere, "Trailer")
	}
	sameFields(t, r.Fields, req.Header, elsewhere...)
	sameBody(t, b[r.Size:], r.Length, req.Body, func() http.Header { return req.Trailer }, br)
}

// stricter are the reasons to refuse what net/http's ReadRequest takes; for all others it refuses as well. Each refusal
// is one that RFC 9112 or RFC 9110 asks for or allows, in the section named; net/http's server makes some of them after
// ReadRequest.
var stricter = map[*Error]bool{
	errBareLF:        true, // 9112 2.2: a recipient MAY take it
	errVersion:       true, // 9110 15.6.6
	errLineLong:      true, // 9112 3
	errTargetByte:    true, // 9112 3.2: no fragment, and URIs are ASCII
	errTargetEscape:  true, // of an escaped NUL alone, see splitTarget
	errTargetForm:    true, // 9112 3.2.4, 3.2.1
	errTargetScheme:  true, // 9110 7.4: not for this server
	errAuthority:     true, // 9110 4.2.1, 4.2.4; names of bytes that no name has, see validHost
	errHost:          true, // 9112 3.2
	errHostMissing:   true, // 9112 3.2
	errManyFields:    true, // 9110 5.4
	errNameSpace:     true, // 9112 5.1
	errFolded:        true, // 9112 5.2
	errLengths:       true, // 9110 8.6: a recipient MAY take the same length twice
	errCodingLength:  true, // 9112 6.3
	errCodingOld:     true, // 9112 6.1
	errConnection:    true, // 9110 7.6.1: a list of tokens
	errNominated:     true, // 9110 7.6.1
	errManyNominated: true, // 9110 5.4
	errTrailerNames:  true, // 9110 6.5.1; net/http refuses them only before a chunked body
}

// sameRequestLine compares the first line.
func sameRequestLine(t *testing.T, r *Request, req *http.Request) {
	t.Helper()
	if req.Method != string(r.Method) || req.RequestURI != string(r.Target) || req.ProtoMajor != 1 || req.ProtoMinor != r.Minor {
		t.Errorf("%q %q 1.%d, net/http's %q %q %s", r.Method, r.Target, r.Minor, req.Method, req.RequestURI, req.Proto)
	}
	if req.URL.RawQuery != string(r.Query) || req.URL.ForceQuery != (r.HasQuery && len(r.Query) == 0) || req.URL.Scheme != string(r.Scheme) {
		t.Errorf("query %q (%v), scheme %q, net/http's %#v", r.Query, r.HasQuery, r.Scheme, req.URL)
	}
	path, err := url.PathUnescape(string(r.Path))
	if err != nil {
		t.Errorf("path %q: %v", r.Path, err)
	}
	// The second exception: an absolute target's empty path is "/", or "*" (RFC 9112 sections 3.2.1, 3.2.4); net/http
	// leaves it empty.
	if theirs := req.URL.Path; theirs != path && (theirs != "" || r.Scheme == nil || path != "/" && path != "*") {
		t.Errorf("path %q, net/http's %q", path, theirs)
	}
}

func FuzzResponse(f *testing.F) {
	for _, c := range responseCases {
		if len(c.head) < 2000 {
			f.Add([]byte(c.head+"5;a=b\r\nhello\r\n0\r\nX-A: b\r\n\r\nHTTP/1.1 200 OK\r\n"), c.to == "HEAD")
		}
	}
	f.Add(smallResponse, false)
	f.Fuzz(func(t *testing.T, b []byte, head bool) {
		checkSplits(t, b, func() parser { return responseParser(head) })
		var r Response
		if r.Parse(copied(b), head) != nil {
			return
		}
		req := &http.Request{Method: "GET"}
		if head {
			req.Method = "HEAD"
		}
		br := reader(b)
		res, err := http.ReadResponse(br, req)
		if err != nil {
			t.Fatalf("%q: net/http refuses it: %v", b, err)
		}
		if res.StatusCode != r.Status || res.ProtoMajor != 1 || res.ProtoMinor != r.Minor {
			t.Errorf("%d 1.%d, net/http's %d %s", r.Status, r.Minor, res.StatusCode, res.Proto)
		}
		if got := max(r.Length, -1); res.ContentLength != got && !head && res.Body != http.NoBody {
			t.Errorf("length %d, net/http's %d", r.Length, res.ContentLength)
		}
		if res.Close && !r.Close {
			t.Error("net/http closes the connection")
		}
		elsewhere := []string{"Transfer-Encoding"}
		if res.Close {
			elsewhere = append(elsewhere, "Connection")
		}
		if slices.Equal(res.TransferEncoding, []string{"chunked"}) {
			elsewhere = append(elsewhere, "Trailer")
		}
		sameFields(t, r.Fields, res.Header, elsewhere...)
		if r.Length == UntilClose {
			return
		}
		sameBody(t, b[r.Size:], r.Length, res.Body, func() http.Header { return res.Trailer }, br)
	})
}

func FuzzChunks(f *testing.F) {
	for _, c := range chunksCases {
		if len(c.body) < 2000 {
			f.Add([]byte(c.body))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkChunkSplits(t, b)
		c := new(Chunks)
		d := decode(t, c, b)
		if !d.done {
			return
		}
		br := reader(b)
		if got := rest(t, httputil.NewChunkedReader(br)); got != d.data {
			t.Errorf("body %q, net/http's %q", d.data, got)
		}
		// Encode it again, with its trailers.
		var again []byte
		if len(d.data) > 0 {
			again = append(append(AppendChunkHead(again, len(d.data)), d.data...), "\r\n"...)
		}
		again = AppendChunkHead(again, 0)
		for _, f := range c.Trailer() {
			again = append(append(append(append(again, f.Name...), ": "...), f.Value...), "\r\n"...)
		}
		again = append(again, "\r\n"...)
		if got := decode(t, new(Chunks), again); got.data != d.data || got.trailers != d.trailers || got.used != len(again) {
			t.Errorf("%q gives %v, encoded again %q gives %v", b, d, again, got)
		}
	})
}
