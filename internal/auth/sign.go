package auth

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/ikada/ikada/api"
)

// signFile is the name of the signing key's file in the data directory. It is not rotated with the secret key: what was
// signed is to be checked years later.
const signFile = "receipt.key"

// Signer signs receipts with Ed25519 (RFC 8032). Safe for concurrent use.
type Signer struct{ key ed25519.PrivateKey }

// LoadSigner reads the signing key of a data directory, and makes it there when there is none, as [LoadKey] does.
func LoadSigner(dataDir string) (*Signer, error) {
	path := filepath.Join(dataDir, signFile)
	seed, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(dataDir, path); err != nil {
			return nil, fmt.Errorf("create signing key: %w", err)
		}
		seed, err = readKey(path)
	}
	if err != nil {
		return nil, err
	}
	return NewSigner(seed), nil
}

// NewSigner makes a signer of 32 bytes.
func NewSigner(seed []byte) *Signer { return &Signer{ed25519.NewKeyFromSeed(seed)} }

// Public gives the key by which signatures are checked.
func (s *Signer) Public() []byte { return s.key.Public().(ed25519.PublicKey) }

// Sign puts a payload into an envelope.
func (s *Signer) Sign(payloadType string, payload []byte) api.Envelope {
	e := api.Envelope{PayloadType: payloadType, Payload: payload}
	e.Signatures = []api.EnvelopeSignature{{KeyID: api.KeyID(s.Public()), Signature: ed25519.Sign(s.key, e.Signed())}}
	return e
}
