package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ikada/ikada/api"
)

// oldKeyFile is the name of the key that is being replaced. It is there from before the new one is until nothing is
// sealed with it any more.
const oldKeyFile = KeyFile + ".old"

// Rotate makes a new key. From its return on that one seals; the old one still opens, until [Key.Retire]. What was
// sealed before is for the caller to seal anew, by Reseal.
//
// It is safe to be killed in: the old key is linked under its second name, and synced, before the new one takes its
// place by a rename. A rotation that was cut off goes on: where the new key had not come yet, it is made now.
func (k *Key) Rotate() error {
	if k.dir == "" {
		return api.Errorf(api.Internal, "rotate secret key: it is kept in no file")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.old != nil && *k.old != k.now {
		return nil // the new one is there already
	}
	path, old := filepath.Join(k.dir, KeyFile), filepath.Join(k.dir, oldKeyFile)
	if err := os.Link(path, old); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep old secret key: %w", err)
	}
	if err := syncDir(k.dir); err != nil {
		return fmt.Errorf("keep old secret key: %w", err)
	}
	raw, file, err := writeKey(k.dir)
	if err != nil {
		return fmt.Errorf("write new secret key: %w", err)
	}
	if err := os.Rename(file, path); err != nil {
		_ = os.Remove(file)
		return fmt.Errorf("write new secret key: %w", err)
	}
	if err := syncDir(k.dir); err != nil {
		return fmt.Errorf("write new secret key: %w", err)
	}
	was := k.now
	k.now, k.old = derive(raw), &was
	return nil
}

// Rotating tells whether there is an old key beside the one that seals.
func (k *Key) Rotating() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.old != nil
}

// Retire removes the old key: what it has sealed can be opened no more.
func (k *Key) Retire() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.old == nil {
		return nil
	}
	if *k.old == k.now {
		return api.Errorf(api.Internal, "retire secret key: there is no new one yet")
	}
	if err := os.Remove(filepath.Join(k.dir, oldKeyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old secret key: %w", err)
	}
	if err := syncDir(k.dir); err != nil {
		return fmt.Errorf("remove old secret key: %w", err)
	}
	k.old = nil
	return nil
}

// ResealSecret seals a secret with the key that seals now. Its version, which is a name and no longer a hash of the
// value under this key, stays. It gives false when that key has sealed it already.
func (k *Key) ResealSecret(s api.SealedSecret) (api.SealedSecret, bool, error) {
	sealed, changed, err := k.reseal(s.Sealed, secretContext(s.EnvRef, s.Version))
	if err != nil {
		return s, false, fmt.Errorf("seal secret version %s of %s anew: %w", s.Version, s.EnvRef, err)
	}
	s.Sealed = sealed
	return s, changed, nil
}

// ResealCredential is ResealSecret for a registry login.
func (k *Key) ResealCredential(c SealedCredential) (SealedCredential, bool, error) {
	sealed, changed, err := k.reseal(c.Sealed, credentialContext(c.Host, c.Username))
	if err != nil {
		return c, false, fmt.Errorf("seal login of registry %s anew: %w", c.Host, err)
	}
	c.Sealed = sealed
	return c, changed, nil
}

// ResealHook is ResealSecret for a web hook.
func (k *Key) ResealHook(h api.SealedHook) (api.SealedHook, bool, error) {
	sealed, changed, err := k.reseal(h.Sealed, hookContext(h.Hook))
	if err != nil {
		return h, false, fmt.Errorf("seal hook %s anew: %w", h.Name, err)
	}
	h.Sealed = sealed
	return h, changed, nil
}

func (k *Key) reseal(sealed []byte, context string) ([]byte, bool, error) {
	now := k.current()
	if _, err := now.open(sealed, context); err == nil {
		return sealed, false, nil
	}
	plain, err := k.openBytes(sealed, context)
	if err != nil {
		return nil, false, err
	}
	return k.sealBytes(plain, context), true, nil
}
