package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/ikada/ikada/api"
)

// KeyFile is the name of the key's file in the data directory.
const KeyFile = "secret.key"

const (
	keySize      = chacha20poly1305.KeySize // 32 bytes
	versionBytes = 8                        // 16 hex digits
)

// Key seals and opens with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), whose 24-byte nonces may be random.
// Sealing and naming versions use keys of their own, derived from the one in the file. While a key takes the place of
// another one, both open, and the new one seals: see [Key.Rotate]. Safe for concurrent use.
type Key struct {
	dir string // "": it is in no file

	mu  sync.RWMutex
	now derived
	old *derived // while it is being replaced
}

// derived are the keys that follow from a file's.
type derived struct {
	seal [keySize]byte
	name [keySize]byte
}

// LoadKey reads the key of a data directory, and makes it there when there is none: 32 random bytes in a file of
// mode 0600, which appears whole or not at all. Of several processes that do so at once, all get the same key. Where a
// rotation was cut off, both keys are read: see [Key.Rotating].
func LoadKey(dataDir string) (*Key, error) {
	path := filepath.Join(dataDir, KeyFile)
	raw, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(dataDir, path); err != nil {
			return nil, fmt.Errorf("create secret key: %w", err)
		}
		raw, err = readKey(path)
	}
	if err != nil {
		return nil, err
	}
	k := &Key{dir: dataDir, now: derive(raw)}
	was, err := readKey(filepath.Join(dataDir, oldKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	old := derive(was)
	k.old = &old
	return k, nil
}

func readKey(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read secret key: %w", err)
	}
	if len(raw) != keySize {
		return nil, api.Errorf(api.Internal, "read secret key: %s has %d bytes, expected %d; restore it from a backup, or remove it together with every secret", path, len(raw), keySize)
	}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("read secret key: %w", err)
	} else if info.Mode().Perm()&0o077 != 0 {
		return nil, api.Errorf(api.Forbidden, "read secret key: others may read %s; run: chmod 600 %s", path, path)
	}
	return raw, nil
}

// NewKey makes a key of 32 bytes.
func NewKey(raw []byte) (*Key, error) {
	if len(raw) != keySize {
		return nil, api.Errorf(api.Invalid, "make secret key: %d bytes, expected %d", len(raw), keySize)
	}
	return &Key{now: derive(raw)}, nil
}

func derive(raw []byte) derived {
	var d derived
	copy(d.seal[:], mac(raw, "ikada seal 1"))
	copy(d.name[:], mac(raw, "ikada version 1"))
	return d
}

// current gives the keys that seal.
func (k *Key) current() derived {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.now
}

// createKey writes a new key beside path and links it there: link fails when the name is taken, so the first of
// several processes wins and no reader ever sees half a key.
func createKey(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, file, err := writeKey(dir)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file) }()
	if err := os.Link(file, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// writeKey writes a new key to a file of its own.
func writeKey(dir string) (raw []byte, file string, err error) {
	f, err := os.CreateTemp(dir, ".secret-key-*") // mode 0600
	if err != nil {
		return nil, "", err
	}
	raw = make([]byte, keySize)
	_, _ = rand.Read(raw)
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return nil, "", err
	}
	return raw, f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SecretVersion gives the version of a secret's value in an environment: equal values have equal versions, and
// without the key a version tells nothing about the value.
func (k *Key) SecretVersion(env, name string, value []byte) string {
	now := k.current()
	m := hmac.New(sha256.New, now.name[:])
	for _, part := range [][]byte{[]byte(env), []byte(name), value} {
		// Lengths keep ("a", "bc") and ("ab", "c") apart.
		m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		m.Write(part)
	}
	return hex.EncodeToString(m.Sum(nil)[:versionBytes])
}

// SealSecret encrypts a secret's value for one environment and gives it with its version.
func (k *Key) SealSecret(ref api.EnvRef, name string, value []byte, now time.Time) api.SealedSecret {
	s := api.SealedSecret{EnvRef: ref, Version: k.SecretVersion(ref.String(), name, value), CreatedAt: now.UTC()}
	s.Sealed = k.sealBytes(value, secretContext(ref, s.Version))
	return s
}

// OpenSecret decrypts a sealed secret. It fails when the value was changed, belongs to another environment or
// version, or was sealed with another key.
func (k *Key) OpenSecret(s api.SealedSecret) ([]byte, error) {
	plain, err := k.openBytes(s.Sealed, secretContext(s.EnvRef, s.Version))
	if err != nil {
		return nil, api.Errorf(api.Internal, "open secret version %s of %s: %w", s.Version, s.EnvRef, err)
	}
	return plain, nil
}

func secretContext(ref api.EnvRef, version string) string {
	return "secret/" + ref.String() + "/" + version
}

// SealedCredential is a registry login as it is kept: the user name in the clear, the password sealed.
type SealedCredential struct {
	api.Credential
	Sealed []byte `json:"sealed"`
}

// SealCredential seals a registry login.
func (k *Key) SealCredential(host string, login api.CredentialRequest, now time.Time) SealedCredential {
	c := SealedCredential{Credential: api.Credential{Host: host, Username: login.Username, UpdatedAt: now.UTC()}}
	c.Sealed = k.sealBytes([]byte(login.Password), credentialContext(host, login.Username))
	return c
}

// OpenCredential gives a kept login's user name and password.
func (k *Key) OpenCredential(c SealedCredential) (api.CredentialRequest, error) {
	plain, err := k.openBytes(c.Sealed, credentialContext(c.Host, c.Username))
	if err != nil {
		return api.CredentialRequest{}, api.Errorf(api.Internal, "open login of registry %s: %w", c.Host, err)
	}
	return api.CredentialRequest{Username: c.Username, Password: string(plain)}, nil
}

// DecodeCredential reads the value of a key under store.Credentials.
func DecodeCredential(value []byte) (SealedCredential, error) {
	var c SealedCredential
	if err := json.Unmarshal(value, &c); err != nil {
		return c, api.Errorf(api.Internal, "decode registry login: %w", err)
	}
	return c, nil
}

func credentialContext(host, username string) string { return "credential/" + host + "/" + username }

// SealHook seals where a web hook's messages go and what they are signed with.
func (k *Key) SealHook(h api.Hook, target api.HookTarget) (api.SealedHook, error) {
	plain, err := json.Marshal(target)
	if err != nil {
		return api.SealedHook{}, api.Errorf(api.Internal, "encode target of hook %s: %w", h.Name, err)
	}
	return api.SealedHook{Hook: h, Sealed: k.sealBytes(plain, hookContext(h))}, nil
}

// OpenHook gives where a hook's messages go. It fails when that was sealed for another hook or host, or with another
// key.
func (k *Key) OpenHook(h api.SealedHook) (api.HookTarget, error) {
	var target api.HookTarget
	plain, err := k.openBytes(h.Sealed, hookContext(h.Hook))
	if err == nil {
		err = json.Unmarshal(plain, &target)
	}
	if err != nil {
		return target, api.Errorf(api.Internal, "open target of hook %s: %w", h.Name, err)
	}
	return target, nil
}

func hookContext(h api.Hook) string { return "hook/" + h.Name + "/" + h.Host }

// NewHookSecret makes what a hook's messages are signed with: 256 random bits.
func NewHookSecret() string { return "ikh_" + random() }

// sealBytes gives nonce and ciphertext; context is authenticated, not kept.
func (k *Key) sealBytes(plain []byte, context string) []byte {
	now := k.current()
	aead, _ := chacha20poly1305.NewX(now.seal[:]) // the key has the right size
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	_, _ = rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, []byte(context))
}

func (k *Key) openBytes(sealed []byte, context string) ([]byte, error) {
	k.mu.RLock()
	now, old := k.now, k.old
	k.mu.RUnlock()
	plain, err := now.open(sealed, context)
	if err != nil && old != nil {
		if plain, oldErr := old.open(sealed, context); oldErr == nil {
			return plain, nil
		}
	}
	return plain, err
}

func (d *derived) open(sealed []byte, context string) ([]byte, error) {
	aead, _ := chacha20poly1305.NewX(d.seal[:])
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("the sealed value is too short")
	}
	nonce, body := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
	return aead.Open(nil, nonce, body, []byte(context))
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
