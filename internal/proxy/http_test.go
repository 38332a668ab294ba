package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

func TestHeadersAtTheTarget(t *testing.T) {
	r := run(t, Config{})
	got := make(chan *http.Request, 1)
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		got <- in.Clone(context.Background())
		w.Header()["Content-Type"] = nil
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("X-End", "1")
		io.WriteString(w, "<html>")
	})))
	req, _ := http.NewRequest("GET", r.url+"/a%2Fb//c?q=1;2&x=%zz", nil)
	req.Host = "shop.example:8080"
	for k, v := range map[string]string{
		"X-Forwarded-For": "6.6.6.6", "X-Real-Ip": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Forwarded-Proto": "https",
		"Connection": "X-Private", "X-Private": "1", "Proxy-Authorization": "x", "Keep-Alive": "x", "User-Agent": "",
		"Te": "trailers, gzip",
	} {
		req.Header.Set(k, v)
	}
	res, err := newTestClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := <-got
	if in.RequestURI != "/a%2Fb//c?q=1;2&x=%zz" || in.Host != "shop.example:8080" {
		t.Errorf("target got %q for %q", in.RequestURI, in.Host)
	}
	for k, v := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Host": "shop.example:8080",
		"X-Forwarded-Proto": "http", "Forwarded": `for=127.0.0.1;host="shop.example:8080";proto=http`,
		"X-Private": "", "Proxy-Authorization": "", "Keep-Alive": "", "Te": "trailers", "User-Agent": "",
	} {
		if all := strings.Join(in.Header[k], "|"); all != v {
			t.Errorf("%s: %q, want %q", k, all, v)
		}
	}
	if h := res.Header; h.Get("X-Hop") != "" || h.Get("X-End") != "1" || h["Content-Type"] != nil {
		t.Errorf("client got %v", h)
	}
}

func TestTrailersBothWays(t *testing.T) {
	for name, c := range map[string]*http.Client{"http/1.1": newTestClient(t), "h2c": h2cClient(t)} {
		for _, kind := range []string{"text/plain", "application/grpc"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				r := run(t, Config{})
				r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
					b, _ := io.ReadAll(in.Body)
					w.Header().Set("Trailer", "X-Sum")
					w.Header().Set("X-Proto", in.Proto)
					w.Write(b)
					w.Header().Set("X-Sum", in.Trailer.Get("X-In"))
					w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
				})))
				req, _ := http.NewRequest("POST", r.url, io.MultiReader(strings.NewReader("hello")))
				req.Header.Set("Content-Type", kind)
				req.Header.Set("Te", "trailers")
				req.Trailer = http.Header{"X-In": {"abc"}}
				res, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if b, err := io.ReadAll(res.Body); err != nil || string(b) != "hello" {
					t.Fatalf("%q %v", b, err)
				}
				if res.Trailer.Get("X-Sum") != "abc" || res.Trailer.Get("Grpc-Status") != "0" {
					t.Errorf("trailers %v", res.Trailer)
				}
				proto := "HTTP/1.1"
				if name == "h2c" && kind == "application/grpc" {
					proto = "HTTP/2.0"
				}
				if p := res.Header.Get("X-Proto"); p != proto {
					t.Errorf("target was spoken to in %s, want %s", p, proto)
				}
			})
		}
	}
}

func TestGRPCStreamsBothWays(t *testing.T) {
	r := run(t, Config{})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		w.WriteHeader(200)
		http.NewResponseController(w).Flush()
		buf := make([]byte, 64)
		for {
			n, err := in.Body.Read(buf)
			w.Write(buf[:n])
			http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	})))
	pr, pw := io.Pipe()
	req, _ := http.NewRequest("POST", r.url, pr)
	req.Header.Set("Content-Type", "application/grpc+proto")
	res, err := h2cClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for range 3 {
		pw.Write([]byte("ping"))
		buf := make([]byte, 4)
		if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "ping" {
			t.Fatalf("%q %v", buf, err)
		}
	}
	pw.Close()
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
}

// TestGRPCIsBounded holds gRPC to a route's idle_timeout and max_body.
func TestGRPCIsBounded(t *testing.T) {
	echo := backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		answers := in.URL.Path == "/at-once"
		if answers {
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
		}
		buf := make([]byte, 64<<10)
		for {
			n, err := in.Body.Read(buf)
			if answers {
				w.Write(buf[:n])
				http.NewResponseController(w).Flush()
			}
			if err != nil {
				return
			}
		}
	}))
	call := func(t *testing.T, r *running, path string, body io.Reader) (*http.Response, error) {
		t.Helper()
		req, err := http.NewRequest("POST", r.url+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = -1
		req.Header.Set("Content-Type", "application/grpc")
		return h2cClient(t).Do(req)
	}
	t.Run("idle_timeout", func(t *testing.T) {
		lasting(t, 500*time.Millisecond, func(idle time.Duration) error {
			r := run(t, Config{})
			r.policed(api.RoutePolicy{IdleTimeout: api.Duration(idle)}, "a="+echo)
			pr, pw := io.Pipe()
			defer pw.Close()
			res, err := call(t, r, "/at-once", pr)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			for range 6 {
				time.Sleep(idle / 5)
				_, _ = pw.Write([]byte("ping"))
			}
			if _, err := io.ReadFull(res.Body, make([]byte, 6*len("ping"))); err != nil {
				return fmt.Errorf("ended though it was not idle: %w", err)
			}
			if b, err := io.ReadAll(res.Body); err == nil || len(b) > 0 {
				t.Errorf("a silent call ended with %q, %v", b, err)
			}
			r.counted(1)
			if f := r.Faults().Failures(testEnv, -1); len(f) != 1 || f[0].Failure != meter.Broken || !strings.Contains(f[0].Error, "timeout") {
				t.Errorf("explained as %+v", f)
			}
			return nil
		})
	})
	t.Run("max_body", func(t *testing.T) {
		r := run(t, Config{})
		r.policed(api.RoutePolicy{MaxBody: 100_000}, "a="+echo)
		for size, status := range map[int64]int{100_000: 200, 100_001: 413, 5 << 20: 413} {
			res, err := call(t, r, "/", io.LimitReader(zeros{}, size))
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil && status == 200 {
				t.Errorf("%d bytes: %v", size, err)
			}
			_ = res.Body.Close()
			if res.StatusCode != status {
				t.Errorf("%d bytes: status %d, expected %d", size, res.StatusCode, status)
			}
		}
		pr, pw := io.Pipe()
		defer pr.Close()
		res, err := call(t, r, "/at-once", pr)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		go func() { _, _ = io.CopyN(pw, zeros{}, 5<<20) }() // it ends with the call
		if n, err := io.Copy(io.Discard, res.Body); err == nil || n > 100_000 {
			t.Errorf("%d bytes came back of a body that is too large, %v", n, err)
		}
		r.counted(4)
		if c := r.Meter(testEnv); c.Failed != 0 {
			t.Errorf("counted as %+v, explained as %+v", c, r.Faults().Failures(testEnv, -1))
		}
	})
}

// TestStreamingIsFlushed has a target that goes on only after the client has got what it sent.
func TestStreamingIsFlushed(t *testing.T) {
	for name, head := range map[string]http.Header{
		"events":       {"Content-Type": {"text/event-stream"}},
		"chunked":      {"Content-Type": {"text/plain"}},
		"known length": {"Content-Length": {"18"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, Config{})
			next := make(chan struct{})
			r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
				maps.Copy(w.Header(), head)
				w.WriteHeader(200)
				http.NewResponseController(w).Flush()
				for range 3 {
					<-next
					io.WriteString(w, "data\n\n")
					http.NewResponseController(w).Flush()
				}
			})))
			if name == "known length" {
				close(next)
			}
			res, err := newTestClient(t).Get(r.url)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			for range 3 {
				if name != "known length" {
					next <- struct{}{}
				}
				buf := make([]byte, 6)
				if _, err := io.ReadFull(res.Body, buf); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestBigBodies(t *testing.T) {
	r := run(t, Config{})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, in.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-In", fmt.Sprintf("%d %x", n, sum.Sum(nil)))
		io.Copy(w, io.LimitReader(zeros{}, 32<<20))
	})))
	sum := sha256.New()
	io.Copy(sum, io.LimitReader(zeros{}, 32<<20))
	wanted := fmt.Sprintf("%d %x", 32<<20, sum.Sum(nil))
	for name, c := range map[string]*http.Client{"http/1.1": newTestClient(t), "h2c": h2cClient(t)} {
		for _, length := range []int64{-1, 32 << 20} {
			req, _ := http.NewRequest("PUT", r.url, io.LimitReader(zeros{}, 32<<20))
			req.ContentLength = length
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if err != nil || n != 32<<20 || res.Header.Get("X-In") != wanted {
				t.Errorf("%s %d: %d bytes back, %v, in %q", name, length, n, err, res.Header.Get("X-In"))
			}
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestExpectContinue(t *testing.T) {
	r := run(t, Config{})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		if in.URL.Path == "/no" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		b, _ := io.ReadAll(in.Body)
		w.Write(b)
	})))
	dial := func(path string) (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", r.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", path)
		return c, bufio.NewReader(c)
	}
	c, br := dial("/yes")
	if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q %v", line, err)
	}
	br.ReadString('\n')
	io.WriteString(c, "body")
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "body" {
		t.Fatalf("%q %v", b, err)
	}
	_, br = dial("/no")
	if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 413 ") {
		t.Fatalf("%q %v", line, err)
	}
}

func TestEarlyHints(t *testing.T) {
	r := run(t, Config{})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		io.WriteString(w, "done")
	})))
	var hints []string
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, h.Get("Link")))
			return nil
		},
	})
	req, _ := http.NewRequestWithContext(ctx, "GET", r.url, nil)
	res, err := newTestClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if fmt.Sprint(hints) != "[103</a.css>]" && fmt.Sprint(hints) != "[103 </a.css>]" || res.Header.Get("Link") != "" {
		t.Errorf("hints %q, final %v", hints, res.Header)
	}
}

func TestHead(t *testing.T) {
	r := run(t, Config{})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		w.Header().Set("Content-Length", "12345")
	})))
	res, err := newTestClient(t).Head(r.url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ContentLength != 12345 {
		t.Errorf("length %d", res.ContentLength)
	}
}

// TestEarlyAnswer has a target that answers and ends while the client still sends.
func TestEarlyAnswer(t *testing.T) {
	r := run(t, Config{})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})))
	c, err := net.Dial("tcp", r.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nonly this")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("%v %v", res, err)
	}
	eventually(t, "nothing in flight", func() bool { return r.Meter(testEnv).InFlight == 0 })
	if m := r.Meter(testEnv); m.Requests != 1 || m.Failed != 0 || m.Status[4] != 1 {
		t.Errorf("meter %+v", m)
	}
}

func TestBrokenAnswerIsCutAndCounted(t *testing.T) {
	for name, c := range map[string]*http.Client{"http/1.1": newTestClient(t), "h2c": h2cClient(t)} {
		t.Run(name, func(t *testing.T) {
			r := run(t, Config{})
			r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
				io.WriteString(w, "half")
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})))
			if _, b, err := get(c, r.url); err == nil {
				t.Errorf("the client takes %q for the whole", b)
			}
			r.counted(1)
			if m := r.Meter(testEnv); m.Failed != 1 || m.Status[2] != 1 || m.InFlight != 0 {
				t.Errorf("meter %+v", m)
			}
		})
	}
}

func TestClientAbortFreesTheTarget(t *testing.T) {
	for name, c := range map[string]*http.Client{"http/1.1": newTestClient(t), "h2c": h2cClient(t)} {
		t.Run(name, func(t *testing.T) {
			r := run(t, Config{})
			arrived, ended := make(chan struct{}), make(chan struct{})
			r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
				close(arrived)
				<-in.Context().Done()
				close(ended)
			})))
			ctx, cancel := context.WithCancel(context.Background())
			req, _ := http.NewRequestWithContext(ctx, "GET", r.url, nil)
			failed := make(chan error, 1)
			go func() { _, err := c.Do(req); failed <- err }()
			<-arrived
			r.route()
			if n := r.Status().Drains["a"]; n != 1 {
				t.Fatalf("%d in flight", n)
			}
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			<-ended
			r.until("drained", func(s api.BalancerStatus) bool { return s.Drains["a"] == 0 })
			r.counted(1)
			if m := r.Meter(testEnv); m.Aborted != 1 || m.Failed != 0 {
				t.Errorf("meter %+v", m)
			}
		})
	}
}

func TestWebSocketCountsUntilItEnds(t *testing.T) {
	r := run(t, Config{})
	r.route("a=" + backend(t, http.HandlerFunc(echoSocket)))
	ctx := context.Background()
	c, _, err := websocket.Dial(ctx, r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for _, size := range []int{1, 126, 30000, 70000} { // each form of a frame's length
		big := bytes.Repeat([]byte("x"), size)
		if err := c.Write(ctx, websocket.MessageBinary, big); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(ctx); err != nil || !bytes.Equal(b, big) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
	}
	if m := r.Meter(testEnv); m.Status[1] != 1 || m.Requests != 1 {
		t.Errorf("meter %+v", m)
	}
	eventually(t, "in flight", func() bool { return r.current().pools[poolName].targets[0].member.InFlight.Load() == 1 })
	r.route() // the client is asked to go elsewhere, and the target learns that it does
	if s := r.Status(); s.Drains["a"] != 1 {
		t.Fatalf("status %+v", s)
	}
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Fatalf("the client was told %v", err)
	}
	r.until("drained", func(s api.BalancerStatus) bool { return s.Drains["a"] == 0 })
}

// TestFramesEnd finds the ends of frames of every form, however the bytes come.
func TestFramesEnd(t *testing.T) {
	var all []byte
	ends := map[int]bool{0: true}
	for _, f := range [][]byte{
		append([]byte{0x81, 3}, "abc"...), {0x88, 2, 3, 0xe9}, {0x89, 0},
		append([]byte{0x82, 126, 1, 0}, make([]byte, 256)...),
		append([]byte{0x02, 127, 0, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 65536)...),
		append([]byte{0x80, 0x82, 1, 2, 3, 4}, "ab"...),
	} {
		all = append(all, f...)
		ends[len(all)] = true
	}
	for _, step := range []int{1, 2, 3, 7, 100, len(all)} {
		var f frames
		for at := 0; at < len(all); {
			n := min(step, len(all)-at)
			f.feed(all[at : at+n])
			at += n
			if f.between() != ends[at] {
				t.Fatalf("in steps of %d: an end of a frame at %d is %v", step, at, !ends[at])
			}
		}
	}
}

func TestUpgradeToHTTP2IsNotPassedOn(t *testing.T) {
	r := run(t, Config{})
	got := make(chan http.Header, 1)
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) { got <- in.Header })))
	req, _ := http.NewRequest("GET", r.url, nil)
	req.Header = http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAMAAABkAARAAAAAAAIAAAAA"}}
	res, err := newTestClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if h := <-got; res.StatusCode != 200 || h.Get("Upgrade") != "" || h.Get("Http2-Settings") != "" {
		t.Errorf("%d, target got %v", res.StatusCode, h)
	}
}

func TestWrongUpgradeIsAFailure(t *testing.T) {
	r := run(t, Config{})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		c, _, _ := http.NewResponseController(w).Hijack()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
		c.Close()
	})))
	req, _ := http.NewRequest("GET", r.url, nil)
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"mine"}}
	res, err := newTestClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestSlowHeadIsCut(t *testing.T) {
	r := run(t, Config{HeadTimeout: 50 * time.Millisecond})
	c, err := net.Dial("tcp", r.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost:")
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(c); err != nil {
		t.Fatalf("not closed: %v", err)
	}
}

func TestLargeHeadIsRefused(t *testing.T) {
	r := run(t, Config{HeadBytes: 4 << 10})
	r.route("a=" + backend(t, says("a")))
	req, _ := http.NewRequest("GET", r.url, nil)
	req.Header.Set("X-Big", strings.Repeat("x", 32<<10))
	res, err := newTestClient(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", res.StatusCode)
	}
}
