package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	shutdownGrace = 5 * time.Second // for requests under way when the server stops
	maxSocketPath = 107             // bytes, of sun_path in unix(7) without its end
)

// Config says where to listen. Either address may be empty. Where TCP is not a loopback address it speaks TLS: with the
// certificate of CertFile and KeyFile, else with one of its own.
type Config struct {
	Unix     string // path of the socket for root, mode 0600
	TCP      string // host:port, where a token is needed
	CertFile string // PEM; with it TCP speaks TLS on a loopback address too
	KeyFile  string // PEM
	CertDir  string // keeps the server's own certificate
	Insecure bool   // TCP speaks plain HTTP wherever it listens
}

// Validate checks the addresses. Errors are of kind Invalid.
func (c Config) Validate() error {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return api.FieldError("tls", c.CertFile+c.KeyFile, "a certificate file and a key file, or neither")
	}
	if len(c.Unix) > maxSocketPath {
		return api.FieldError("unix", c.Unix, fmt.Sprintf("a path of at most %d bytes; choose a shorter data directory", maxSocketPath))
	}
	if c.TCP == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.TCP)
	if err != nil {
		return api.FieldError("listen", c.TCP, "host:port, such as 127.0.0.1:7600")
	}
	switch {
	case c.Insecure && c.CertFile != "":
		return api.FieldError("insecure-http", "true", "no certificate with it")
	case c.CertFile == "" && c.CertDir == "" && !c.Insecure && !loopback(host):
		return &api.Error{Kind: api.Invalid, Field: "listen", Value: c.TCP,
			Message:  "tokens and secrets would cross the network in the clear",
			Expected: "a loopback address such as 127.0.0.1:7600, or a certificate and its key (--tls-cert, --tls-key)"}
	}
	return nil
}

// certificates gives what to speak TLS with; nil is plain HTTP.
func (c Config) certificates() (*certificates, error) {
	host, _, _ := net.SplitHostPort(c.TCP)
	switch {
	case c.CertFile != "":
		return loadCertificates(c.CertFile, c.KeyFile)
	case c.Insecure || loopback(host):
		return nil, nil
	}
	return ownCertificates(c.CertDir, c.TCP)
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// Listeners are open and wait for Serve.
type Listeners struct {
	unix, tcp    net.Listener
	path         string
	certificates *certificates // of tcp; nil is plain HTTP
	fingerprint  string
}

// Fingerprint gives the fingerprint of the TCP address's certificate; "" where it speaks plain HTTP.
func (l *Listeners) Fingerprint() string { return l.fingerprint }

// Addr gives the TCP address, nil when there is none.
func (l *Listeners) Addr() net.Addr {
	if l.tcp == nil {
		return nil
	}
	return l.tcp.Addr()
}

// Close closes them and removes the socket.
func (l *Listeners) Close() error {
	var errs []error
	if l.unix != nil {
		errs = append(errs, l.unix.Close())
		if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if l.tcp != nil {
		errs = append(errs, l.tcp.Close())
	}
	return errors.Join(errs...)
}

// Listen opens what c names.
func Listen(ctx context.Context, c Config) (*Listeners, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	l := &Listeners{path: c.Unix}
	var err error
	if c.TCP != "" {
		if err = l.listenTCP(ctx, c); err != nil {
			return nil, err
		}
	}
	if c.Unix != "" {
		if l.unix, err = listenUnix(ctx, c.Unix); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

func (l *Listeners) listenTCP(ctx context.Context, c Config) error {
	pair, err := c.certificates()
	if err != nil {
		return err
	}
	if l.tcp, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.TCP); err != nil {
		return api.Errorf(api.Unavailable, "listen on %s: %w", c.TCP, err)
	}
	if l.certificates = pair; pair != nil {
		l.fingerprint = Fingerprint(pair.pair.Certificate[0])
		l.tcp = tls.NewListener(l.tcp, &tls.Config{GetCertificate: pair.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	return nil
}

// listenUnix makes the socket in a directory that only its owner enters and moves it to its place once its mode is
// right: nobody else can connect in between. A socket that a killed process left is replaced.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close()
		return nil, api.Errorf(api.Conflict, "listen on %s: another ikada answers there", path)
	}
	private, err := os.MkdirTemp(filepath.Dir(path), ".s") // mode 0700; the name is short, as the path must be
	if err != nil {
		return nil, api.Errorf(api.Unavailable, "listen on %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(private) }()
	first := filepath.Join(private, "s")
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", first)
	if err != nil {
		return nil, api.Errorf(api.Unavailable, "listen on %s: %w", path, err)
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // it would remove the first name, not the last
	}
	if err = os.Chmod(first, 0o600); err == nil {
		err = os.Rename(first, path)
	}
	if err != nil {
		return nil, errors.Join(api.Errorf(api.Unavailable, "listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

// Serve answers requests until ctx ends; then it ends streams, lets other requests finish for a few seconds, and
// returns once all handlers have. It closes l.
func (s *Server) Serve(ctx context.Context, l *Listeners) error {
	type served struct {
		listener net.Listener
		server   *http.Server
	}
	var all []served
	add := func(listener net.Listener, local bool) {
		if listener != nil {
			all = append(all, served{listener, &http.Server{
				Handler: s.Handler(local), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
				MaxHeaderBytes: maxHeader, ConnContext: withPeer, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
			}})
		}
	}
	add(l.unix, true)
	add(l.tcp, false)
	failed := make(chan error, len(all))
	for _, v := range all {
		go func() { failed <- v.server.Serve(v.listener) }()
	}
	var err error
	left := len(all)
	select {
	case <-ctx.Done():
	case err = <-failed:
		left--
		err = fmt.Errorf("serve API: %w", err)
	}
	s.EndStreams()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	for _, v := range all {
		if v.server.Shutdown(grace) != nil {
			_ = v.server.Close() // ends the requests' contexts
		}
	}
	for range left {
		<-failed //nolint:errcheck // they were told to end
	}
	_ = l.Close() // the listeners are closed already: this removes the socket
	s.active.Wait()
	return err
}

// EndStreams ends every stream and exec; clients that follow come back.
func (s *Server) EndStreams() { s.close.Do(func() { close(s.closing) }) }
