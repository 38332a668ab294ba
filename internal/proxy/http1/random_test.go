package http1

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// What random requests are made of: words that mean something to a parser, in all the ways that they can be written,
// and what does not belong where it stands.
var (
	someMethods  = []string{"GET", "POST", "OPTIONS", "CONNECT", "get", "", "G T", "M-SEARCH", "\r\nGET"}
	someTargets  = []string{"/", "/a?b", "*", "http://c.d/", "http://c.d", "HTTP://[::1]:80?x", "c.d:80", "/%41", "/%4", "//", "/a b", "/#", "/\xe9", "ftp://c/", "http://u@c/", "/?%"}
	someVersions = []string{"HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", ""}
	someSpaces   = []string{" ", " ", " ", " ", " ", " ", "  ", "\t", ""}
	someNames    = []string{"Host", "host", "Content-Length", "content-length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "TE", "Trailer", "X-A", "Pragma", "Cookie", "X_A", "", "A B", "X-\xe9", " X", "Content_Length"}
	someValues   = []string{"a.b", "0", "5", "+5", "5, 5", "chunked", "Chunked", "gzip, chunked", "close", "keep-alive", "upgrade, x-a", "websocket", "100-continue", "trailers", "no-cache", "X-A", "Content-Length", "", "\xff", "\x00", "a\tb", "a\rb", "[::1]", "a:80"}
	someColons   = []string{":", ":", ": ", ": ", ":\t", " :", "", ": \v"}
	someEnds     = []string{"\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\r\n ", " \r\n", "\t\r\n"}
	someBodies   = []string{"", "hello", "5\r\nhello\r\n0\r\n\r\n", "5;x\r\nhello\r\n0\r\nX-B: c\r\n\r\nGET / HTTP/1.1\r\n\r\n", "5\nhello\n0\n\n", "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.b\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n"}
)

// TestRandomRequests compares random requests with net/http, and reads some in pieces. One in seven is valid, so that
// what is compared is not only errors.
func TestRandomRequests(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9112, 9110))
	one := func(of []string, usual int) string {
		if rnd.IntN(10) < usual {
			return of[0]
		}
		return of[rnd.IntN(len(of))]
	}
	valid := 0
	for range 20000 {
		var b strings.Builder
		b.WriteString(one(someMethods, 6) + one(someSpaces, 8) + one(someTargets, 5) + one(someSpaces, 8) + one(someVersions, 7) + one(someEnds, 8))
		if rnd.IntN(10) > 0 {
			b.WriteString("Host: a.b\r\n")
		}
		for range rnd.IntN(4) {
			b.WriteString(one(someNames, 0) + one(someColons, 7) + one(someValues, 0) + one(someEnds, 8))
		}
		b.WriteString(one(someEnds, 9) + one(someBodies, 0))
		head := []byte(b.String())
		checkRequest(t, head)
		if rnd.IntN(50) == 0 {
			checkSplits(t, head, requestParser)
		}
		if new(Request).Parse(head) == nil {
			valid++
		}
		if t.Failed() {
			t.Fatalf("%q", head)
		}
	}
	t.Logf("%d valid", valid)
	if valid < 2000 {
		t.Errorf("only %d of 20000 are valid", valid)
	}
}
