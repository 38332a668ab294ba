package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func TestHeldUntilATargetComes(t *testing.T) {
	r := run(t, Config{})
	r.route()
	c := newTestClient(t)
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() {
			if s, b, err := get(c, r.url); s != 200 || b != "a" || err != nil {
				t.Errorf("%d %q %v", s, b, err)
			}
		})
	}
	eventually(t, "held", func() bool { return r.Meter(testEnv).Held == 20 })
	r.route() // a table that does not help
	r.route("a=" + backend(t, says("a")))
	waiting.Wait()
	eventually(t, "counted", func() bool { return r.Meter(testEnv).InFlight == 0 })
	if m := r.Meter(testEnv); m.Held != 0 || m.Failed != 0 || m.Requests != 20 {
		t.Errorf("meter %+v", m)
	}
}

func TestHeldBeforeTheFirstTable(t *testing.T) {
	r := run(t, Config{})
	c := newTestClient(t)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if s, b, err := get(c, r.url); s != 200 || b != "a" || err != nil {
			t.Errorf("%d %q %v", s, b, err)
		}
	}()
	eventually(t, "held", func() bool { return r.early.Load() == 1 })
	r.route("a=" + backend(t, says("a")))
	<-answered
}

func TestHoldEnds(t *testing.T) {
	var log strings.Builder
	r := run(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.Apply(r.table(30*time.Millisecond, nil))
	res, err := newTestClient(t).Get(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if text := "ikada: shop/production, service web: no task is ready\n"; res.StatusCode != 503 ||
		res.Header.Get("Retry-After") != "1" || string(b) != text {
		t.Errorf("%d %v %q", res.StatusCode, res.Header, b)
	}
	r.stop()
	m := r.Meter(testEnv)
	if m.Failed != 1 || m.Requests != 1 || m.Status[5] != 1 || m.Longest < 30*time.Millisecond {
		t.Errorf("meter %+v", m)
	}
	if s := log.String(); !strings.Contains(s, `app=shop env=production service=web step="find a target" error="no task is ready"`) {
		t.Errorf("log %s", s)
	}
}

func TestQueueIsBounded(t *testing.T) {
	r := run(t, Config{Queue: 2})
	r.route()
	c := newTestClient(t)
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() {
			if s, b, err := get(c, r.url); s != 200 || err != nil {
				t.Errorf("%d %q %v", s, b, err)
			}
		})
	}
	eventually(t, "held", func() bool { return r.Meter(testEnv).Held == 2 })
	want(t, newTestClient(t), r.url, 503, "too many requests wait")
	r.route("a=" + backend(t, says("a")))
	waiting.Wait()
}

func TestClientThatGivesUpWhileHeld(t *testing.T) {
	r := run(t, Config{})
	r.route()
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", r.url, nil)
	c := newTestClient(t)
	ended := make(chan struct{})
	go func() { defer close(ended); c.Do(req) }()
	eventually(t, "held", func() bool { return r.Meter(testEnv).Held == 1 })
	cancel()
	<-ended
	r.counted(1)
	if m := r.Meter(testEnv); m.Held != 0 || m.InFlight != 0 || m.Failed != 1 {
		t.Errorf("meter %+v", m)
	}
}

func TestRefusedGoesToAnother(t *testing.T) {
	r := run(t, Config{})
	dead := []string{"x=" + loopback(freePort(t)), "y=" + loopback(freePort(t))}
	r.route(append(dead, "a="+backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		io.Copy(w, in.Body)
	})))...)
	c := newTestClient(t)
	for range 50 {
		res, err := c.Post(r.url, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 200 || string(b) != "body" {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
	}
}

func TestAllRefusedWaitsForANewTable(t *testing.T) {
	r := run(t, Config{})
	r.route("x=" + loopback(freePort(t)))
	c := newTestClient(t)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if s, b, err := get(c, r.url); s != 200 || b != "a" || err != nil {
			t.Errorf("%d %q %v", s, b, err)
		}
	}()
	eventually(t, "held", func() bool { return r.Meter(testEnv).Held == 1 })
	r.route("a=" + backend(t, says("a")))
	<-answered

	r.Apply(r.table(20*time.Millisecond, nil, "x="+loopback(freePort(t))))
	want(t, newTestClient(t), r.url, 503, "no task accepts connections")
}

// TestDeadKeepAliveIsRetried has a target that answers once a connection and then closes on the next request.
func TestDeadKeepAliveIsRetried(t *testing.T) {
	r := run(t, Config{})
	var posts atomic.Int64
	r.route("a=" + tcpBackend(t, func(c *net.TCPConn) {
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		if strings.HasPrefix(string(buf[:n]), "POST") {
			posts.Add(1)
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		n, _ = c.Read(buf)
		if strings.HasPrefix(string(buf[:n]), "POST") {
			posts.Add(1)
		}
	}))
	c := newTestClient(t)
	for range 10 {
		want(t, c, r.url, 200, "ok")
	}
	res, err := c.Post(r.url, "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadGateway && res.StatusCode != 200 || posts.Load() != 1 {
		t.Errorf("status %d, the POST was sent %d times", res.StatusCode, posts.Load())
	}
}

func TestNoAnswerIsAFailure(t *testing.T) {
	r := run(t, Config{})
	var calls atomic.Int64
	r.route("a=" + tcpBackend(t, func(c *net.TCPConn) {
		calls.Add(1)
		c.Read(make([]byte, 4096))
	}))
	want(t, newTestClient(t), r.url, 502, "the task gave no valid answer")
	if calls.Load() != 1 {
		t.Errorf("asked %d times", calls.Load())
	}
	eventually(t, "counted", func() bool { return r.Meter(testEnv).Failed == 1 })
}

func TestPublishedPorts(t *testing.T) {
	r := run(t, Config{})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint16(taken.Addr().(*net.TCPAddr).Port)
	free := freePort(t)
	listeners := []api.Listener{
		{HostIP: "127.0.0.1", Port: port, Pool: poolName, Protocol: api.ProtoHTTP},
		{HostIP: "127.0.0.1", Port: free, Pool: poolName, Protocol: api.ProtoHTTP},
		{HostIP: "127.0.0.1", Port: free, Pool: "shop/staging/web:80", Protocol: api.ProtoHTTP},
	}
	in, gate := make(chan struct{}), make(chan struct{})
	a := backend(t, http.HandlerFunc(func(w http.ResponseWriter, in2 *http.Request) {
		if in2.URL.Path == "/slow" {
			close(in)
			<-gate
		}
		io.WriteString(w, "a")
	}))
	r.Apply(r.table(0, listeners, "a="+a))
	s := r.Status()
	if p := s.Problem[loopback(port)]; !strings.Contains(p, "address already in use") {
		t.Errorf("problems %q", s.Problem)
	}
	if p := s.Problem[loopback(free)]; p != "also asked for by shop/staging/web:80; it serves shop/production/web:80" {
		t.Errorf("problems %q", s.Problem)
	}
	want(t, newTestClient(t), "http://"+loopback(free), 200, "a")

	taken.Close() // it is tried again
	r.until("opened", func(s api.BalancerStatus) bool { return s.Problem[loopback(port)] == "" })
	want(t, newTestClient(t), "http://"+loopback(port), 200, "a")

	slow := make(chan error, 1)
	c := newTestClient(t)
	go func() { _, _, err := get(c, "http://"+loopback(free)+"/slow"); slow <- err }()
	<-in
	r.Apply(r.table(0, nil, "a="+a))
	if _, err := net.Dial("tcp", loopback(free)); err == nil {
		t.Error("the port is still open")
	}
	close(gate)
	if err := <-slow; err != nil {
		t.Errorf("the request in flight when its port was closed: %v", err)
	}
}

func TestSharedPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p, err := New(Config{HTTP: taken.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Open(); !api.IsKind(err, api.Conflict) {
		t.Errorf("open: %v", err)
	}
	if s := p.Status(); s.Problem[taken.Addr().String()] == "" {
		t.Errorf("status %+v", s)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{{HTTP: "80"}, {Queue: -1}, {Grace: -1}} {
		if _, err := New(c); !api.IsKind(err, api.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
