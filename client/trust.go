package client

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/ikada/ikada/api"
)

// Options say who calls, and by what a server that is called over https is known: by the fingerprint of its
// certificate, whatever that says; else by an authority, that of CAFile or else one that the machine believes.
type Options struct {
	Token       string // may be empty on a unix socket
	Fingerprint string // "sha256:" and 64 hexadecimal digits, in capitals and with colons too
	CAFile      string // PEM file of authorities
}

var fingerprint = regexp.MustCompile(`^[0-9a-f]{64}$`)

// tls gives how a server of the name is known.
func (o Options) tls(name string) (*tls.Config, error) {
	c := &tls.Config{ServerName: name, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	if o.Fingerprint != "" {
		text := strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(o.Fingerprint)), "sha256:"), ":", "")
		if !fingerprint.MatchString(text) {
			return nil, api.FieldError("fingerprint", o.Fingerprint, "sha256: and 64 hexadecimal digits, as `ikada up` prints it")
		}
		c.InsecureSkipVerify = true // the pin stands in its place, at every handshake
		c.VerifyConnection = func(s tls.ConnectionState) error { return pinned(s, text) }
		return c, nil
	}
	if o.CAFile != "" {
		b, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, api.Errorf(api.Invalid, "read authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, api.FieldError("ca-file", o.CAFile, "a PEM file with certificates")
		}
	}
	return c, nil
}

// otherCertificate is the error of a server that shows another certificate than the pinned one.
type otherCertificate struct{ got string }

// Error says what the server showed.
func (e *otherCertificate) Error() string {
	return fmt.Sprintf("the server shows another certificate than the pinned one: its fingerprint is %s; it was replaced, or somebody stands in between", e.got)
}

// pinned tells whether a server has shown the certificate with the fingerprint.
func pinned(s tls.ConnectionState, want string) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server shows no certificate")
	}
	sum := sha256.Sum256(s.PeerCertificates[0].Raw)
	got := hex.EncodeToString(sum[:])
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return &otherCertificate{"sha256:" + got}
	}
	return nil
}

// Untrusted gives the fingerprint of the certificate that a server showed and that no authority vouches for, where that
// is why a call failed; else "".
func Untrusted(err error) string {
	e, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok || len(e.UnverifiedCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(e.UnverifiedCertificates[0].Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}
