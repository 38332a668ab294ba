package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// proxyAddress is where the tests' trusted proxy asks from.
const proxyAddress = "127.0.0.2"

// routed is a node whose balancer has a port for TLS, a proxy to trust and an access log, and the services behind it.
type routed struct {
	*App
	https  string
	access string
	roots  *x509.CertPool
}

// ask sends one request to the shared ports and gives the answer with its body. The scheme is of url, whose host is the
// one asked for; change may add to the request. From is the address that it comes from, "" for any.
func (r *routed) ask(method, url, from string, change func(*http.Request)) (*http.Response, string) {
	r.t.Helper()
	dialer := net.Dialer{}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	to := func(addr string) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, asked string) (net.Conn, error) {
			if strings.HasSuffix(asked, ":443") {
				addr = r.https
			}
			return dialer.DialContext(ctx, network, addr)
		}
	}
	transport := &http.Transport{DialContext: to(r.HTTP), TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableKeepAlives: true,
		DisableCompression: true, ForceAttemptHTTP2: true}
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: read answer: %v", method, url, err)
	}
	return resp, string(b)
}

// want fails the test unless the answer has the status, and the text in its body.
func (r *routed) want(status int, text, method, url string, change func(*http.Request)) *http.Response {
	r.t.Helper()
	resp, body := r.ask(method, url, "", change)
	if resp.StatusCode != status || !strings.Contains(body, text) {
		r.t.Errorf("%s %s: %d %q, expected %d %q", method, url, resp.StatusCode, body, status, text)
	}
	return resp
}

// writeCertificate makes a certificate for all names below example.com and gives what trusts it.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(filepath.Join(dir, "example.pem"), both, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(both)
	return roots
}

// TestRouting holds docs/routing.md: what its keys do, and with which status.
func TestRouting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := &routed{https: fmt.Sprintf("127.0.0.1:%d", nextPort()), access: filepath.Join(dir, "access.log"), roots: writeCertificate(t, dir)}
	n := NewNode(t, "--https", r.https, "--certs", dir, "--trust-proxy", proxyAddress, "--access-log", r.access).WithImages(t)
	r.App = n.App(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("hunter2"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	r.Compose(strings.ReplaceAll(routingApp, "{hash}", strings.ReplaceAll(string(hash), "$", "$$")))
	r.Deploy()
	r.which()
	r.paths()
	r.redirects()
	r.refusals()
	r.answers()
	r.Run("status").Want(t, exitDone, "redirect.example.com/ (redirect to https)", "auth.example.com/ (auth)", "(2/h)")
	r.accessLog()
	r.proxyProtocol()
}

const routingApp = `
services:
  web:
    image: {registry}/app:v1
    deploy: {replicas: 2}
    x-ikada:
      strategy: {monitor: 300ms}
      route:
        - split.example.com
        - {host: strip.example.com, path: /api, strip: true}
        - {host: rewrite.example.com, path: /old, rewrite: /env}
        - {host: redirect.example.com, redirect: https}
        - {host: moved.example.com, redirect: {host: new.example.com, path: /now, status: 301}}
        - {host: auth.example.com, basic_auth: {ann: "{hash}"}}
        - {host: limit.example.com, rate_limit: {requests: 2, per: 1h}}
        - {host: body.example.com, max_body: 1k}
        - {host: slow.example.com, timeout: 300ms}
        - {host: shut.example.com, maintenance: {body: "back at noon", retry_after: 1m}}
        - {host: compress.example.com, compress: true}
        - {host: sticky.example.com, sticky: true}
  api:
    image: {registry}/app:v2
    x-ikada:
      strategy: {monitor: 300ms}
      route:
        - {host: split.example.com, methods: POST}
        - {host: split.example.com, headers: {X-Beta: "1"}}
`

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func (r *routed) which() {
	r.t.Helper()
	r.want(200, "v1", "GET", "http://split.example.com/", nil)
	r.want(200, "v2", "POST", "http://split.example.com/", nil)
	r.want(200, "v2", "GET", "http://split.example.com/", header("X-Beta", "1"))
	r.want(200, "v1", "GET", "http://split.example.com/", header("X-Beta", "2"))
	r.want(404, "nowhere.example.com", "GET", "http://nowhere.example.com/", nil)
}

func (r *routed) paths() {
	r.t.Helper()
	r.want(200, "v1", "GET", "http://strip.example.com/api/env?name=VERSION", nil)
	r.want(200, "v1", "GET", "http://rewrite.example.com/old?name=VERSION", nil)
	r.want(404, "", "GET", "http://strip.example.com/apis", nil)
	r.want(404, "", "GET", "http://strip.example.com/api/../env", nil)
	for _, path := range []string{"/a%2F..%2Fb", "/a/..;/b", "/%00"} {
		r.want(400, "", "GET", "http://split.example.com/", func(req *http.Request) { req.URL.Opaque = path })
	}
}

func (r *routed) redirects() {
	r.t.Helper()
	const url = "http://redirect.example.com/proto?a=b"
	if to := r.want(308, "", "GET", url, nil).Header.Get("Location"); to != "https://redirect.example.com/proto?a=b" {
		r.t.Errorf("redirected to %q", to)
	}
	r.want(200, "HTTP/1.1", "GET", "https://redirect.example.com/proto?a=b", nil)
	if to := r.want(301, "", "GET", "http://moved.example.com/then", nil).Header.Get("Location"); to != "http://new.example.com/now" {
		r.t.Errorf("moved to %q", to)
	}
	// What a proxy got over TLS is no plain request, if the proxy is trusted.
	secure := header("X-Forwarded-Proto", "https")
	r.want(308, "", "GET", url, secure)
	if resp, body := r.ask("GET", url, proxyAddress, secure); resp.StatusCode != 200 {
		r.t.Errorf("behind a proxy: %d %q", resp.StatusCode, body)
	}
}

func (r *routed) refusals() {
	r.t.Helper()
	r.want(401, "", "GET", "http://auth.example.com/", nil)
	r.want(401, "", "GET", "http://auth.example.com/", func(q *http.Request) { q.SetBasicAuth("ann", "hunter3") })
	r.want(200, "v1", "GET", "http://auth.example.com/", func(q *http.Request) { q.SetBasicAuth("ann", "hunter2") })
	for range 2 {
		r.want(200, "v1", "GET", "http://limit.example.com/", nil)
	}
	if after := r.want(429, "", "GET", "http://limit.example.com/", nil).Header.Get("Retry-After"); after == "" {
		r.t.Error("429 without Retry-After")
	}
	for client, want := range map[string]int{"198.51.100.1": 200, "127.0.0.1": 429} { // whom the trusted proxy names
		if resp, _ := r.ask("GET", "http://limit.example.com/", proxyAddress, header("X-Forwarded-For", client)); resp.StatusCode != want {
			r.t.Errorf("rate limit of %s: %d, expected %d", client, resp.StatusCode, want)
		}
	}
	body := func(n int, known bool) func(*http.Request) {
		return func(q *http.Request) {
			q.Body = io.NopCloser(bytes.NewReader(make([]byte, n)))
			if q.ContentLength = -1; known {
				q.ContentLength = int64(n)
			}
		}
	}
	for _, known := range []bool{true, false} {
		r.want(200, "", "POST", "http://body.example.com/write?path=/tmp/small", body(1024, known))
		r.want(413, "", "POST", "http://body.example.com/write?path=/tmp/large", body(1025, known))
	}
	r.want(504, "", "GET", "http://slow.example.com/slow?d=5s", nil)
	if after := r.want(503, "back at noon", "GET", "http://shut.example.com/", nil).Header.Get("Retry-After"); after != "60" {
		r.t.Errorf("maintenance with Retry-After %q", after)
	}
}

func (r *routed) answers() {
	r.t.Helper()
	const url = "http://compress.example.com/stream?n=300"
	if coding := r.want(200, "v1 299", "GET", url, nil).Header.Get("Content-Encoding"); coding != "" {
		r.t.Errorf("compressed as %q for a client that does not accept it", coding)
	}
	if coding := r.want(200, "", "GET", url, header("Accept-Encoding", "gzip")).Header.Get("Content-Encoding"); coding != "gzip" {
		r.t.Errorf("compressed as %q", coding)
	}
	resp, first := r.ask("GET", "http://sticky.example.com/host", "", nil)
	cookies := resp.Cookies()
	if len(cookies) != 1 || cookies[0].Name != "ikada_task" || !cookies[0].HttpOnly {
		r.t.Fatalf("cookies %v", cookies)
	}
	for range 10 {
		r.want(200, first, "GET", "http://sticky.example.com/host", func(q *http.Request) { q.AddCookie(cookies[0]) })
	}
}

// accessLog looks for one line of a failed request and one of another.
func (r *routed) accessLog() {
	r.t.Helper()
	Until(r.t, 10*time.Second, func() string {
		b, err := os.ReadFile(r.access)
		if err != nil {
			return err.Error()
		}
		missing := map[string]int{"slow.example.com": 504, "sticky.example.com": 200}
		for line := range strings.Lines(string(b)) {
			var entry struct {
				Host   string
				Status int
				Path   string
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				return fmt.Sprintf("%v in %q", err, line)
			}
			if missing[entry.Host] == entry.Status {
				delete(missing, entry.Host)
			}
			if strings.Contains(entry.Path, "?") {
				return "a query stands in the access log: " + line
			}
		}
		if len(missing) > 0 {
			return fmt.Sprintf("no line of %v", missing)
		}
		return ""
	})
}

// proxyProtocol restarts the node, so that its balancer is replaced, and asks as a proxy that names its client.
func (r *routed) proxyProtocol() {
	r.t.Helper()
	r.Stop(r.t)
	r.args = append(r.args, "--proxy-protocol")
	r.Start(r.t)
	Until(r.t, 20*time.Second, func() string {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(proxyAddress)}, Timeout: time.Second}
		c, err := dialer.DialContext(r.t.Context(), "tcp", r.HTTP)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(c, "PROXY TCP4 203.0.113.9 203.0.113.1 4711 80\r\nGET /headers HTTP/1.1\r\nHost: split.example.com\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil || !strings.Contains(string(b), "X-Forwarded-For:[203.0.113.9]") {
			return fmt.Sprintf("%d %s %v", resp.StatusCode, b, err)
		}
		return ""
	})
	r.want(200, "v1", "GET", "http://split.example.com/", nil) // others begin without it
}
