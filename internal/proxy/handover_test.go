package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikada/ikada/api"
)

// server is a task: it is stopped for good the moment that its drain is reported.
type server struct {
	name  string
	addr  string
	http  *http.Server
	ended atomic.Bool
}

func startServer(t testing.TB, name string, late *atomic.Int64) *server {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{name: name, addr: ln.Addr().String()}
	s.http = &http.Server{Protocols: new(http.Protocols)}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.ended.Load() {
			late.Add(1)
		}
		if r.Header.Get("Upgrade") != "" {
			echoSocket(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, string(body)+"+"+name)
	})
	go s.http.Serve(ln)
	return s
}

func (s *server) kill() {
	s.ended.Store(true)
	s.http.Close()
}

func echoSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for {
		kind, b, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if c.Write(r.Context(), kind, b) != nil {
			return
		}
	}
}

// TestSwapsFailNoRequest replaces both targets again and again under load of all kinds, and stops each old server as
// soon as Status reports that nothing is in flight there.
func TestSwapsFailNoRequest(t *testing.T) {
	swaps := 1000
	if testing.Short() {
		swaps = 100
	}
	r := run(t, Config{})
	var late atomic.Int64
	serving := map[string]*server{}
	fresh := func(n int) string {
		s := startServer(t, fmt.Sprintf("t%d", n), &late)
		serving[s.name] = s
		return s.name + "=" + s.addr
	}
	a, b := fresh(1), fresh(2)
	r.route(a, b)

	done := make(chan struct{})
	var answered atomic.Int64
	var load sync.WaitGroup
	under := func(name string, once func() error) {
		load.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := once(); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for range 2 {
		keep, h2, fresh := newTestClient(t), h2cClient(t), newTestClient(t)
		fresh.Transport.(*http.Transport).DisableKeepAlives = true
		under("keep-alive", func() error { return echo(keep, r.url, "") })
		under("close", func() error { return echo(fresh, r.url, "") })
		under("post", func() error { return echo(keep, r.url, strings.Repeat("body", 9000)) })
		under("h2c", func() error { return echo(h2, r.url, "over h2c") })
		under("websocket", func() error { return echoOnce(r.url) })
	}
	for n := range swaps {
		eventually(t, "load between swaps", func() bool { return answered.Load() >= int64(5*n) || t.Failed() })
		old := a
		a, b = b, fresh(n+3)
		r.route(a, b)
		name, _, _ := strings.Cut(old, "=")
		r.until("drain of "+name, func(s api.BalancerStatus) bool {
			if slices.Contains(s.Picks, name) {
				t.Fatalf("%s is still picked: %+v", name, s)
			}
			left, listed := s.Drains[name]
			if !listed {
				t.Fatalf("%s is not among the drains: %+v", name, s)
			}
			return left == 0
		})
		serving[name].kill()
		delete(serving, name)
	}
	close(done)
	load.Wait()
	for _, s := range serving {
		s.kill()
	}
	if n := late.Load(); n > 0 {
		t.Errorf("%d requests reached a server after its drain was reported", n)
	}
	if answered.Load() < int64(5*(swaps-1)) {
		t.Errorf("only %d requests in %d swaps: the load did not run", answered.Load(), swaps)
	}
	if m := r.Meter(testEnv); m.Failed != 0 || m.Requests < uint64(answered.Load()) {
		t.Errorf("meter %+v after %d answers", m, answered.Load())
	}
	t.Logf("%d requests, %d swaps, meter %+v", answered.Load(), swaps, r.Meter(testEnv))
}

func echo(c *http.Client, url, body string) error {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, url+"/x", strings.NewReader(body))
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != 200 || !bytes.HasPrefix(got, []byte(body+"+t")) {
		return fmt.Errorf("%s %d bytes: %d with %d bytes %.80q", method, len(body), res.StatusCode, len(got), got)
	}
	return nil
}

func echoOnce(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return err
	}
	defer c.CloseNow()
	for range 3 {
		if err := c.Write(ctx, websocket.MessageText, []byte("ahoy")); err != nil {
			return err
		}
		_, b, err := c.Read(ctx)
		if websocket.CloseStatus(err) == websocket.StatusGoingAway {
			return nil // its target has left, which it was told as it should be
		}
		if err != nil || string(b) != "ahoy" {
			return fmt.Errorf("echo %q: %w", b, err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		return err
	}
	return nil
}

// TestApplyEndsPicks holds the promise at its root: the count in flight of a target that left never rises once
// Apply has returned.
func TestApplyEndsPicks(t *testing.T) {
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	tableOf := func(v uint64, tasks ...string) *api.RouteTable {
		pool := api.Pool{Name: "p", EnvRef: testEnv}
		for _, task := range tasks {
			pool.Targets = append(pool.Targets, api.Target{Task: task, Address: "127.0.0.1:1"})
		}
		return &api.RouteTable{Version: v, Pools: []api.Pool{pool}, Listeners: []api.Listener{{Port: 1, Pool: "p"}}}
	}
	p.Apply(tableOf(1, "a0", "b0"))
	done := make(chan struct{})
	var picking sync.WaitGroup
	for range 4 {
		picking.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s := search{proxy: p, seeker: byAddr(":1")}
				before := p.current().version
				target, err := s.next()
				if err != nil {
					t.Error(err)
					return
				}
				if s.version < before {
					t.Errorf("picked by table %d after %d was in force", s.version, before)
				}
				target.release()
				s.end()
			}
		})
	}
	for v := uint64(2); v < 3000; v++ {
		gone := p.current().pools["p"].targets[0]
		p.Apply(tableOf(v, fmt.Sprintf("b%d", v-2), fmt.Sprintf("b%d", v-1)))
		low := gone.member.InFlight.Load()
		for range 20 {
			now := gone.member.InFlight.Load()
			if now > low {
				t.Fatalf("count in flight rose from %d to %d after Apply", low, now)
			}
			low = now
		}
	}
	close(done)
	picking.Wait()
	if m := p.Meters().Counters(testEnv); m.InFlight != 0 {
		t.Errorf("%d in flight at the end", m.InFlight)
	}
}

func TestDrainIsReportedUntilSeen(t *testing.T) {
	r := run(t, Config{})
	hold, arrived := make(chan struct{}), make(chan struct{})
	a := backend(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { close(arrived); <-hold }))
	b := backend(t, says("b"))
	r.route("a=" + a)
	answered := make(chan error, 1)
	c := newTestClient(t)
	go func() { _, _, err := get(c, r.url); answered <- err }()
	<-arrived
	r.route("b=" + b)
	if s := r.Status(); s.Drains["a"] != 1 || !slices.Equal(s.Picks, []string{"b"}) {
		t.Fatalf("status %+v", s)
	}
	want(t, newTestClient(t), r.url, 200, "b")
	r.route("b="+b, "c="+b) // a newer table does not make it forgotten
	if s := r.Status(); s.Drains["a"] != 1 {
		t.Fatalf("status %+v", s)
	}
	close(hold)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	eventually(t, "count is zero", func() bool { return r.drains["a"].inFlight() == 0 })
	r.route("b=" + b) // zero, but nobody has seen it
	for range 2 {
		if n, listed := r.Status().Drains["a"]; n != 0 || !listed {
			t.Fatalf("status %+v", r.Status())
		}
	}
	r.route("b="+b, "c="+b)
	if _, listed := r.Status().Drains["a"]; listed {
		t.Fatalf("still listed: %+v", r.Status())
	}
}

func TestReturnedTaskKeepsItsCount(t *testing.T) {
	r := run(t, Config{})
	hold, arrived := make(chan struct{}), make(chan struct{})
	a := backend(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { close(arrived); <-hold }))
	r.route("a=" + a)
	answered := make(chan error, 1)
	c := newTestClient(t)
	go func() { _, _, err := get(c, r.url); answered <- err }()
	<-arrived
	r.route()
	r.route("a=" + a)
	if s := r.Status(); len(s.Drains) != 0 || !slices.Equal(s.Picks, []string{"a"}) {
		t.Fatalf("status %+v", s)
	}
	r.route()
	if s := r.Status(); s.Drains["a"] != 1 || len(s.Picks) != 0 {
		t.Fatalf("status %+v", s)
	}
	close(hold)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	r.until("zero", func(s api.BalancerStatus) bool { return s.Drains["a"] == 0 })
}

func TestOlderTableIsIgnored(t *testing.T) {
	r := run(t, Config{})
	b := backend(t, says("b"))
	old := r.table(0, nil, "old=127.0.0.1:1")
	r.route("b=" + b)
	r.Apply(old)
	want(t, newTestClient(t), r.url, 200, "b")
	if s := r.Status(); s.Version != 2 {
		t.Fatalf("status %+v", s)
	}
}
