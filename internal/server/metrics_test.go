package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

// fakeMetrics gives a line for each environment that may be seen.
type fakeMetrics struct{ err error }

func (f *fakeMetrics) Write(_ context.Context, w io.Writer, seen func(api.EnvRef) bool) error {
	for _, ref := range []api.EnvRef{shop, {App: "blog", Env: "production"}} {
		if seen(ref) {
			_, _ = io.WriteString(w, `ikada_release{app="`+ref.App+"\"} 1\n")
		}
	}
	return f.err
}

func (f *fakeMetrics) CheckQuery(query string) error {
	if strings.Contains(query, "{{") || query == "rate(" {
		return api.Errorf(api.Invalid, "read PromQL: %w", errors.New("unexpected end of input"))
	}
	return nil
}

func TestMetricsPage(t *testing.T) {
	b := newBench(t)
	get := func(path, token string) (int, string, string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		b.server.Handler(false).ServeHTTP(w, r)
		return w.Code, w.Body.String(), w.Header().Get("Content-Type")
	}
	token := func(name string, g ...api.Grant) string {
		t.Helper()
		made, err := b.client.CreateToken(b.ctx(), api.TokenRequest{Name: name, Grants: g})
		if err != nil {
			t.Fatal(err)
		}
		return made.Secret
	}
	all, one := token("all", api.Grant{Role: api.RoleView, Scope: "*"}), token("one", api.Grant{Role: api.RoleView, Scope: shop.String()})
	for _, path := range []string{"/metrics", "/api/v1/metrics"} {
		if code, text, kind := get(path, all); code != http.StatusOK || strings.Count(text, "\n") != 2 || kind != "text/plain; version=0.0.4; charset=utf-8" {
			t.Errorf("%s: %d %q %q", path, code, kind, text)
		}
		if code, text, _ := get(path, one); code != http.StatusOK || text != "ikada_release{app=\"shop\"} 1\n" {
			t.Errorf("%s by one who may see shop alone: %d %q", path, code, text)
		}
		if code, text, _ := get(path, "ikt_wrong"); code != http.StatusUnauthorized {
			t.Errorf("%s by nobody: %d %q", path, code, text)
		}
	}
	b.metrics.err = api.Errorf(api.Unavailable, "the balancer does not answer")
	if code, text, _ := get("/metrics", all); code != http.StatusServiceUnavailable || strings.Contains(text, "ikada_release") {
		t.Errorf("without a balancer: %d %q", code, text)
	}
}

// TestQueriesAreReadAtDeploy refuses what is no query of ikada's own metrics; another server's may be anything.
func TestQueriesAreReadAtDeploy(t *testing.T) {
	b := newBench(t)
	most := 1.0
	with := func(q api.PromQLCheck) api.DeployRequest {
		q.Max = &most
		return api.DeployRequest{Spec: spec(func(s *api.AppSpec) {
			w := s.Services["web"]
			w.Checks = []api.ReleaseCheck{{Name: "errors", PromQL: &q}}
			s.Services["web"] = w
		})}
	}
	_, err := b.client.Deploy(b.ctx(), with(api.PromQLCheck{Query: "rate("}))
	wantKind(t, err, api.Invalid, "spec.services.web.checks[0].promql", "rate(", "unexpected end")
	_, err = b.client.Deploy(b.ctx(), with(api.PromQLCheck{Query: `up{r="{{.Task}}"}`}))
	wantKind(t, err, api.Invalid, "spec.services.web.checks[0].promql", "{{.Task}}", "{{.Release}}")
	for _, q := range []api.PromQLCheck{{Query: `up{r="{{.Release}}",s="{{.Service}}"}`}, {Query: "rate(", Prometheus: "https://prometheus.example.com"}} {
		if _, err := b.client.Deploy(b.ctx(), with(q)); err != nil {
			t.Errorf("%+v: %v", q, err)
		}
	}
}
