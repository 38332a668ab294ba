package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certify writes a certificate of its own making for some names, as NAME.crt and NAME.key or in one NAME.pem.
func certify(t *testing.T, dir, name string, together bool, hosts ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: hosts, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	files := map[string][]byte{name + ".crt": cert, name + ".key": secret}
	if together {
		files = map[string][]byte{name + ".pem": append(cert, secret...)}
	}
	for file, b := range files {
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certify(t, dir, "exact", false, "shop.example")
	certify(t, dir, "wild", true, "*.example")
	r := run(t, Config{HTTPS: "127.0.0.1:0", Certs: dir})
	r.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		w.Header().Set("X-Seen", in.Header.Get("X-Forwarded-Proto")+" "+in.Proto)
	})))
	ask := func(name string, protocols ...string) (cn, proto, seen string) {
		t.Helper()
		tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protocols}, ForceAttemptHTTP2: protocols[0] == "h2"}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Get("https://" + r.HTTPSAddr().String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.TLS.PeerCertificates[0].Subject.CommonName, res.Proto, res.Header.Get("X-Seen")
	}
	for name, cert := range map[string]string{"shop.example": "exact", "SHOP.example": "exact", "other.example": "wild"} {
		if cn, proto, seen := ask(name, "http/1.1"); cn != cert || proto != "HTTP/1.1" || seen != "https HTTP/1.1" {
			t.Errorf("%s: certificate %s, %s, target saw %s", name, cn, proto, seen)
		}
	}
	if cn, proto, seen := ask("shop.example", "h2", "http/1.1"); cn != "exact" || proto != "HTTP/2.0" || seen != "https HTTP/1.1" {
		t.Errorf("HTTP/2: certificate %s, %s, target saw %s", cn, proto, seen)
	}
}

func TestCertificatesAreRenewed(t *testing.T) {
	dir := t.TempDir()
	certify(t, dir, "one", false, "a.example")
	c := &certificates{dir: dir}
	serial := func(name string) *big.Int {
		t.Helper()
		cert, err := c.pick(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber
	}
	if changed, err := c.load(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if changed, err := c.load(); changed || err != nil {
		t.Fatal(changed, err)
	}
	old := serial("a.example")
	certify(t, dir, "one", false, "a.example")
	certify(t, dir, "two", true, "b.example")
	if changed, err := c.load(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	renewed := serial("a.example")
	if renewed.Cmp(old) == 0 || serial("b.example").Cmp(renewed) == 0 {
		t.Error("the files of before serve on")
	}
	if err := os.WriteFile(filepath.Join(dir, "one.crt"), []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := c.load(); !changed || err == nil {
		t.Errorf("a broken file: %v, %v", changed, err)
	}
	if serial("a.example").Cmp(renewed) != 0 {
		t.Error("what a file was before it broke does not serve on")
	}
}
