package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// reverseProxy is what the standard library gives: this program again, as a process of its own. Pooled is with the
// buffers that it does not have by itself, which the goal does not ask for and a reader may want to see.
func (b *bench) reverseProxy(name, http, https string) *peer {
	return &peer{name: name, http: http, https: https, start: func(context.Context) (instance, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		args := []string{"reverseproxy", name, http, https, b.cert.cert, b.cert.key}
		return startProcess(b.dir, name, self, slices.Concat(args, b.origin.http, b.origin.echo)...)
	}}
}

const (
	plainProxy  = "reverseproxy"
	pooledProxy = "pooled"
)

// serveReverseProxy takes the peer's name, the addresses to listen on, the certificate's files, two backends and two
// echo servers.
func serveReverseProxy(args []string) error {
	if len(args) != 9 {
		return errors.New("reverseproxy takes nine arguments")
	}
	addr, tlsAddr, cert, key := args[1], args[2], args[3], args[4]
	var pool httputil.BufferPool
	if args[0] == pooledProxy {
		pool = &buffers{}
	}
	mux := http.NewServeMux()
	mux.Handle("/", balance(args[5:7], pool))
	mux.Handle("/echo", balance(args[7:9], pool))
	failed := make(chan error, 2)
	go func() {
		failed <- (&http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: time.Minute}).ListenAndServe()
	}()
	go func() {
		s := &http.Server{Addr: tlsAddr, Handler: mux, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
		failed <- s.ListenAndServeTLS(cert, key)
	}()
	return <-failed
}

// balance sends requests to the backends in turns.
func balance(backends []string, pool httputil.BufferPool) http.Handler {
	var turn atomic.Uint64
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: backends[turn.Add(1)%uint64(len(backends))]})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		BufferPool: pool,
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Hour, DisableCompression: true},
	}
}

// buffers keeps the proxy from making 32 KiB for each reply.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }
