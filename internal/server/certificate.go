package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	ownPair        = "api.pem" // certificate and key in one file, so that both are there or neither
	ownCertificate = "api.crt" // the certificate alone, for clients
	ownLasts       = 10 * 365 * 24 * time.Hour
	ownRenew       = 30 * 24 * time.Hour // before its end a new one is made at the next start
	certificateAge = 10 * time.Second    // between two looks at a certificate's files
)

// Fingerprint gives what a client pins of a certificate: "sha256:" and the hash of it in hex.
func Fingerprint(certificate []byte) string {
	sum := sha256.Sum256(certificate)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// certificates gives the server's certificate from two files, and reads them again when they have changed: whoever
// renews them need not restart the node.
type certificates struct {
	certFile, keyFile string

	mu     sync.Mutex
	pair   *tls.Certificate
	looked time.Time
	stamps [2]fileStamp
}

// fileStamp changes when a file does. Its time alone would not: what is written within one tick of the kernel's clock has
// the same, and a file that takes another's place may be older.
type fileStamp struct {
	inode    uint64
	size     int64
	modified time.Time
}

func stampOf(path string) (fileStamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}, err
	}
	s := fileStamp{size: info.Size(), modified: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = st.Ino
	}
	return s, nil
}

func loadCertificates(certFile, keyFile string) (*certificates, error) {
	c := &certificates{certFile: certFile, keyFile: keyFile}
	if err := c.load(time.Now()); err != nil {
		return nil, api.Errorf(api.Invalid, "load TLS certificate: %w", err)
	}
	return c, nil
}

// load reads the files unless they are as they were.
func (c *certificates) load(now time.Time) error {
	c.looked = now
	var stamps [2]fileStamp
	for i, file := range []string{c.certFile, c.keyFile} {
		stamp, err := stampOf(file)
		if err != nil {
			return err
		}
		stamps[i] = stamp
	}
	if c.pair != nil && stamps == c.stamps {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.pair, c.stamps = &pair, stamps
	return nil
}

// get gives the certificate for a handshake. While its files are being replaced the last one counts.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) > certificateAge {
		_ = c.load(now)
	}
	return c.pair, nil
}

// ownCertificates gives the certificate that a directory keeps, signed by itself; one is made when there is none, or its
// end is near. Who has its fingerprint, or the certificate itself, knows that it is this server.
func ownCertificates(dir, address string) (*certificates, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make TLS certificate: %w", err)
	}
	path := filepath.Join(dir, ownPair)
	c := &certificates{certFile: path, keyFile: path}
	err := c.load(time.Now())
	if err == nil && time.Until(c.pair.Leaf.NotAfter) > ownRenew {
		return c, writeWhole(filepath.Join(dir, ownCertificate), certificatePEM(c.pair.Certificate[0]), 0o644)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, api.Errorf(api.Internal, "load TLS certificate: %s: %w; remove it, and a new one is made", path, err)
	}
	cert, key, err := makeCertificate(address, time.Now())
	if err == nil {
		err = writeWhole(path, append(certificatePEM(cert), key...), 0o600)
	}
	if err == nil {
		err = writeWhole(filepath.Join(dir, ownCertificate), certificatePEM(cert), 0o644)
	}
	if err == nil {
		err = c.load(time.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("make TLS certificate: %w", err)
	}
	return c, nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// makeCertificate makes a certificate for the addresses and names of this machine.
func makeCertificate(address string, now time.Time) (cert, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	names, addresses := ownNames(address)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "ikada " + names[0]},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ownLasts), DNSNames: names, IPAddresses: addresses,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, // programs that take an authority's file take it as that
	}
	if cert, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key); err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// ownNames gives the names and addresses by which others may call this machine, and the one to listen on.
func ownNames(address string) (names []string, addresses []net.IP) {
	if host, err := os.Hostname(); err == nil && host != "" {
		names = append(names, host)
	}
	names = append(names, "localhost")
	host, _, _ := net.SplitHostPort(address)
	switch ip := net.ParseIP(host); {
	case ip != nil && !ip.IsUnspecified():
		addresses = append(addresses, ip)
	case ip == nil && host != "" && host != "localhost":
		names = append(names, host)
	}
	local, _ := net.InterfaceAddrs()
	for _, a := range local {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			addresses = append(addresses, n.IP)
		}
	}
	return names, addresses
}

// writeWhole writes a file that appears whole or not at all; one that is so already is left alone.
func writeWhole(path string, content []byte, mode fs.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
