package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
	"github.com/ikada/ikada/internal/proxy/policy"
)

var testEnv = api.EnvRef{App: "shop", Env: "production"}

// patience is how long something that must happen is waited for.
const patience = 30 * time.Second

const poolName = "shop/production/web:80"

// running is a proxy that serves on a free loopback port, with one pool for any host.
type running struct {
	*Proxy
	t       testing.TB
	version atomic.Uint64
	url     string
	stop    func()
}

func run(t testing.TB, cfg Config) *running {
	t.Helper()
	cfg.HTTP = "127.0.0.1:0"
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	r := &running{Proxy: p, t: t, url: "http://" + p.HTTPAddr().String()}
	r.stop = func() { cancel(); <-ended }
	t.Cleanup(r.stop)
	return r
}

// Meter is what an environment's requests have met.
func (r *running) Meter(env api.EnvRef) meter.Counters { return r.Meters().Counters(env) }

// counted waits until so many requests have been counted and all that follows is done: what is in flight goes last.
func (r *running) counted(requests uint64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint(requests, " requests are counted"), func() bool {
		m := r.Meter(testEnv)
		return m.Requests == requests && m.InFlight == 0
	})
}

// table is one pool for any host, and for listeners, with tasks named and placed by "task=address".
func (r *running) table(hold time.Duration, listeners []api.Listener, tasks ...string) *api.RouteTable {
	pool := api.Pool{Name: poolName, EnvRef: testEnv, Service: "web", Hold: api.Duration(hold)}
	for _, s := range tasks {
		task, addr, _ := strings.Cut(s, "=")
		pool.Targets = append(pool.Targets, api.Target{Task: task, Release: 1, Address: addr})
	}
	return &api.RouteTable{
		Version: r.version.Add(1), Listeners: listeners,
		Routes: []api.Route{{Path: "/", Pool: poolName}}, Pools: []api.Pool{pool},
	}
}

// route is an Apply of that table, without published ports.
func (r *running) route(tasks ...string) { r.Apply(r.table(5*time.Second, nil, tasks...)) }

// until calls ok after each change of Status until it is true.
func (r *running) until(what string, ok func(api.BalancerStatus) bool) {
	r.t.Helper()
	deadline := time.After(patience)
	for !ok(r.Status()) {
		select {
		case <-r.Changed():
		case <-deadline:
			r.t.Fatalf("%s: not within %s; status %+v", what, patience, r.Status())
		}
	}
}

// eventually waits for what no channel tells of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}

// lasting tries with times that double: a busy machine may be late by more than a short one, but not by more than each.
func lasting(t testing.TB, first time.Duration, try func(d time.Duration) error) {
	t.Helper()
	var err error
	for d := first; d <= 16*first; d *= 2 {
		if err = try(d); err == nil {
			return
		}
		t.Logf("with %s: %v", d, err)
	}
	t.Error(err)
}

// backend is an HTTP/1 and h2c server.
func backend(t testing.TB, h http.Handler) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().String()
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
}

// client is an HTTP client of its own, so that its idle connections are not shared.
func newTestClient(t testing.TB) *http.Client {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func h2cClient(t testing.TB) *http.Client {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(c *http.Client, url string) (int, string, error) {
	res, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func want(t testing.TB, c *http.Client, url string, status int, body string) {
	t.Helper()
	s, b, err := get(c, url)
	if err != nil || s != status || !strings.Contains(b, body) {
		t.Fatalf("GET %s: %d %q, %v; want %d %q", url, s, b, err, status, body)
	}
}

// freePort gives a port of 127.0.0.1 at which nobody listens, and which the kernel gives to nobody else until the test's
// end: a socket holds it that lets others listen there.
func freePort(t testing.TB) uint16 {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	if err != nil {
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(addr.(*unix.SockaddrInet4).Port)
}

func loopback(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// byAddr seeks the pool of a published port.
type byAddr string

func (a byAddr) find(t *table) *entry  { return t.listeners[string(a)].entry }
func (a byAddr) prefers(*entry) string { return "" }

func (a byAddr) matches(*policy.Match) bool { return false }
func (a byAddr) gone() <-chan struct{}      { return nil }
