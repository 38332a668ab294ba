package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"time"
)

// reverseProxy is what the standard library gives: this program again, as a process of its own.
func (b *bench) reverseProxy(http, https string) *peer {
	return &peer{name: "reverseproxy", http: http, https: https, start: func(context.Context) (instance, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		args := append([]string{"reverseproxy", http, https, b.cert.cert, b.cert.key}, b.origin.http...)
		return startProcess(b.dir, "reverseproxy", self, append(args, b.origin.echo...)...)
	}}
}

// serveReverseProxy takes the addresses to listen on, the certificate's files, two backends and two echo servers.
func serveReverseProxy(args []string) error {
	addr, tlsAddr, cert, key := args[0], args[1], args[2], args[3]
	handler := balance(args[4:6])
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.Handle("/echo", balance(args[6:8]))
	failed := make(chan error, 2)
	go func() {
		failed <- (&http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: time.Minute}).ListenAndServe()
	}()
	go func() {
		s := &http.Server{Addr: tlsAddr, Handler: mux, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
		failed <- s.ListenAndServeTLS(cert, key)
	}()
	return errors.Join(<-failed)
}

// balance sends requests to the backends in turns.
func balance(backends []string) http.Handler {
	var turn atomic.Uint64
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: backends[turn.Add(1)%uint64(len(backends))]})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Hour, DisableCompression: true},
	}
}
