package proxy

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// policed applies a table whose route has a policy.
func (r *running) policed(p api.RoutePolicy, tasks ...string) {
	t := r.table(5*time.Second, nil, tasks...)
	t.Routes[0].RoutePolicy = p
	r.Apply(t)
}

func TestTimeoutOfTheAnswer(t *testing.T) {
	for name, c := range map[string]*http.Client{"http/1.1": newTestClient(t), "h2c": h2cClient(t)} {
		t.Run(name, func(t *testing.T) {
			r := run(t, Config{})
			left := make(chan struct{})
			r.policed(api.RoutePolicy{Timeout: api.Duration(50 * time.Millisecond)}, "a="+backend(t, http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
				<-in.Context().Done()
				close(left)
			})))
			want(t, c, r.url, 504, "the task did not answer in time")
			<-left
			eventually(t, "counted", func() bool { return r.Meter(testEnv).Failed == 1 })
		})
	}
}

func TestSilenceEndsStreams(t *testing.T) {
	r := run(t, Config{})
	r.policed(api.RoutePolicy{IdleTimeout: api.Duration(time.Second)}, "a="+backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		if in.Header.Get("Upgrade") != "" {
			echoSocket(w, in)
			return
		}
		io.WriteString(w, "first")
		http.NewResponseController(w).Flush()
		<-in.Context().Done()
	})))
	if _, b, err := get(newTestClient(t), r.url); err == nil || b != "first" {
		t.Errorf("a silent answer ended with %q, %v", b, err)
	}
	c, _, err := websocket.Dial(context.Background(), r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for range 5 { // it lives while something is said
		if err := c.Write(context.Background(), websocket.MessageText, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := c.Read(context.Background()); err == nil {
		t.Error("a silent WebSocket goes on")
	}
}

func TestLargeBodyIsRefused(t *testing.T) {
	r := run(t, Config{})
	r.policed(api.RoutePolicy{MaxBody: 1000}, "a="+backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		n, _ := io.Copy(io.Discard, in.Body)
		fmt.Fprint(w, n)
	})))
	for _, c := range []struct{ size, length, status int }{{1000, 1000, 200}, {1001, 1001, 413}, {1000, -1, 200}, {5 << 20, -1, 413}} {
		req, _ := http.NewRequest("POST", r.url, io.LimitReader(zeros{}, int64(c.size)))
		req.ContentLength = int64(c.length)
		res, err := newTestClient(t).Do(req)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%+v: status %d", c, res.StatusCode)
		}
	}
}

// TestStalledBodyIsGivenUp lets clients send half of a body: before the target has answered, and while it does.
func TestStalledBodyIsGivenUp(t *testing.T) {
	for name, client := range map[string]func(testing.TB) *http.Client{"http/1.1": newTestClient, "h2c": h2cClient} {
		for _, answers := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", answers ", answers), func(t *testing.T) {
				lasting(t, 600*time.Millisecond, func(stall time.Duration) error {
					pause := stall / 3
					r := run(t, Config{StallTime: stall})
					r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
						if answers {
							c := http.NewResponseController(w)
							_ = c.EnableFullDuplex()
							io.WriteString(w, "first")
							_ = c.Flush()
						}
						_, _ = io.Copy(io.Discard, in.Body)
					})))
					pr, pw := io.Pipe()
					defer pw.Close()
					go func() {
						for range 3 {
							_, _ = pw.Write([]byte("some"))
							time.Sleep(pause)
						}
					}()
					start := time.Now()
					req, err := http.NewRequest("POST", r.url, pr)
					if err != nil {
						t.Fatal(err)
					}
					res, err := client(t).Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer res.Body.Close()
					b, err := io.ReadAll(res.Body)
					took := time.Since(start)
					if answers && (res.StatusCode != 200 || string(b) != "first" || err == nil) || !answers && (res.StatusCode != 408 || err != nil) {
						t.Errorf("answered with %d %q, %v", res.StatusCode, b, err)
					}
					r.counted(1)
					if c := r.Meter(testEnv); c.Failed != 0 || c.Aborted != 1 {
						t.Errorf("counted as %+v", c)
					}
					if took < 2*pause+stall/2 {
						return fmt.Errorf("given up after %v, though it still sent", took)
					}
					return nil
				})
			})
		}
	}
}

func TestStickyClientsStay(t *testing.T) {
	r := run(t, Config{})
	tasks := []string{"a=" + backend(t, says("a")), "b=" + backend(t, says("b")), "c=" + backend(t, says("c"))}
	r.policed(api.RoutePolicy{Sticky: &api.Sticky{}}, tasks...)
	res, err := newTestClient(t).Get(r.url)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := io.ReadAll(res.Body)
	res.Body.Close()
	cookie := res.Cookies()[0]
	ask := func() (string, []*http.Cookie) {
		req, _ := http.NewRequest("GET", r.url, nil)
		req.AddCookie(cookie)
		res, err := newTestClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return string(b), res.Cookies()
	}
	for range 20 {
		if b, set := ask(); b != string(first) || len(set) != 0 {
			t.Fatalf("%s after %s, cookies %v", b, first, set)
		}
	}
	var rest []string
	for _, s := range tasks {
		if s[:1] != string(first) {
			rest = append(rest, s)
		}
	}
	r.policed(api.RoutePolicy{Sticky: &api.Sticky{}}, rest...)
	if b, set := ask(); b == string(first) || len(set) != 1 {
		t.Errorf("%s after its task has left, cookies %v", b, set)
	}
}

// TestStickyCookieBehindAProxy looks for Secure where a proxy that ends TLS is trusted, and nowhere else.
func TestStickyCookieBehindAProxy(t *testing.T) {
	for _, c := range []struct {
		trusted bool
		proto   string
		secure  bool
	}{{true, "https", true}, {true, "http", false}, {true, "", false}, {false, "https", false}} {
		cfg := Config{}
		if c.trusted {
			cfg.TrustProxy = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}
		r := run(t, cfg)
		r.policed(api.RoutePolicy{Sticky: &api.Sticky{}}, "a="+backend(t, says("hello")))
		for name, client := range map[string]*http.Client{"http/1.1": newTestClient(t), "h2c": h2cClient(t)} {
			req, err := http.NewRequest("GET", r.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.proto != "" {
				req.Header.Set("X-Forwarded-Proto", c.proto)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if all := res.Cookies(); len(all) != 1 || all[0].Secure != c.secure {
				t.Errorf("%s, %+v: cookies %v", name, c, all)
			}
		}
	}
}

func TestAnswersAreCompressed(t *testing.T) {
	r := run(t, Config{})
	text := strings.Repeat("all work and no play makes a dull text\n", 2000)
	r.policed(api.RoutePolicy{Compress: true}, "a="+backend(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("ETag", `"1"`)
		io.WriteString(w, text)
	})))
	for name, c := range map[string]*http.Client{"http/1.1": newTestClient(t), "h2c": h2cClient(t)} {
		req, _ := http.NewRequest("GET", r.url, nil)
		req.Header.Set("Accept-Encoding", "gzip")
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		h := res.Header
		if h.Get("Content-Encoding") != "gzip" || h.Get("Vary") != "Accept-Encoding" || h.Get("ETag") != `W/"1"` || h.Get("Content-Length") != "" {
			t.Errorf("%s: %v", name, h)
		}
		z, err := gzip.NewReader(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(z); err != nil || string(b) != text {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

// TestRetries has a task that takes requests and resets their connections, beside one that serves.
func TestRetries(t *testing.T) {
	r := run(t, Config{})
	var taken atomic.Int64
	bad := tcpBackend(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 4096))
		taken.Add(1)
		c.SetLinger(0)
	})
	r.route("a="+bad, "b="+backend(t, says("b")))
	c := newTestClient(t)
	for range 50 {
		want(t, c, r.url, 200, "b")
	}
	if n := taken.Load(); n == 0 || n > 10 {
		t.Errorf("the task that resets was asked %d times: it is to be asked, and soon to be left alone", n)
	}
	r.counted(50)
	if m := r.Meter(testEnv); m.Failed != 0 {
		t.Errorf("meter %+v", m)
	}
	lost := map[string]uint64{}
	for _, p := range r.Meters().Sums(meter.ByTask, meter.Selection{}, time.Time{}) {
		lost[p.Source.Task] += p.Lost
	}
	if lost["a"] != uint64(taken.Load()) || lost["b"] != 0 {
		t.Errorf("attempts lost by task: %v, expected %d of a", lost, taken.Load())
	}
	r.route("c=" + bad)
	before := taken.Load()
	res, err := c.Post(r.url, "text/plain", strings.NewReader("once"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 502 || taken.Load() != before+1 {
		t.Errorf("status %d, the POST was sent %d times", res.StatusCode, taken.Load()-before)
	}
}

func TestProxyProtocol(t *testing.T) {
	r := run(t, Config{ProxyProtocol: true, TrustProxy: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		io.WriteString(w, in.Header.Get("X-Forwarded-For"))
	})))
	ask := func(head string) (string, error) {
		c, err := net.Dial("tcp", r.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, head+"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(res.Body)
		return string(b), err
	}
	if got, err := ask("PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n"); err != nil || got != "192.0.2.1" {
		t.Errorf("version 1: %q, %v", got, err)
	}
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + "\xc0\x00\x02\x07\xc0\x00\x02\x02\x12\x67\x00\x50"
	if got, err := ask(v2); err != nil || got != "192.0.2.7" {
		t.Errorf("version 2: %q, %v", got, err)
	}
	if got, err := ask(""); err == nil {
		t.Errorf("without the header it was served: %q", got)
	}
}

func TestConnectionsOfOneClient(t *testing.T) {
	r := run(t, Config{ClientConns: 2})
	r.route("a=" + backend(t, says("a")))
	dial := func() (net.Conn, error) {
		c, err := net.Dial("tcp", r.HTTPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err = c.Read(make([]byte, 1))
		return c, err
	}
	one, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	two, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if c, err := dial(); err == nil {
		t.Error("a third connection was served")
	} else {
		c.Close()
	}
	one.Close()
	eventually(t, "one more", func() bool {
		c, err := dial()
		c.Close()
		return err == nil || !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset")
	})
}

// TestAnswerBeforeTheBody has a target that answers a large request at once and reads no more of it, while the client
// goes on sending.
func TestAnswerBeforeTheBody(t *testing.T) {
	r := run(t, Config{})
	gate := make(chan struct{})
	defer close(gate)
	r.route("a=" + tcpBackend(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		<-gate
	}))
	c, err := net.Dial("tcp", r.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
		io.Copy(c, zeros{})
	}()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 403 || string(b) != "no" {
		t.Errorf("%d %q %v", res.StatusCode, b, err)
	}
	r.counted(1)
	if m := r.Meter(testEnv); m.Failed != 0 || m.InFlight != 0 {
		t.Errorf("meter %+v", m)
	}
}
