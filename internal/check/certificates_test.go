package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair writes a certificate that is valid from an hour before now for two hours, and its key.
func writePair(t *testing.T, now time.Time, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: secret}} {
		f, err := os.OpenFile([]string{certificate, key}[i], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := pem.Encode(f, block); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificates(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	look := func(at time.Time, want string) {
		t.Helper()
		f := certificates(dir, at)
		if got := f.Name + ": " + f.Problem; !strings.Contains(got, want) || f.Fatal || f.OK != (f.Problem == "") {
			t.Errorf("%+v, want %q", f, want)
		}
	}
	if f := certificates(filepath.Join(dir, "nowhere"), now); !f.Fatal {
		t.Errorf("no directory: %+v", f)
	}
	look(now, "there are none")
	writePair(t, now, filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"))
	both := filepath.Join(dir, "b.pem")
	writePair(t, now, both, both)
	if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look(now, "certificates: 2 in "+dir)
	look(now.Add(2*time.Hour), "was valid until")
	look(now.Add(-2*time.Hour), "is valid from")
	if err := os.Remove(filepath.Join(dir, "a.key")); err != nil {
		t.Fatal(err)
	}
	look(now, "a.key: no such file")
}
