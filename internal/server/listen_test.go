package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/server"
)

// serve runs the bench's server and gives how to stop it.
func (b *bench) serve(c server.Config) (l *server.Listeners, stop func() error) {
	b.t.Helper()
	l, err := server.Listen(b.ctx(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.server.Serve(ctx, l) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	b.t.Cleanup(func() { _ = stop() })
	return l, stop
}

func TestServeOnSocketAndTCP(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "ikada.sock")
	l, stop := b.serve(server.Config{Unix: path, TCP: "127.0.0.1:0"})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("socket %v, %v", info, err)
	}
	local, err := client.New("unix://"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	token, err := local.CreateToken(b.ctx(), api.TokenRequest{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	anonymous, err := client.New("http://"+l.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = anonymous.Version(b.ctx())
	wantKind(t, err, api.Unauthorized, "a token is needed")
	remote, err := client.New("http://"+l.Addr().String(), token.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Version(b.ctx()); err != nil {
		t.Error(err)
	}
	// Upgrades work over the socket too.
	conn, err := local.DialSession(b.ctx(), "h2c", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := server.Listen(b.ctx(), server.Config{Unix: path}); !api.IsKind(err, api.Conflict) {
		t.Errorf("a second server on the socket: %v", err)
	}
	for _, c := range []*client.Client{local, anonymous, remote} {
		c.Close()
	}
	if err := stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	_, err = local.Health(b.ctx())
	wantKind(t, err, api.Unavailable)
}

func TestSocketOfAKilledServerIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ikada.sock")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = dead.Close()
	b := newBench(t)
	b.serve(server.Config{Unix: path})
	c, err := client.New("unix://"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Health(b.ctx()); err != nil {
		t.Error(err)
	}
}

func TestServeEndsStreamsAndLetsRequestsFinish(t *testing.T) {
	b := newBench(t)
	withTasks(b)
	path := filepath.Join(t.TempDir(), "ikada.sock")
	_, stop := b.serve(server.Config{Unix: path})
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	defer hc.CloseIdleConnections()
	req, err := http.NewRequestWithContext(b.ctx(), http.MethodGet, "http://x/api/v1/events?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	c, err := client.New("unix://"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	execDone := b.asleep(b.ctx(), c)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || strings.Contains(string(text), "event: end") {
		t.Errorf("a stream that was cut off says %q, %v", text, err)
	}
	<-b.tasks.killed
	if err := <-execDone; err == nil {
		t.Error("exec on a stopped server succeeded")
	}
}

func TestListenRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		config server.Config
		parts  []string
	}{
		{"every address in the clear", server.Config{TCP: "0.0.0.0:7600"}, []string{"listen", "0.0.0.0:7600", "in the clear", "--tls-cert"}},
		{"no address in the clear", server.Config{TCP: ":7600"}, []string{":7600"}},
		{"outer address in the clear", server.Config{TCP: "192.0.2.1:7600"}, []string{"192.0.2.1"}},
		{"name in the clear", server.Config{TCP: "example.com:7600"}, []string{"example.com"}},
		{"no port", server.Config{TCP: "127.0.0.1"}, []string{"host:port"}},
		{"certificate without key", server.Config{TCP: "127.0.0.1:0", CertFile: "a"}, []string{"key file"}},
		{"certificate that is not there", server.Config{TCP: "0.0.0.0:0", CertFile: "/nonexistent/a", KeyFile: "/nonexistent/b"}, []string{"load TLS certificate"}},
		{"socket path too long", server.Config{Unix: "/" + strings.Repeat("x", 120)}, []string{"107 bytes"}},
	} {
		_, err := server.Listen(context.Background(), c.config)
		t.Run(c.name, func(t *testing.T) { wantKind(t, err, api.Invalid, c.parts...) })
	}
}

func TestServeTLS(t *testing.T) {
	b := newBench(t)
	cert, key, pool := selfSigned(t)
	l, _ := b.serve(server.Config{TCP: "127.0.0.1:0", CertFile: cert, KeyFile: key})
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer hc.CloseIdleConnections()
	req, err := http.NewRequestWithContext(b.ctx(), http.MethodGet, "https://"+l.Addr().String()+"/api/v1/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	c, err := client.New("https://"+l.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Health(b.ctx())
	wantKind(t, err, api.Unavailable, "certificate")
}

// TestServesItsOwnCertificate holds that off the loopback interface nothing goes in the clear: without files the server
// makes a certificate, keeps it, and clients know it by its fingerprint or as a file.
func TestServesItsOwnCertificate(t *testing.T) {
	b := newBench(t)
	dir := filepath.Join(t.TempDir(), "tls")
	config := server.Config{TCP: "0.0.0.0:0", CertDir: dir}
	l, stop := b.serve(config)
	pin := l.Fingerprint()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil || !strings.HasPrefix(pin, "sha256:") {
		t.Fatalf("%q, %v", pin, err)
	}
	info, err := os.Stat(filepath.Join(dir, "api.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	ca := filepath.Join(dir, "api.crt")
	if text, err := os.ReadFile(ca); err != nil || strings.Contains(string(text), "PRIVATE") {
		t.Errorf("%s, %v", text, err)
	}
	secret := b.token("anyone")
	host := "https://127.0.0.1:" + port
	capitals := strings.ToUpper(strings.TrimPrefix(pin, "sha256:"))
	for name, o := range map[string]client.Options{
		"fingerprint": {Token: secret, Fingerprint: pin}, "in capitals": {Token: secret, Fingerprint: capitals}, "authority": {Token: secret, CAFile: ca},
	} {
		c, err := client.Open(host, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Version(b.ctx()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	c, err := client.Open(host, client.Options{Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(b.ctx()); !api.IsKind(err, api.Unavailable) || client.Untrusted(err) != pin {
		t.Errorf("an unknown certificate: %v, untrusted %q, want %q", err, client.Untrusted(err), pin)
	}
	other, err := client.Open(host, client.Options{Token: secret, Fingerprint: "sha256:" + strings.Repeat("0", 64)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Version(b.ctx())
	wantKind(t, err, api.Unavailable, "another certificate", pin)
	if _, err := other.Exec(b.ctx(), api.ExecRequest{Task: "x", Command: []string{"true"}}, client.ExecStreams{}); err == nil || !strings.Contains(err.Error(), "another certificate") {
		t.Errorf("exec: %v", err) // by another way to the server
	}
	plain, err := client.New("http://127.0.0.1:"+port, secret)
	if err != nil {
		t.Fatal(err)
	}
	_, err = plain.Version(b.ctx())
	wantKind(t, err, api.Invalid, "https://")
	if strings.Contains(b.log.String(), secret) {
		t.Error("the token stands in the log")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	again, _ := b.serve(config)
	if again.Fingerprint() != pin {
		t.Errorf("after a restart %s, before %s", again.Fingerprint(), pin)
	}
	if err := os.WriteFile(filepath.Join(dir, "api.pem"), []byte("damage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Listen(b.ctx(), config); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("damaged: %v", err)
	}
	for _, o := range []client.Options{{Fingerprint: "sha256:12"}, {CAFile: "/nonexistent"}, {CAFile: filepath.Join(dir, "api.pem")}} {
		if _, err := client.Open(host, o); !api.IsKind(err, api.Invalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	insecure, _ := b.serve(server.Config{TCP: "0.0.0.0:0", CertDir: dir, Insecure: true})
	if insecure.Fingerprint() != "" {
		t.Error("plain HTTP was asked for")
	}
	_, err = server.Listen(b.ctx(), server.Config{TCP: "0.0.0.0:0", CertFile: "a", KeyFile: "b", Insecure: true})
	wantKind(t, err, api.Invalid, "insecure-http")
}

// A certificate that is renewed on the disk is taken up without a restart.
func TestCertificateIsReadAgain(t *testing.T) {
	b := newBench(t)
	cert, key, _ := selfSigned(t)
	l, _ := b.serve(server.Config{TCP: "127.0.0.1:0", CertFile: cert, KeyFile: key})
	shown := func() string {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return server.Fingerprint(conn.ConnectionState().PeerCertificates[0].Raw)
	}
	if got := shown(); got != l.Fingerprint() {
		t.Fatalf("%s, expected %s", got, l.Fingerprint())
	}
	fresh, freshKey, _ := selfSigned(t)
	for from, to := range map[string]string{fresh: cert, freshKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	server.Aged(l)
	if got := shown(); got == l.Fingerprint() {
		t.Error("the old certificate is shown")
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	server.Aged(l)
	if got := shown(); got == l.Fingerprint() {
		t.Error("while it is being replaced the last one does not count")
	}
}

func selfSigned(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, data := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}
