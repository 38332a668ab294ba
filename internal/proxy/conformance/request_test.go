package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ikada/ikada/internal/proxy"
)

// readAnswer reads one answer to its end.
func readAnswer(t *testing.T, br *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read answer's body: %v after %q", err, b)
	}
	return res, string(b)
}

// repeat answers with the request's target and body.
func repeat(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s", r.RequestURI, b)
}

// TestPipelined sends 100 requests at once, with and without bodies: each is answered, in order.
func TestPipelined(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for i := range 100 {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
		case 1:
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", i)
		case 2:
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", i)
		}
	}
	addr := balance(t, proxy.Config{}, task(t, http.HandlerFunc(repeat)))
	for name, piece := range map[string]int{"in one segment": all.Len(), "byte by byte": 1, "in sevens": 7} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, addr)
			go func() {
				for s := all.String(); s != ""; s = s[min(piece, len(s)):] {
					if _, err := io.WriteString(c, s[:min(piece, len(s))]); err != nil {
						t.Error(err)
						return
					}
				}
			}()
			br := bufio.NewReader(c)
			for i := range 100 {
				want := fmt.Sprintf("/%d ", i)
				if i%3 > 0 {
					want += "hello"
				}
				if res, body := readAnswer(t, br, "GET"); res.StatusCode != 200 || body != want {
					t.Fatalf("%d %q, want %q", res.StatusCode, body, want)
				}
			}
		})
	}
}

// TestContinue has a client that waits for 100 Continue, before tasks that say it, that do not but read, and that give
// their final answer instead.
func TestContinue(t *testing.T) {
	t.Parallel()
	const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
	for name, c := range map[string]struct {
		task      string // what the task says before it reads the body; its final answer follows unless it has come
		continues bool
		final     int
	}{
		"said":           {"HTTP/1.1 100 Continue\r\n\r\n", true, 200},
		"said twice":     {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", true, 200},
		"after 103":      {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", true, 200},
		"final instead":  {"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", false, 413},
		"final and ends": {"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, balance(t, proxy.Config{}, rawTask(t, func(tc net.Conn) {
				br := bufio.NewReader(tc)
				req, err := http.ReadRequest(br)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(tc, c.task)
				if !c.continues {
					return
				}
				if b, err := io.ReadAll(req.Body); err != nil || string(b) != "hello" {
					t.Errorf("the task reads %q, %v", b, err)
				}
				_, _ = io.WriteString(tc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				_, _ = br.Peek(1) // until the balancer closes
			})))
			write(t, conn, head)
			br := bufio.NewReader(conn)
			continued := false
			for {
				res, _ := readAnswer(t, br, "POST")
				switch {
				case res.StatusCode == http.StatusContinue && !continued:
					continued = true
					write(t, conn, "hello")
				case res.StatusCode == http.StatusContinue, res.StatusCode == http.StatusEarlyHints:
				case res.StatusCode != c.final || continued != c.continues:
					t.Fatalf("%s, continued %v", res.Status, continued)
				default:
					return
				}
			}
		})
	}
}

// TestAnswerDuringUpload has a task answer at once while a client sends 100 MB, and end then, or read on to the end.
// The client gets the whole answer either way. (Go's client of HTTP/2 sends no more when the answer is an error.)
func TestAnswerDuringUpload(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	answer := strings.Repeat("no thanks ", 1000)
	for name, handler := range map[string]http.HandlerFunc{
		"task ends": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, answer)
		},
		"task reads on": func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			if err := rc.EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
				t.Error(err)
			}
			_, _ = io.WriteString(w, answer)
			_ = rc.Flush()
			if n, err := io.Copy(io.Discard, r.Body); err != nil || n != size {
				t.Errorf("the task reads %d bytes, %v", n, err)
			}
		},
	} {
		addr := balance(t, proxy.Config{}, task(t, handler))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, addr)
			write(t, c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size))
			sent := make(chan error, 1)
			go func() {
				_, err := io.CopyN(c, zeros{}, size)
				sent <- err
			}()
			res, body := readAnswer(t, bufio.NewReader(c), "POST")
			if body != answer {
				t.Errorf("%d with %d bytes", res.StatusCode, len(body))
			}
			if err := <-sent; name == "task reads on" && err != nil {
				t.Errorf("the upload broke off: %v", err)
			} else if err != nil && !isClosed(err) {
				t.Errorf("send: %v", err)
			}
		})
		t.Run(name+" h2c", func(t *testing.T) {
			t.Parallel()
			res, err := http2Client(t).Post("http://"+addr, "text/plain", io.LimitReader(zeros{}, size))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != answer {
				t.Errorf("%d with %d bytes, %v", res.StatusCode, len(b), err)
			}
		})
	}
}

// isClosed tells whether err says that the other side has closed the connection.
func isClosed(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func http2Client(t *testing.T) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 2 * patience}
}

// TestClientHalfCloses has clients that send a request and say that no other will come, as nc and some libraries do.
// RFC 9112, section 9.6, has no way to tell that from one that has gone but to answer.
func TestClientHalfCloses(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"get":     "GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
		"length":  "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"chunked": "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"1.0":     "GET /a HTTP/1.0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived, answer := make(chan struct{}), make(chan struct{})
			c := dial(t, balance(t, proxy.Config{}, task(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				select {
				case <-answer:
					repeat(w, r)
				case <-r.Context().Done():
					t.Error("the task is told that the client has gone")
				}
			}))))
			write(t, c, request)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-arrived:
			case <-time.After(patience):
				t.Fatal("the request does not reach the task")
			}
			// The balancer must have time to notice: nothing tells when it has.
			time.AfterFunc(50*time.Millisecond, func() { close(answer) })
			res, body := readAnswer(t, bufio.NewReader(c), "GET")
			if res.StatusCode != 200 || !strings.HasPrefix(body, "/a") {
				t.Errorf("%d %q", res.StatusCode, body)
			}
		})
	}
}

// TestHTTP10 has clients of HTTP/1.0, for whom a streamed answer has no chunks and ends with the connection.
func TestHTTP10(t *testing.T) {
	t.Parallel()
	addr := balance(t, proxy.Config{}, task(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "piece ")
			if r.URL.Path == "/streamed" {
				_ = http.NewResponseController(w).Flush()
			}
		}
	})))
	for _, path := range []string{"/whole", "/streamed"} {
		t.Run("closes "+path, func(t *testing.T) {
			t.Parallel()
			c := dial(t, addr)
			write(t, c, "GET "+path+" HTTP/1.0\r\nHost: x\r\n\r\n")
			b, err := io.ReadAll(c)
			if err != nil || !strings.HasSuffix(string(b), "\r\n\r\npiece piece piece ") {
				t.Errorf("%q, %v", b, err)
			}
			if head, _, _ := strings.Cut(strings.ToLower(string(b)), "\r\n\r\n"); strings.Contains(head, "transfer-encoding") {
				t.Errorf("an answer of HTTP/1.1: %q", head)
			}
		})
		t.Run("keeps "+path, func(t *testing.T) {
			t.Parallel()
			c := dial(t, addr)
			br := bufio.NewReader(c)
			for range 2 {
				write(t, c, "GET "+path+" HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
				res, body := readAnswer(t, br, "GET")
				if res.StatusCode != 200 || body != "piece piece piece " || len(res.TransferEncoding) > 0 {
					t.Fatalf("%d %q %v", res.StatusCode, body, res.TransferEncoding)
				}
				if res.Header.Get("Connection") != "keep-alive" {
					if b, err := br.ReadByte(); err == nil {
						t.Fatalf("byte %q behind an answer that ends the connection", b)
					}
					return
				}
			}
		})
	}
}

// TestSlowBody has a client that takes longer for its body than the balancer gives for a head.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	c := dial(t, balance(t, proxy.Config{HeadTimeout: time.Second, IdleTimeout: time.Second},
		task(t, http.HandlerFunc(repeat))))
	write(t, c, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	pause := time.NewTicker(150 * time.Millisecond)
	defer pause.Stop()
	for i := range 10 {
		<-pause.C
		write(t, c, strconv.Itoa(i))
	}
	if res, body := readAnswer(t, bufio.NewReader(c), "POST"); res.StatusCode != 200 || body != "/slow 0123456789" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

// TestSlowlorisIsCut has a client that sends a byte of its head now and then, for ever.
func TestSlowlorisIsCut(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"first request", "second request"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, balance(t, proxy.Config{HeadTimeout: time.Second}, task(t, http.HandlerFunc(repeat))))
			br := bufio.NewReader(c)
			if name == "second request" {
				write(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				readAnswer(t, br, "GET")
			}
			write(t, c, "GET / HTTP/1.1\r\nHost: x\r\nX: ")
			start := time.Now()
			cut := make(chan struct{})
			go func() {
				defer close(cut)
				_, _ = io.Copy(io.Discard, br) // a refusal may come first
			}()
			pause := time.NewTicker(20 * time.Millisecond)
			defer pause.Stop()
			for {
				select {
				case <-cut:
					if d := time.Since(start); d > 10*time.Second {
						t.Errorf("cut after %v only", d)
					}
					return
				case <-pause.C:
					_, _ = io.WriteString(c, "x") // the cut tells
				}
			}
		})
	}
}

// TestIdleIsCut has a client that sends nothing, at first or after a request.
func TestIdleIsCut(t *testing.T) {
	t.Parallel()
	addr := balance(t, proxy.Config{HeadTimeout: time.Second, IdleTimeout: time.Second},
		task(t, http.HandlerFunc(repeat)))
	for _, requests := range []int{0, 1} {
		t.Run(fmt.Sprintf("after %d requests", requests), func(t *testing.T) {
			t.Parallel()
			c := dial(t, addr)
			br := bufio.NewReader(c)
			for range requests {
				write(t, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				readAnswer(t, br, "GET")
			}
			if _, err := io.Copy(io.Discard, br); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection stays open")
			}
		})
	}
}

// TestLongTarget sends targets of 10,000 bytes: RFC 9112, section 3, asks for 8000 at least.
func TestLongTarget(t *testing.T) {
	t.Parallel()
	addr := balance(t, proxy.Config{}, task(t, http.HandlerFunc(repeat)))
	for name, target := range map[string]string{
		"path":     "/" + strings.Repeat("a", 9999),
		"segments": strings.Repeat("/a", 5000),
		"query":    "/?" + strings.Repeat("b", 9998),
		"escapes":  "/a" + strings.Repeat("%20", 3333)[:9998-2],
	} {
		for version, c := range map[string]*http.Client{
			"http/1.1": {Transport: &http.Transport{DisableKeepAlives: true}}, "h2c": http2Client(t),
		} {
			t.Run(name+" "+version, func(t *testing.T) {
				res, err := c.Get("http://" + addr + target)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if b, err := io.ReadAll(res.Body); err != nil || string(b) != target+" " {
					t.Errorf("%d: the task gets %.80q… (%d bytes), %v", res.StatusCode, b, len(b)-1, err)
				}
			})
		}
	}
}

// TestFieldsStaySeparate sends several fields of one name: the task gets each, in order.
func TestFieldsStaySeparate(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	addr := balance(t, proxy.Config{}, task(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header
		for _, v := range []string{"a=1; Path=/", "b=2", "a=3"} {
			w.Header().Add("Set-Cookie", v)
		}
	})))
	c := dial(t, addr)
	write(t, c, "GET / HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2, 3\r\nX-B: \r\nX-A: 4\r\n\r\n")
	res, _ := readAnswer(t, bufio.NewReader(c), "GET")
	if v := fmt.Sprintf("%q", res.Header["Set-Cookie"]); v != `["a=1; Path=/" "b=2" "a=3"]` {
		t.Errorf("the client gets Set-Cookie %s", v)
	}
	if v := fmt.Sprintf("%q", (<-got)["X-A"]); v != `["1" "2, 3" "4"]` {
		t.Errorf("the task gets X-A %s", v)
	}
}

// TestClientGoesDuringAnswer has a client leave within a long answer: the task notices.
func TestClientGoesDuringAnswer(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	addr := balance(t, proxy.Config{}, task(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
		close(gone)
	})))
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http2Client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.CopyN(io.Discard, res.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the task goes on")
	}
}
