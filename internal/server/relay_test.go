package server_test

import (
	"io"
	"net"
	"net/http/httptest"
	"sync"
	"testing"

	"log/slog"

	"github.com/ikada/ikada/internal/server"
)

// relay passes connections on to a server that can be exchanged.
type relay struct {
	listener net.Listener
	mu       sync.Mutex
	target   string
	open     []net.Conn
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, target: target}
	go r.serve()
	t.Cleanup(func() {
		_ = l.Close()
		r.Switch("")
	})
	return r
}

// Addr gives the address that stays.
func (r *relay) Addr() string { return r.listener.Addr().String() }

// Switch cuts every connection and sends later ones elsewhere.
func (r *relay) Switch(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
	for _, c := range r.open {
		_ = c.Close()
	}
	r.open = nil
}

func (r *relay) serve() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		out, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = in.Close()
		} else {
			r.open = append(r.open, in, out)
			go pass(in, out)
			go pass(out, in)
		}
		r.mu.Unlock()
	}
}

func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}

// sibling is another server on the same store.
func (b *bench) sibling() *httptest.Server {
	b.t.Helper()
	s, err := server.New(server.Deps{Store: b.store, Key: b.key, Log: slog.New(slog.DiscardHandler), Images: b.images, Tasks: b.tasks})
	if err != nil {
		b.t.Fatal(err)
	}
	ts := httptest.NewServer(s.Handler(true))
	b.t.Cleanup(func() {
		s.EndStreams()
		ts.Close()
	})
	return ts
}
