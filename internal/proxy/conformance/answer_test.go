package conformance

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ikada/ikada/internal/proxy"
)

// script is a task that gives the answers in turn, the first to the first request that reaches it; behind one that
// ends with "!" it closes its connection. Requests beyond get "next".
func script(t *testing.T, answers ...string) string {
	turn := make(chan string, len(answers))
	for _, a := range answers {
		turn <- a
	}
	return rawTask(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"
			select {
			case answer = <-turn:
			default:
			}
			answer, closes := strings.CutSuffix(answer, "!")
			if _, err := io.WriteString(c, answer); err != nil || closes {
				return
			}
		}
	})
}

// TestAnswers has tasks give every form of answer that RFC 9112, section 6.3, has. The client gets its meaning, and its
// connection serves the next request, whatever the task does with its own.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method, answer string
		status               int
		body                 string
		length               int64 // as the client sees it; -1: any
		trailer              string
	}{
		{"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 5, ""},
		{"length and close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello!", 200, "hello", 5, ""},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "hello", -1, ""},
		{"chunked with extensions", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n", 200, "hello", -1, ""},
		{"chunked with trailers", "GET", "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", 200, "hello", -1, "1"},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\nhello!", 200, "hello", -1, ""},
		{"until close, none", "GET", "HTTP/1.1 200 OK\r\n\r\n!", 200, "", -1, ""},
		{"until close, 1 MB", "GET", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20) + "!", 200, strings.Repeat("x", 1<<20), -1, ""},
		{"http/1.0 until close", "GET", "HTTP/1.0 200 OK\r\n\r\nhello!", 200, "hello", -1, ""},
		{"http/1.0 length", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello!", 200, "hello", 5, ""},
		{"http/1.0 kept", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 5, ""},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", 0, ""},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", 304, "", -1, ""},
		{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, "", -1, ""},
		{"head with a length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", 200, "", 12345, ""},
		{"head chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, "", -1, ""},
		{"head without length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200, "", -1, ""},
		{"no reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 5, ""},
		{"unknown status", "GET", "HTTP/1.1 299 Odd\r\nContent-Length: 5\r\n\r\nhello", 299, "hello", 5, ""},
		{"599", "GET", "HTTP/1.1 599 Odd\r\nContent-Length: 5\r\n\r\nhello", 599, "hello", 5, ""},
		{"205", "GET", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", 205, "", 0, ""},
		{"large head", "GET", "HTTP/1.1 200 OK\r\nX-Big: " + strings.Repeat("x", 30000) + "\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 5, ""},
		{"high bytes", "GET", "HTTP/1.1 200 OK\r\nX-A: \xe9\xff\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 5, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, balance(t, proxy.Config{}, script(t, c.answer)))
			br := bufio.NewReader(conn)
			write(t, conn, c.method+" / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n")
			res, body := readAnswer(t, br, c.method)
			if res.StatusCode != c.status || body != c.body || c.length >= 0 && res.ContentLength != c.length {
				t.Errorf("%s, %d bytes, length %d", res.Status, len(body), res.ContentLength)
			}
			if got := res.Trailer.Get("X-Sum"); got != c.trailer {
				t.Errorf("trailer %q", got)
			}
			write(t, conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if res, body := readAnswer(t, br, "GET"); res.StatusCode != 200 || body != "next" {
				t.Errorf("the next request gets %s, %q", res.Status, body)
			}
		})
	}
}

// TestInterimAnswers has a task say things before its answer: the client gets what is meant for it.
func TestInterimAnswers(t *testing.T) {
	t.Parallel()
	conn := dial(t, balance(t, proxy.Config{}, script(t,
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+
			"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		// Nobody asked for these: the client must at least not take them for the answer.
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld")))
	br := bufio.NewReader(conn)
	var hints []string
	next := func(want string) {
		write(t, conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		for {
			res, body := readAnswer(t, br, "GET")
			if res.StatusCode >= 200 {
				if body != want || res.Header.Get("Link") != "" {
					t.Errorf("%s %v %q", res.Status, res.Header, body)
				}
				return
			}
			if res.StatusCode == http.StatusEarlyHints {
				hints = append(hints, res.Header.Get("Link"))
			}
		}
	}
	next("hello")
	next("world")
	if !slices.Equal(hints, []string{"</a>", "</b>"}) {
		t.Errorf("hints %q", hints)
	}
	// A client of HTTP/1.0 knows no interim answers.
	old := dial(t, balance(t, proxy.Config{}, script(t,
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")))
	write(t, old, "GET / HTTP/1.0\r\nHost: x\r\n\r\n")
	if res, body := readAnswer(t, bufio.NewReader(old), "GET"); res.StatusCode != 200 || body != "hello" {
		t.Errorf("HTTP/1.0: %s %q", res.Status, body)
	}
}

// TestBrokenAnswers has tasks answer with what can be read in two ways, or not at all. The client gets an error, or an
// answer that is cut off, and nothing of it ever reaches another request: response splitting is the same attack from
// the other side.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"two lengths":              "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 10\r\n\r\nhellohello",
		"length list":              "HTTP/1.1 200 OK\r\nContent-Length: 5, 10\r\n\r\nhellohello",
		"signed length":            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
		"length is no number":      "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello!",
		"length overflows":         "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
		"length too long":          "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello!",
		"unknown coding":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: odd\r\n\r\nhello!",
		"chunked twice":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"chunk size":               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n!",
		"chunk end":                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n!",
		"chunk overflows":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n!",
		"no last chunk":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n!",
		"head breaks off":          "HTTP/1.1 200 OK\r\nContent-Le!",
		"nothing":                  "!",
		"garbage":                  "what is HTTP?\r\n\r\n!",
		"space before colon":       "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
		"space in name":            "HTTP/1.1 200 OK\r\nContent Length: 5\r\n\r\nhello!",
		"control byte":             "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 5\r\n\r\nhello",
		"bare CR":                  "HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 5\r\n\r\nhello",
		"status is no number":      "HTTP/1.1 abc OK\r\nContent-Length: 5\r\n\r\nhello",
		"status of two digits":     "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello",
		"switch that nobody asked": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello",
		"another version":          "HTTP/3.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"head without end":         "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 1<<19) + "!",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := balance(t, proxy.Config{}, script(t, answer))
			c := dial(t, addr)
			write(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
			// A body that breaks at once may take the head with it: then the client sees its connection end.
			if res, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
				if b, err := io.ReadAll(res.Body); err == nil && res.StatusCode != http.StatusBadGateway {
					t.Errorf("the client takes %s %q for whole", res.Status, b)
				}
			} else if !strings.HasPrefix(name, "chunk") && name != "no last chunk" && name != "length too long" {
				t.Errorf("the client gets no answer: %v", err)
			}
			wantNext(t, addr)
		})
	}
}

// TestBytesBehindAnswers has tasks send more than their answer: none of it reaches another request.
func TestBytesBehindAnswers(t *testing.T) {
	t.Parallel()
	const forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
	for name, c := range map[string]struct{ method, answer, body string }{
		"length":      {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + forged, "hello"},
		"chunked":     {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + forged, "hello"},
		"204":         {"GET", "HTTP/1.1 204 No Content\r\n\r\n" + forged, ""},
		"304":         {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello" + forged, ""},
		"head":        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + forged, ""},
		"a few bytes": {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n", "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := balance(t, proxy.Config{}, script(t, c.answer))
			conn := dial(t, addr)
			write(t, conn, c.method+" / HTTP/1.1\r\nHost: x\r\n\r\n")
			br := bufio.NewReader(conn)
			if _, body := readAnswer(t, br, c.method); body != c.body {
				t.Errorf("body %q", body)
			}
			wantNext(t, addr)
			write(t, conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if res, err := http.ReadResponse(br, nil); err == nil {
				if b, _ := io.ReadAll(res.Body); string(b) != "next" {
					t.Errorf("the same connection gets %q", b)
				}
			}
		})
	}
}

// wantNext holds further requests, on connections of their own, to their own answers.
func wantNext(t *testing.T, addr string) {
	t.Helper()
	for range 3 {
		c := dial(t, addr)
		write(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if res, body := readAnswer(t, bufio.NewReader(c), "GET"); res.StatusCode != 200 || body != "next" {
			t.Errorf("another request gets %s %q", res.Status, body)
		}
	}
}
