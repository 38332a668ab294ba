package build

import (
	"testing"

	"github.com/distribution/reference"

	"github.com/ikada/ikada/api"
)

func TestNamesAreReferencesAndDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, app := range []string{"shop", "Shop", "a_b", "a.b", "a--b", "-a", "日本", "a/b"} {
		for _, env := range []string{"production", "pr-42", "feature/x"} {
			name := Latest(api.EnvRef{App: app, Env: env}, "web")
			if _, err := reference.Parse(name); err != nil {
				t.Errorf("app %q, environment %q: %q: %v", app, env, name, err)
			}
			key := app + "|" + env
			if other, ok := seen[name]; ok {
				t.Errorf("%q and %q are both %q", other, key, name)
			}
			seen[name] = key
		}
	}
	if got := Latest(api.EnvRef{App: "shop", Env: "production"}, "web"); got != "ikada.local/shop/web:latest-production" {
		t.Errorf("Latest = %q", got)
	}
}

func TestOwnName(t *testing.T) {
	own := func(h string) bool { return h == "10.0.0.1:7600" }
	for ref, want := range map[string]string{
		"ikada.local/a/b:1":   "ikada.local/a/b:1",
		"10.0.0.1:7600/a/b":   "ikada.local/a/b:latest",
		"node:20":             "",
		"docker.io/a/b:1":     "",
		"not a reference at ": "",
	} {
		if got, ok := ownName(ref, own); got != want || ok != (want != "") {
			t.Errorf("ownName(%q) = %q, %v", ref, got, ok)
		}
	}
}
