package conformance

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy"
)

// patience is how long a test waits for what must come. It is reached only when a test fails.
const patience = 20 * time.Second

// balance runs a balancer whose shared HTTP port sends every request to the task at target, and gives the port's
// address.
func balance(t testing.TB, cfg proxy.Config, target string) string {
	t.Helper()
	cfg.HTTP = "127.0.0.1:0"
	p, _ := start(t, cfg, target)
	return p.HTTPAddr().String()
}

// start runs a balancer that sends every request to the task at target, until stop is called or the test ends. When
// stop has returned, the balancer's connections are closed.
func start(t testing.TB, cfg proxy.Config, target string) (p *proxy.Proxy, stop func()) {
	t.Helper()
	p, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	const pool = "shop/production/web:80"
	p.Apply(&api.RouteTable{
		Version: 1,
		Routes:  []api.Route{{Path: "/", Pool: pool}},
		Pools: []api.Pool{{
			Name: pool, EnvRef: api.EnvRef{App: "shop", Env: "production"}, Service: "web",
			Hold:    api.Duration(5 * time.Second),
			Targets: []api.Target{{Task: "a", Release: 1, Address: target}},
		}},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return p, stop
}

// task is an HTTP/1 and h2c server and its address.
func task(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().String()
}

// rawTask is a server that has each of its connections handled by serve, and its address. The connection is closed when
// serve returns, or when the test ends.
func rawTask(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				serve(c)
			}()
		}
	}()
	t.Cleanup(func() { cancel(); ln.Close(); <-ended })
	return ln.Addr().String()
}

// dial connects to addr; what is read and written must succeed within the test's patience.
func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// write sends all of s, or fails the test.
func write(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatalf("write: %v", err)
	}
}
