package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func TestParseTTL(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "3d": 72 * time.Hour, "1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "1s": time.Second, "3650d": 3650 * 24 * time.Hour,
		"0": -1, "0d": -1, "d": -1, "-1d": -1, "3d-1h": -1, "1.5d": -1, "soon": -1, "999ms": -1, "3651d": -1, "99999d": -1, "3days": -1,
	} {
		got, err := parseTTL("--ttl", text)
		if (err != nil) != (want < 0) || err == nil && got.Std() != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

func TestParseOrigin(t *testing.T) {
	for text, want := range map[string]api.Origin{
		"4": {Env: "production", Release: 4}, "staging": {Env: "staging"}, "staging@3": {Env: "staging", Release: 3}, "7@1": {Env: "7", Release: 1},
		"": {}, "@3": {}, "staging@": {}, "staging@0": {}, "staging@x": {}, "a@b@1": {},
	} {
		got, err := parseOrigin(text, "production")
		if (err != nil) != (want == api.Origin{}) || err == nil && got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// TestPromoteToNothing sends the file of the directory along for an environment that has no release, with its part.
func TestPromoteToNothing(t *testing.T) {
	for _, c := range []struct {
		name, part string
		sends      bool
		args       []string
	}{
		{"shop", `"MODE":"stage"`, true, nil},
		{"blog", `"MODE"`, false, nil},
		{"blog", `"MODE":"stage"`, true, []string{"-f", "compose.yaml"}},
	} {
		f := populated(t)
		f.on("POST /apps/shop/envs/staging/promote", api.PromoteResponse{DeployResponse: api.DeployResponse{Unchanged: true}})
		dir := directory(t, c.name, map[string]string{"compose.yaml": `
services: {web: {build: ., environment: {MODE: prod}}}
x-ikada: {environments: {staging: {services: {web: {environment: {MODE: stage}}}}}}
`, "Dockerfile": "FROM scratch\n"})
		args := append([]string{"promote", "shop", "--from", "production", "--to", "staging"}, c.args...)
		for i, arg := range args {
			if arg == "compose.yaml" {
				args[i] = dir + "/compose.yaml"
			}
		}
		r := f.ikada(t.Context(), dir, "", args...)
		requests := f.requests()
		sent := requests[len(requests)-1]
		if r.code != 0 || !strings.HasPrefix(sent, "POST /apps/shop/envs/staging/promote") || strings.Contains(sent, c.part) != c.sends {
			t.Errorf("%s %v: exit %d %s\n%s", c.name, c.args, r.code, r.err, sent)
		}
	}
}
