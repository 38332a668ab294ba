package server_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

// fuzzBody sends bodies to one operation: each is taken, or refused with a clear error that changed nothing.
func fuzzBody(f *testing.F, method, path string, setup func(b *bench), seeds ...string) {
	for _, s := range seeds {
		f.Add(s)
	}
	var b *bench
	f.Fuzz(func(t *testing.T, body string) {
		if b == nil {
			b = newBench(t) // a worker's runs share its store; its listeners end with the first
			setup(b)
		}
		b.t = t
		before := b.dump()
		req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		b.server.Handler(true).ServeHTTP(w, req)
		if w.Code/100 == 2 {
			return
		}
		var p api.Error
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Kind == "" || p.Error() == "" {
			t.Fatalf("%d %s: no clear error", w.Code, w.Body)
		}
		if p.Kind == api.Internal || w.Code >= http.StatusInternalServerError && p.Kind != api.Unavailable {
			t.Fatalf("%d %s: a defect", w.Code, w.Body)
		}
		if after := b.dump(); after != before {
			t.Fatalf("%d %s: something was written", w.Code, w.Body)
		}
	})
}

func FuzzDeployBody(f *testing.F) {
	seeds := []string{service(""), service(`,"ports":[{"target":80,"published":8080}],"stopGrace":"5s"`),
		service(`,"health":{"http":{"path":"/up"}},"env":{"A":"b"},"command":["a"]`)}
	for _, m := range malformedRequests() {
		if m.path == deployURL && m.method == http.MethodPost {
			seeds = append(seeds, m.body)
		}
	}
	fuzzBody(f, http.MethodPost, deployURL, func(*bench) {}, seeds...)
}

func FuzzScaleBody(f *testing.F) {
	fuzzBody(f, http.MethodPost, envURL+"/scale", func(b *bench) { b.deployed(api.DeployRequest{Spec: spec()}) },
		`{"web":1}`, `{"web":-1}`, `{"web":1e3}`, `{"db":1}`, `{}`, `[]`, `{"web":null}`)
}

func FuzzCredentialBody(f *testing.F) {
	fuzzBody(f, http.MethodPut, "/api/v1/credentials/ghcr.io", func(*bench) {},
		`{"username":"a","password":"b"}`, `{"username":"","password":""}`, `{"username":1}`, `null`)
}

func FuzzPath(f *testing.F) {
	for _, m := range malformedRequests() {
		f.Add(m.method, m.path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		if !strings.HasPrefix(path, "/api/") {
			path = "/api/v1/" + strings.TrimLeft(path, "/")
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, nil)
		if err != nil || strings.Contains(path, "follow") || strings.Contains(path, "watch") || strings.Contains(path, "prune") {
			t.Skip("no request, or one that goes on")
		}
		b := newBench(t)
		w := httptest.NewRecorder()
		b.server.Handler(true).ServeHTTP(w, req)
		if w.Code >= http.StatusInternalServerError && !strings.Contains(w.Body.String(), `"unavailable"`) {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	})
}
