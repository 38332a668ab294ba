package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

func TestAccessMatrix(t *testing.T) {
	b := newBench(t)
	good, err := b.client.CreateToken(b.ctx(), api.TokenRequest{Name: "good"})
	if err != nil {
		t.Fatal(err)
	}
	gone, err := b.client.CreateToken(b.ctx(), api.TokenRequest{Name: "gone"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.client.DeleteToken(b.ctx(), "gone"); err != nil {
		t.Fatal(err)
	}
	old, secret, err := auth.NewToken(api.TokenRequest{Name: "old", ExpiresIn: api.Duration(time.Minute)}, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	b.put(store.Tokens+"old", old)

	callers := []struct {
		name  string
		local bool
		auth  func(r *http.Request)
		in    bool
	}{
		{"root on the socket", true, func(*http.Request) {}, true},
		{"anonymous", false, func(*http.Request) {}, false},
		{"bearer", false, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good.Secret) }, true},
		{"bearer in lower case", false, func(r *http.Request) { r.Header.Set("Authorization", "bearer "+good.Secret) }, true},
		{"basic", false, func(r *http.Request) { r.SetBasicAuth("anyone", good.Secret) }, true},
		{"basic without password", false, func(r *http.Request) { r.SetBasicAuth(good.Secret, "") }, false},
		{"removed token", false, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+gone.Secret) }, false},
		{"expired token", false, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }, false},
		{"the token's hash", false, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+auth.HashToken(good.Secret)) }, false},
		{"other scheme", false, func(r *http.Request) { r.Header.Set("Authorization", "Digest "+good.Secret) }, false},
		{"empty bearer", false, func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, false},
	}
	paths := []struct {
		method, path string
		open         bool
	}{
		{"GET", "/api/v1/health", true},
		{"GET", "/api/v1/version", false},
		{"GET", "/api/v1/apps", false},
		{"POST", "/api/v1/tokens", false},
		{"GET", "/api/v1/openapi.json", false},
		{"GET", "/api/v1/nothing", false},
		{"POST", "/api/v1/health", false},
		{"GET", "/v2/", false},
		{"GET", "/v2/a/manifests/b", false},
	}
	for _, c := range callers {
		for _, p := range paths {
			base := b.remote.URL
			if c.local {
				base = b.local.URL
			}
			req, err := http.NewRequestWithContext(b.ctx(), p.method, base+p.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			c.auth(req)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			refused := resp.StatusCode == http.StatusUnauthorized
			if refused == (c.in || p.open) {
				t.Errorf("%s: %s %s: %d %s", c.name, p.method, p.path, resp.StatusCode, text)
			}
			if !refused {
				continue
			}
			if got := resp.Header.Get("WWW-Authenticate"); got != `Basic realm="ikada"` {
				t.Errorf("%s: %s: WWW-Authenticate %q", c.name, p.path, got)
			}
			var answer struct {
				Kind   string
				Errors []struct{ Code string }
			}
			if err := json.Unmarshal(text, &answer); err != nil {
				t.Errorf("%s: %s", p.path, text)
			}
			if strings.HasPrefix(p.path, "/v2/") != (len(answer.Errors) == 1 && answer.Errors[0].Code == "UNAUTHORIZED") {
				t.Errorf("%s: %s: %s", c.name, p.path, text)
			}
		}
	}
	if log := b.log.String(); strings.Contains(log, good.Secret) || strings.Contains(b.dump(), good.Secret) {
		t.Error("a token's secret stands in the log or the store")
	}
}

func TestShutdownOnlyOverTheSocket(t *testing.T) {
	b := newBench(t)
	remote := b.as(api.TokenRequest{Name: "ci"})
	wantKind(t, remote.Shutdown(b.ctx()), api.Forbidden, "unix socket")
	if b.stops != 0 {
		t.Fatal("a token shut the node down")
	}
	if err := b.client.Shutdown(b.ctx()); err != nil || b.stops != 1 {
		t.Errorf("shutdown: %v, called %d times", err, b.stops)
	}
}

func TestCallerIsNoted(t *testing.T) {
	b := newBench(t)
	remote := b.as(api.TokenRequest{Name: "ci"})
	resp, err := remote.Deploy(b.ctx(), api.DeployRequest{Spec: spec()})
	if err != nil || resp.Deployment.CreatedBy != "ci" {
		t.Errorf("deployment %+v, %v", resp.Deployment, err)
	}
	if !strings.Contains(b.log.String(), "caller=ci") {
		t.Error("the log does not say who it was")
	}
}

func TestPanicIsAnAnswerAndALogEntry(t *testing.T) {
	b := newBench(t)
	_, err := b.client.Prune(b.ctx(), api.PruneRequest{All: true})
	wantKind(t, err, api.Internal, "its log tells more under request")
	if strings.Contains(err.Error(), "a defect") || !strings.Contains(b.log.String(), "a defect") || !strings.Contains(b.log.String(), "Prune") {
		t.Errorf("answer %v, log %s", err, b.log.String())
	}
	if _, err := b.client.Health(b.ctx()); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}
