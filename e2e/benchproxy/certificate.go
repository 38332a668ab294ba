package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// certHost is the name in the certificate. Clients must ask for it: an address is no name to choose a certificate by.
const certHost = "localhost"

// certificate is a self-made one with an ECDSA key on P-256, as files, which all balancers share.
type certificate struct {
	dir       string // of the first two files and nothing else, as ikada wants it
	cert, key string // paths of PEM files
	both      string // one file with both, as HAProxy wants it
}

func makeCertificate(dir string) (certificate, error) {
	c := certificate{dir: filepath.Join(dir, "certs"), both: filepath.Join(dir, "both.pem")}
	c.cert, c.key = filepath.Join(c.dir, certHost+".crt"), filepath.Join(c.dir, certHost+".key")
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return c, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, fmt.Errorf("make key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: certHost}, DNSNames: []string{certHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return c, fmt.Errorf("make certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return c, fmt.Errorf("encode key: %w", err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for path, content := range map[string][]byte{c.cert: certPEM, c.key: keyPEM, c.both: bytes.Join([][]byte{certPEM, keyPEM}, nil)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return c, err
		}
	}
	return c, nil
}
