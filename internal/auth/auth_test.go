package auth

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestTokenIsFoundByItsSecretOnly(t *testing.T) {
	a, secretA, err := NewToken("ci", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	b, secretB, err := NewToken("laptop", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(secretA, TokenPrefix) || len(secretA) != len(TokenPrefix)+43 || secretA == secretB {
		t.Fatalf("secrets %q and %q: expected two different ones of 256 bit", secretA, secretB)
	}
	if strings.Contains(a.Hash, secretA) || len(a.Hash) != 64 {
		t.Fatalf("hash %q", a.Hash)
	}
	all := []api.Token{a, b}
	for _, c := range []struct {
		name, secret string
		at           time.Time
		want         string
	}{
		{"first", secretA, now, "ci"},
		{"second", secretB, now, "laptop"},
		{"just before expiry", secretB, now.Add(time.Hour - 1), "laptop"},
		{"expired", secretB, now.Add(time.Hour), ""},
		{"other case", strings.ToUpper(secretA), now, ""},
		{"longer", secretA + "x", now, ""},
		{"shorter", secretA[:len(secretA)-1], now, ""},
		{"the hash itself", a.Hash, now, ""},
		{"empty", "", now, ""},
	} {
		got, ok := FindToken(all, c.secret, c.at)
		if ok != (c.want != "") || got.Name != c.want {
			t.Errorf("%s: found %q, expected %q", c.name, got.Name, c.want)
		}
	}
	if _, ok := FindToken(nil, secretA, now); ok {
		t.Error("found a token where there is none")
	}
}

func TestTokenRefusesBadInput(t *testing.T) {
	for _, name := range []string{"", "A", "a b", "-a", "a-", "a/b", strings.Repeat("a", 64), "ä"} {
		if _, _, err := NewToken(name, 0, now); !api.IsKind(err, api.Invalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, _, err := NewToken("a", -time.Second, now); !api.IsKind(err, api.Invalid) {
		t.Errorf("negative expiry: %v", err)
	}
}

func TestKeyIsCreatedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	keys := make([]*Key, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := LoadKey(dir)
			if err != nil {
				t.Error(err)
			}
			keys[i] = k
		})
	}
	wg.Wait()
	for _, k := range keys[1:] {
		if *k != *keys[0] {
			t.Fatal("two processes got different keys")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("left behind: %v, %v", entries, err)
	}
	info, err := entries[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Fatalf("key file: %v %v", info, err)
	}
}

func TestKeyFileIsChecked(t *testing.T) {
	short := t.TempDir()
	if err := os.WriteFile(filepath.Join(short, KeyFile), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(short); err == nil || !strings.Contains(err.Error(), "5 bytes, expected 32") {
		t.Errorf("short key: %v", err)
	}
	open := t.TempDir()
	if _, err := LoadKey(open); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(open, KeyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(open); !api.IsKind(err, api.Forbidden) {
		t.Errorf("readable key: %v", err)
	}
}

func testKey(t *testing.T, fill byte) *Key {
	t.Helper()
	k, err := NewKey(bytes.Repeat([]byte{fill}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSecretOpensOnlyWhereItBelongs(t *testing.T) {
	k := testKey(t, 1)
	ref := api.EnvRef{App: "shop", Env: "production"}
	value := []byte("correct horse")
	s := k.SealSecret(ref, "db", value, now)
	if bytes.Contains(s.Sealed, value) || len(s.Version) != 16 {
		t.Fatalf("sealed %q version %q", s.Sealed, s.Version)
	}
	if got, err := k.OpenSecret(s); err != nil || !bytes.Equal(got, value) {
		t.Fatalf("open: %q, %v", got, err)
	}
	if again := k.SealSecret(ref, "db", value, now); again.Version != s.Version || bytes.Equal(again.Sealed, s.Sealed) {
		t.Error("expected the same version and another nonce")
	}
	broken := map[string]func(*api.SealedSecret){
		"other environment": func(s *api.SealedSecret) { s.Env = "staging" },
		"other version":     func(s *api.SealedSecret) { s.Version = "0000000000000000" },
		"changed":           func(s *api.SealedSecret) { s.Sealed = append([]byte{}, s.Sealed...); s.Sealed[30] ^= 1 },
		"cut":               func(s *api.SealedSecret) { s.Sealed = s.Sealed[:10] },
	}
	for name, change := range broken {
		c := s
		change(&c)
		if _, err := k.OpenSecret(c); !api.IsKind(err, api.Internal) || strings.Contains(err.Error(), string(value)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := testKey(t, 2).OpenSecret(s); err == nil {
		t.Error("another key opened it")
	}
}

func TestSecretVersionTellsInputsApart(t *testing.T) {
	k := testKey(t, 1)
	seen := map[string]string{}
	for _, c := range [][3]string{
		{"a/b", "c", "v"}, {"a/b", "cv", ""}, {"a/bc", "", "v"}, {"a/b", "c", "w"}, {"a/x", "c", "v"}, {"a/b", "d", "v"},
	} {
		v := k.SecretVersion(c[0], c[1], []byte(c[2]))
		if other, ok := seen[v]; ok {
			t.Errorf("%v and %s have the same version", c, other)
		}
		seen[v] = strings.Join(c[:], "|")
	}
	if k.SecretVersion("a/b", "c", []byte("v")) == testKey(t, 2).SecretVersion("a/b", "c", []byte("v")) {
		t.Error("the version does not depend on the key")
	}
}

func TestCredentialIsBoundToItsHost(t *testing.T) {
	k := testKey(t, 1)
	login := api.CredentialRequest{Username: "me", Password: "hunter2"}
	c := k.SealCredential("ghcr.io", login, now)
	if got, err := k.OpenCredential(c); err != nil || got != login {
		t.Fatalf("open: %+v, %v", got, err)
	}
	c.Host = "evil.example"
	if _, err := k.OpenCredential(c); err == nil {
		t.Error("a login opened for another registry")
	}
}
