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
	a, secretA, err := NewToken(api.TokenRequest{Name: "ci"}, now)
	if err != nil {
		t.Fatal(err)
	}
	b, secretB, err := NewToken(api.TokenRequest{Name: "laptop", ExpiresIn: api.Duration(time.Hour)}, now)
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
		if _, _, err := NewToken(api.TokenRequest{Name: name}, now); !api.IsKind(err, api.Invalid) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, _, err := NewToken(api.TokenRequest{Name: "a", ExpiresIn: api.Duration(-time.Second)}, now); !api.IsKind(err, api.Invalid) {
		t.Errorf("negative expiry: %v", err)
	}
	for _, req := range []api.TokenRequest{
		{Name: "root"}, {Name: "a", User: "root"}, {Name: "a", User: "A"},
		{Name: "a", Grants: api.Grants{{Role: "king", Scope: "*"}}}, {Name: "a", Grants: api.Grants{{Role: api.RoleView, Scope: "shop"}}},
		{Name: "a", Grants: make(api.Grants, maxGrants+1)},
	} {
		if _, _, err := NewToken(req, now); !api.IsKind(err, api.Invalid) {
			t.Errorf("%+v: %v", req, err)
		}
	}
}

func TestTokenCarriesUserAndGrants(t *testing.T) {
	grants := api.Grants{{Role: api.RoleDeploy, Scope: "shop/staging"}}
	made, _, err := NewToken(api.TokenRequest{Name: "ci", User: "ann", Grants: grants}, now)
	if err != nil || made.Holder() != "ann" || made.Rights().String() != "deploy on shop/staging" {
		t.Errorf("%+v, %v", made, err)
	}
	// What an older ikada wrote has neither: it may do what it could.
	old := api.Token{Name: "old", Hash: HashToken("x")}
	if old.Holder() != "old" || !old.Rights().AllowCluster(api.RoleAdmin) {
		t.Errorf("an old token: %s, %s", old.Holder(), old.Rights())
	}
}

func TestHookIsBoundToItsHost(t *testing.T) {
	k := testKey(t, 1)
	target := api.HookTarget{URL: "https://hooks.test/T0/secret", Secret: NewHookSecret()}
	sealed, err := k.SealHook(api.Hook{Name: "chat", Host: "https://hooks.test"}, target)
	if err != nil || bytes.Contains(sealed.Sealed, []byte("secret")) {
		t.Fatalf("%q, %v", sealed.Sealed, err)
	}
	if got, err := k.OpenHook(sealed); err != nil || got != target {
		t.Errorf("%+v, %v", got, err)
	}
	sealed.Host = "https://evil.test"
	if _, err := k.OpenHook(sealed); err == nil {
		t.Error("a target opened for another host")
	}
}

func TestRotate(t *testing.T) {
	made, first, err := NewToken(api.TokenRequest{Name: "ci", ExpiresIn: api.Duration(90 * time.Hour)}, now)
	if err != nil {
		t.Fatal(err)
	}
	later := now.Add(80 * time.Hour)
	rotated, second, err := Rotate(made, api.RotateRequest{}, later)
	if err != nil || second == first {
		t.Fatal(err)
	}
	if want := later.Add(90 * time.Hour); !rotated.ExpiresAt.Equal(want) {
		t.Errorf("expires at %s, expected %s: as long as at first", rotated.ExpiresAt, want)
	}
	all := []api.Token{rotated}
	for _, c := range []struct {
		secret          string
		at              time.Duration
		found, outdated bool
	}{
		{first, 0, true, true}, {second, 0, true, false},
		{first, 10*time.Hour - 1, true, true}, {first, 10 * time.Hour, false, false}, // no longer than it had
		{second, 90*time.Hour - 1, true, false}, {second, 90 * time.Hour, false, false},
	} {
		f, ok := FindToken(all, c.secret, later.Add(c.at))
		if ok != c.found || f.Outdated != c.outdated {
			t.Errorf("after %s: found %t, outdated %t", c.at, ok, f.Outdated)
		}
	}
	again, third, err := Rotate(rotated, api.RotateRequest{Grace: new(api.Duration), ExpiresIn: api.Duration(time.Hour)}, later)
	if err != nil {
		t.Fatal(err)
	}
	for secret, want := range map[string]bool{first: false, second: false, third: true, "": false} {
		if _, ok := FindToken([]api.Token{again}, secret, later); ok != want {
			t.Errorf("without grace: %t, expected %t", ok, want)
		}
	}
	long := api.Duration(api.MaxGrace + 1)
	if _, _, err := Rotate(made, api.RotateRequest{Grace: &long}, now); !api.IsKind(err, api.Invalid) {
		t.Errorf("long grace: %v", err)
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
