package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// certsEvery is how soon a changed certificate is noticed.
const certsEvery = 2 * time.Second

// certificates is the certificates of a directory, chosen by the name that a client asks for.
type certificates struct {
	dir string
	set atomic.Pointer[certificateSet]
}

type certificateSet struct {
	stamp   string                      // of the files that it was made from
	files   map[string]*tls.Certificate // by the certificate's file
	names   map[string]*tls.Certificate // by exact name, and by wildcards with the "*"
	first   *tls.Certificate            // for clients that name nothing that is known
	problem error
}

// load reads the directory if a file of it has changed, and tells whether one had. Files that cannot be used are named
// in the error; the others serve. If none can be used any more, what was there before serves on.
func (c *certificates) load() (changed bool, err error) {
	stamp, err := stampOf(c.dir)
	old := c.set.Load()
	if err == nil && old != nil && old.stamp == stamp {
		return false, nil
	}
	next := &certificateSet{stamp: stamp, files: map[string]*tls.Certificate{}, names: map[string]*tls.Certificate{}, problem: err}
	if err == nil {
		next.problem = next.read(c.dir, old)
	}
	if next.first == nil && old != nil {
		next.files, next.names, next.first = old.files, old.names, old.first
	}
	if next.first == nil && next.problem == nil {
		next.problem = fmt.Errorf("no certificate in %s: NAME.crt with NAME.key, or NAME.pem with both", c.dir)
	}
	c.set.Store(next)
	return true, next.problem
}

// stampOf changes when a file of the directory does.
func stampOf(dir string) (string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read certificates: %w", err)
	}
	var b strings.Builder
	for _, e := range list {
		info, err := os.Stat(filepath.Join(dir, e.Name())) // certificates are often links that change
		if err != nil {
			continue
		}
		inode := uint64(0) // of another file in its place, which may be as old
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = st.Ino
		}
		fmt.Fprintf(&b, "%s %d %d %d\n", e.Name(), inode, info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}

// read loads each pair. One that cannot be loaded, as in the middle of its renewal, stays what it was in old.
func (s *certificateSet) read(dir string, old *certificateSet) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read certificates: %w", err)
	}
	var problems []error
	for _, e := range list {
		cert := filepath.Join(dir, e.Name())
		var key string
		switch filepath.Ext(cert) {
		case ".crt":
			key = strings.TrimSuffix(cert, ".crt") + ".key"
		case ".pem":
			key = cert
		default:
			continue
		}
		pair, err := loadPair(cert, key)
		if err != nil {
			problems = append(problems, err)
			if old != nil {
				pair = old.files[cert]
			}
		}
		if pair != nil {
			s.files[cert] = pair
			s.add(pair)
		}
	}
	return errors.Join(problems...)
}

func loadPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("certificate %s has no %s", certFile, filepath.Base(keyFile))
	}
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", certFile, err)
	}
	return &cert, nil
}

func (s *certificateSet) add(cert *tls.Certificate) {
	leaf := cert.Leaf
	names := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = []string{leaf.Subject.CommonName}
	}
	for _, name := range names {
		name = strings.ToLower(name)
		// Of two for one name the one that is good for longer, which is the renewed one.
		if old := s.names[name]; old == nil || old.Leaf.NotAfter.Before(leaf.NotAfter) {
			s.names[name] = cert
		}
	}
	if s.first == nil {
		s.first = cert
	}
}

// pick is tls.Config's GetCertificate: exact names before wildcards, which stand for one label (RFC 6125).
func (c *certificates) pick(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := c.set.Load()
	if s == nil || s.first == nil {
		return nil, errors.New("there is no certificate")
	}
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if cert := s.names[name]; cert != nil {
		return cert, nil
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if cert := s.names["*."+parent]; cert != nil {
			return cert, nil
		}
	}
	return s.first, nil
}

// names gives what there are certificates for.
func (c *certificates) list() []string {
	if s := c.set.Load(); s != nil {
		return slices.Sorted(maps.Keys(s.names))
	}
	return nil
}

func (p *Proxy) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: p.certs.pick,
	}
}

// serveTLS makes the handshake and serves what the client has chosen.
func (d *door) serveTLS(c *net.TCPConn, head []byte, from client) {
	var under net.Conn = c
	if len(head) > 0 {
		under = &heard{TCPConn: c, head: head}
	}
	t := tls.Server(under, d.proxy.tls)
	ctx, cancel := context.WithTimeout(d.proxy.life, d.proxy.cfg.HeadTimeout)
	err := t.HandshakeContext(ctx)
	cancel()
	switch {
	case err != nil:
		_ = c.Close()
	case t.ConnectionState().NegotiatedProtocol == "h2":
		d.serveHTTP2(t, from)
	default:
		d.serveHTTP(c, t, nil, from)
	}
}

// watchCertificates takes up changed certificates until done is closed.
func (p *Proxy) watchCertificates(done <-chan struct{}) {
	tick := time.NewTicker(certsEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		switch changed, err := p.certs.load(); {
		case changed && err != nil:
			p.log.Warn("certificates cannot all be used", "error", err)
		case changed:
			p.log.Info("certificates loaded", "names", p.certs.list())
		}
	}
}
