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

// TestAppOfATag: whose rights a tag asks for is what the registry asks of a push to it.
func TestAppOfATag(t *testing.T) {
	b := &Builder{cfg: Config{OwnHost: func(h string) bool { return h == "10.0.0.1:7600" }}}
	for tag, want := range map[string]string{
		"ikada.local/shop/web:1":        "shop",
		"10.0.0.1:7600/shop/web/base":   "shop",
		"10.0.0.1:7600/busybox":         "busybox",
		"10.0.0.1:7600/busybox:1.37":    "busybox",
		"10.0.0.2:7600/shop/web:1":      "",
		"shop/web:1":                    "",
		"not a reference at all":        "",
		"ikada.local/shop/../blog/web:": "",
	} {
		if app, ok := b.App(tag); app != want || ok != (want != "") {
			t.Errorf("%q: app %q, %t; expected %q", tag, app, ok, want)
		}
	}
}
