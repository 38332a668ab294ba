package auth

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestRotateKey holds that both keys open while one takes the place of the other, versions stay, and only the new one is
// left at the end; also when the process was killed in between.
func TestRotateKey(t *testing.T) {
	dir, ref := t.TempDir(), api.EnvRef{App: "shop", Env: "production"}
	load := func() *Key {
		t.Helper()
		k, err := LoadKey(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	opens := func(k *Key, s api.SealedSecret, want bool) {
		t.Helper()
		if plain, err := k.OpenSecret(s); (err == nil && string(plain) == "value") != want {
			t.Errorf("opened %q, %v; want %t", plain, err, want)
		}
	}
	k := load()
	secret := k.SealSecret(ref, "db", []byte("value"), time.Now())
	login := k.SealCredential("ghcr.io", api.CredentialRequest{Username: "u", Password: "p"}, time.Now())
	if k.Rotating() {
		t.Error("a new key is being replaced")
	}

	// Killed after the old key got its second name, before the new one was there.
	if err := os.Link(filepath.Join(dir, KeyFile), filepath.Join(dir, oldKeyFile)); err != nil {
		t.Fatal(err)
	}
	k = load()
	opens(k, secret, true)
	if !k.Rotating() {
		t.Error("a rotation that was cut off is forgotten")
	}
	if err := k.Retire(); err == nil {
		t.Error("the only key was removed")
	}
	if err := k.Rotate(); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(dir, KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	opens(k, secret, true)
	fresh := k.SealSecret(ref, "db", []byte("value"), time.Now())
	if fresh.Version == secret.Version {
		t.Error("the new key names versions as the old one")
	}

	// Killed while things are sealed anew.
	k = load()
	for _, s := range []api.SealedSecret{secret, fresh} {
		opens(k, s, true)
	}
	if err := k.Rotate(); err != nil { // goes on with the same one
		t.Fatal(err)
	}
	if again, err := os.ReadFile(filepath.Join(dir, KeyFile)); err != nil || string(again) != string(first) {
		t.Errorf("a third key was made: %v", err)
	}
	resealed, changed, err := k.ResealSecret(secret)
	if err != nil || !changed || resealed.Version != secret.Version {
		t.Fatalf("%+v, %t, %v", resealed, changed, err)
	}
	if _, changed, err := k.ResealSecret(fresh); err != nil || changed {
		t.Errorf("what the new key has sealed: %t, %v", changed, err)
	}
	newLogin, changed, err := k.ResealCredential(login)
	if err != nil || !changed {
		t.Fatal(err)
	}
	if err := k.Retire(); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*Key{k, load()} {
		opens(k, secret, false)
		opens(k, resealed, true)
		opens(k, fresh, true)
		if plain, err := k.OpenCredential(newLogin); err != nil || plain.Password != "p" {
			t.Errorf("login %v, %v", plain, err)
		}
		if _, err := k.OpenCredential(login); err == nil {
			t.Error("the old login still opens")
		}
		if k.Rotating() {
			t.Error("it is still being replaced")
		}
	}
	if _, _, err := k.ResealSecret(secret); err == nil {
		t.Error("what cannot be opened was sealed anew")
	}
	info, err := os.Stat(filepath.Join(dir, KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
	held, err := NewKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Rotate(); err == nil {
		t.Error("a key of no file was rotated")
	}
}
