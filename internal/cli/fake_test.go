package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

var update = flag.Bool("update", false, "rewrite golden files")

// noon is the fake's present.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// fake is a server that answers what a test tells it to.
type fake struct {
	t    *testing.T
	mux  *http.ServeMux
	url  string
	mu   sync.Mutex
	seen []string // "METHOD path body"
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, mux: http.NewServeMux()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := f.mux.Handler(r); pattern == "" {
			w.WriteHeader(http.StatusNotFound)
			answer(w, api.Error{Kind: api.NotFound, Message: r.Method + " " + r.URL.Path + " is not there"})
			return
		}
		f.mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

// on answers a route with a value and notes the request.
func (f *fake) on(route string, v any) {
	method, path, _ := strings.Cut(route, " ")
	f.mux.HandleFunc(method+" "+client.Prefix+path, func(w http.ResponseWriter, r *http.Request) {
		f.note(r)
		if e, ok := v.(*api.Error); ok {
			w.WriteHeader(http.StatusConflict)
			answer(w, e)
			return
		}
		answer(w, v)
	})
}

// stream answers a route with server-sent events, and with their end unless open.
func (f *fake) stream(route string, open bool, values ...any) {
	method, path, _ := strings.Cut(route, " ")
	f.mux.HandleFunc(method+" "+client.Prefix+path, func(w http.ResponseWriter, r *http.Request) {
		f.note(r)
		w.Header().Set("Content-Type", "text/event-stream")
		for _, v := range values {
			b, err := json.Marshal(v)
			if err != nil {
				f.t.Error(err)
			}
			fmt.Fprintf(w, "data: %s\n\n", b)
		}
		if !open {
			fmt.Fprint(w, "event: end\ndata: {}\n\n")
			return
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
}

func (f *fake) note(r *http.Request) {
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, strings.TrimSpace(r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), client.Prefix)+" "+body.String()))
}

func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.seen...)
}

// result is what a run left.
type result struct {
	out, err string
	code     int
}

// ikada runs a command line against the fake in a directory.
func (f *fake) ikada(ctx context.Context, dir, stdin string, args ...string) result {
	f.t.Helper()
	var out, errs bytes.Buffer
	code := Run(ctx, args, Options{
		Version: "1.2.3", Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs, Dir: dir,
		Environ: map[string]string{"IKADA_HOST": f.url}, Now: func() time.Time { return noon },
		Daemon: Daemon{Check: func(context.Context, UpOptions) ([]Finding, error) {
			return []Finding{
				{Name: "kernel", OK: true},
				{Name: "disk", Problem: "3 GB are free in /var/lib", Remedy: "free 7 GB"},
				{Name: "port 80", Fatal: true, Problem: "nginx listens there", Remedy: "stop it, or say --http :8080"},
			}, nil
		}},
	})
	return result{strings.ReplaceAll(out.String(), f.url, "http://fake"), strings.ReplaceAll(errs.String(), f.url, "http://fake"), code}
}

// directory makes one with files.
func directory(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	for file, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) == 0 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// golden compares a transcript with a file, or writes it under -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; run the test with -update and look at the diff\ngot:\n%s", file, got)
	}
}

// record writes a command and its result as a transcript: standard error marked with "! ".
func record(b *strings.Builder, args []string, r result) {
	fmt.Fprintf(b, "$ ikada %s\n%s", strings.Join(args, " "), r.out)
	for line := range strings.Lines(r.err) {
		b.WriteString("! " + line)
	}
	if r.code != 0 {
		fmt.Fprintf(b, "exit %d\n", r.code)
	}
	b.WriteString("\n")
}

// shop is the environment that the fake knows.
var shop = api.EnvRef{App: "shop", Env: "production"}

// populated is a fake that answers every reading command.
func populated(t *testing.T) *fake {
	f := newFake(t)
	one := 1
	done := api.Deployment{
		EnvRef: shop, Number: 7, Kind: api.KindDeploy, From: 3, To: 4, State: api.DeploySucceeded, CreatedAt: ago(5 * time.Minute),
		StartedAt: ago(5 * time.Minute), EndedAt: ago(4 * time.Minute),
		Receipt: api.Receipt{Requests: 1234567, LongestWait: api.Duration(123456789), Swap: api.Duration(2345 * time.Millisecond),
			Took: api.Duration(7345 * time.Millisecond), Rollback: "release 3 is kept with its images"},
	}
	proof(&done)
	back := api.Deployment{
		EnvRef: shop, Number: 6, Kind: api.KindDeploy, From: 3, To: 5, State: api.DeployRolledBack, Reason: "web: 2 of 3 tasks exited with code 1",
		CreatedAt: ago(3 * time.Hour), EndedAt: ago(3 * time.Hour), Receipt: api.Receipt{Requests: 10, Failed: 1, Took: api.Duration(time.Minute), Partial: "the balancer restarted"},
	}
	status := api.EnvironmentStatus{
		Environment: api.Environment{EnvRef: shop, Release: 4, LastRelease: 5, LastDeployment: 7, Scale: map[string]int{"worker": 2}},
		State:       api.HealthDegraded, Deployment: &done,
		Services: []api.ServiceStatus{
			{Service: "web", Image: "registry.local/shop/web@sha256:0123456789abcdef0123456789abcdef", Want: 3, Ready: 3, Live: 3, State: api.HealthOK, Ports: []string{"0.0.0.0:18080→8080"}, Routes: []string{"example.com/api"}},
			{Service: "worker", Image: "worker:1", Want: 2, Ready: 1, Live: 2, State: api.HealthDegraded, Problem: "worker.2 was killed for memory (OOM); the next start is in 4s"},
		},
	}
	other := api.EnvironmentStatus{Environment: api.Environment{EnvRef: api.EnvRef{App: "blog", Env: "staging"}, ExpiresAt: noon.Add(150 * time.Minute)}, State: api.HealthStopped,
		Lock: &api.Lock{Holder: "ann", ExpiresAt: noon.Add(time.Hour)}}
	tasks := []api.TaskView{
		{Task: api.Task{ID: "aaaa1111bbbb2222", EnvRef: shop, Service: "web", Slot: 1, Release: 4, Node: "n1", CreatedAt: ago(5 * time.Minute)}, Status: api.TaskStatus{State: api.TaskReady}},
		{Task: api.Task{ID: "cccc1111bbbb2222", EnvRef: shop, Service: "web", Slot: 2, Release: 4, Node: "n1", CreatedAt: ago(50 * time.Hour)}, Status: api.TaskStatus{State: api.TaskReady, Unhealthy: true, Message: "GET /healthz answered 500"}},
		{Task: api.Task{ID: "dddd1111bbbb2222", EnvRef: shop, Service: "worker", Slot: 1, Release: 4, CreatedAt: ago(3 * time.Second), Reason: "no node fits: 1 lacks memory"}},
		{Task: api.Task{ID: "eeee1111bbbb2222", EnvRef: shop, Service: "worker", Slot: 2, Release: 4, Node: "n1", CreatedAt: ago(time.Minute)}, Status: api.TaskStatus{State: api.TaskFailed, Cause: api.CauseExit, ExitCode: &one}},
	}
	f.on("GET /apps", []api.EnvironmentStatus{other, status})
	f.on("GET /apps/shop/envs/production", status)
	f.on("GET /apps/shop/envs/production/tasks", tasks)
	f.on("GET /apps/shop/envs/production/releases", []api.Release{
		{EnvRef: shop, Number: 5, CreatedAt: ago(3 * time.Hour), CreatedBy: "ann", Commit: "1a2b3c4d5e6f7a8b9c", Message: "try it"},
		{EnvRef: shop, Number: 4, CreatedAt: ago(72 * time.Hour), CreatedBy: "root", From: &api.Origin{Env: "staging", Release: 2}},
	})
	f.on("GET /apps/shop/envs/production/deployments", []api.Deployment{done, back})
	f.on("GET /apps/shop/envs/production/deployments/6", back)
	f.on("GET /apps/shop/envs/production/deployments/9", &api.Error{Kind: api.NotFound, Message: "shop/production has no deployment 9"})
	f.on("GET /nodes", []api.Node{
		{Name: "n1", OS: "linux", Arch: "amd64", CPUMilli: 2000, Memory: 4 << 30, Version: "1.2.3", Address: "10.0.0.1", SeenAt: ago(time.Second),
			Problems: []string{"little disk space is left for /var/lib/ikada; free some there, or run `ikada prune --all`"}},
		{Name: "n2", OS: "linux", Arch: "arm64", CPUMilli: 1500, Memory: 1 << 30, Version: "1.2.2", Address: "10.0.0.2", SeenAt: ago(time.Hour), Down: true},
	})
	f.on("GET /tokens", []api.TokenView{
		{Name: "ci", User: "ci", Grants: api.Grants{{Role: api.RoleDeploy, Scope: "shop/staging"}, {Role: api.RoleView, Scope: "shop/*"}}, CreatedAt: ago(time.Hour), OldUntil: noon.Add(time.Hour)},
		{Name: "laptop", User: "ann", Grants: api.Grants{{Role: api.RoleAdmin, Scope: "*"}}, CreatedAt: ago(time.Hour), ExpiresAt: noon.Add(time.Hour)},
		{Name: "old", User: "bob", Grants: api.Grants{{Role: api.RoleView, Scope: "*"}}, CreatedAt: ago(50 * time.Hour), ExpiresAt: noon}})
	f.on("GET /hooks", []api.HookView{
		{Hook: api.Hook{Name: "chat", Host: "https://hooks.slack.com", Format: api.HookSlack, On: []string{"failure", "rollback"}, Scope: "shop/production"}, State: api.HookState{Delivered: 1234}},
		{Hook: api.Hook{Name: "ci", Host: "http://10.0.0.7:8080", Format: api.HookJSON, On: api.HookHappenings, Scope: "*/*"}, State: api.HookState{Attempts: 3, NextAt: noon.Add(time.Minute), Problem: "it answered 503", Dropped: 1}}})
	f.on("POST /hooks", api.NewHook{Hook: api.Hook{Name: "chat"}, Secret: "ikh_secret"})
	f.on("POST /hooks/chat/test", api.HookResult{Status: 200, Took: api.Duration(45 * time.Millisecond)})
	f.on("POST /hooks/ci/test", api.HookResult{Problem: "connection refused"})
	f.on("DELETE /hooks/chat", struct{}{})
	f.on("GET /audit", []api.AuditRecord{
		{Time: ago(time.Hour), User: "root", Remote: "uid 0, process 4711", Operation: "deploy", Object: "shop/production", Result: "ok", Status: 202, Request: "a1"},
		{Time: ago(time.Minute), User: "ann", Token: "laptop", Grants: "view on shop/*", Remote: "10.0.0.9", Operation: "exec", Object: "shop/production task aaaa\x1b[2J", Result: "forbidden", Status: 403, Request: "a2"}})
	f.on("GET /whoami", api.Identity{User: "ann", Token: "laptop", Grants: api.Grants{{Role: api.RoleAdmin, Scope: "*"}}, ExpiresAt: noon.Add(time.Hour)})
	f.on("POST /tokens/ci/rotate", api.NewToken{TokenView: api.TokenView{Name: "ci"}, Secret: "ikada_second"})
	f.on("POST /tokens", api.NewToken{TokenView: api.TokenView{Name: "ci"}, Secret: "ikada_secret"})
	f.on("DELETE /tokens/ci", struct{}{})
	f.on("GET /credentials", []api.Credential{{Host: "ghcr.io", Username: "acme", UpdatedAt: ago(time.Hour)}})
	f.on("PUT /credentials/ghcr.io", api.Credential{Host: "ghcr.io", Username: "acme"})
	f.on("DELETE /credentials/ghcr.io", struct{}{})
	f.on("POST /prune", api.PruneReport{Items: []api.PruneItem{{Kind: "image", Name: "a/b@sha256:00112233445566778899", Bytes: 5 << 20}, {Kind: "log", Name: "dddd"}}, Bytes: 5 << 20})
	f.on("PUT /apps/shop/envs/production/lock", api.Lock{EnvRef: shop, Holder: "ann", Why: "the database moves", ExpiresAt: noon.Add(2 * time.Hour)})
	f.on("DELETE /apps/shop/envs/production/lock", struct{}{})
	f.on("GET /version", api.Version{Version: "1.2.4", Node: "n1"})
	f.on("POST /apps/shop/envs/production/scale", api.Environment{EnvRef: shop})
	f.on("POST /apps/shop/envs/production/down", api.Environment{EnvRef: shop})
	f.on("POST /apps/shop/envs/production/up", api.Environment{EnvRef: shop})
	f.on("POST /apps/shop/envs/production/deployments/7/cancel", &api.Error{Kind: api.Conflict, Message: "deployment 7 has succeeded"})
	f.stream("GET /events", false,
		api.Event{ID: "1", Time: ago(time.Hour), EnvRef: shop, Service: "web", Level: api.LevelError, Message: "web.1 exited\x1b[2J with code 1."},
		api.Event{ID: "2", Time: ago(time.Minute), Node: "n2", Level: api.LevelWarn, Message: "n2 is down."},
		api.Event{ID: "3", Time: ago(time.Second), EnvRef: shop, Message: "shop/production was unlocked by ann"})
	f.stream("GET /apps/shop/envs/production/logs", false,
		api.LogLine{Time: ago(time.Minute), Stream: "stdout", Service: "web", Slot: 1, Text: "GET / 200"},
		api.LogLine{Time: ago(time.Second), Stream: "stderr", Service: "worker", Slot: 2, Text: "out of \"luck\""},
		api.LogLine{Time: ago(time.Second), Stream: "stdout", Service: "web", Slot: 1, Task: "aaaa", Text: "a line in ", Partial: true},
		api.LogLine{Time: ago(time.Second), Stream: "stdout", Service: "web", Slot: 1, Task: "aaaa", Text: "two pieces"},
		api.LogLine{Time: ago(time.Second), Stream: "stdout", Service: "web", Slot: 1, Task: "aaaa", Text: "one that another ", Partial: true},
		api.LogLine{Time: ago(time.Second), Stream: "stderr", Service: "web", Slot: 1, Task: "aaaa", Text: "comes between"},
		api.LogLine{Time: ago(time.Second), Stream: "stdout", Service: "web", Slot: 1, Task: "aaaa", Text: "and that never ends", Partial: true})
	f.on("GET /apps/shop/envs/production/traffic", traffic())
	settled := api.SettingsResponse{Deployment: &api.DeployResponse{Release: 6, Deployment: &api.Deployment{EnvRef: shop, Number: 8, To: 6}}}
	f.on("GET /apps/shop/envs/production/secrets", []api.SecretView{
		{Name: "db-url", Version: "0123456789abcdef", UpdatedAt: ago(time.Hour), UpdatedBy: "ann", Services: []string{"web", "worker"}, Pending: true},
		{Name: "key", Version: "fedcba9876543210", InFile: true, Services: []string{"web"}}})
	f.on("PUT /apps/shop/envs/production/secrets/db-url", settled)
	f.on("PUT /apps/shop/envs/production/secrets/kept", api.SettingsResponse{Warnings: []string{"shop/production is down: this counts from its next deploy on"}})
	f.on("DELETE /apps/shop/envs/production/secrets/db-url", struct{}{})
	f.on("POST /apps/shop/envs/production/secrets/db-url/reveal", api.SecretValue{Name: "db-url", Value: []byte("postgres://in-the-clear")})
	f.on("POST /secrets/rotate-key", api.KeyRotation{Secrets: 3, Credentials: 1, Hooks: 2})
	f.on("GET /apps/shop/envs/production/config", []api.VariableView{{Name: "A", Value: "1"}, {Service: "web", Name: "A", Value: "x\x1b[2J", Pending: true}})
	f.on("POST /apps/shop/envs/production/config", settled)
	staging := api.EnvRef{App: "shop", Env: "staging"}
	f.on("GET /apps/shop/envs/production/diff", api.Diff{From: api.Origin{Env: "production", Release: 4}, To: api.Origin{Env: "staging", Release: 2}, Changes: []api.Change{
		{Field: "services.web.env.A", To: "1"}, {Field: "services.web.env.B", From: "x\x1b[2J"}, {Field: "services.web.image", From: "web:1", To: "web:2"}}})
	f.on("POST /apps/shop/envs/staging", api.CreateEnvironmentResponse{Environment: api.Environment{EnvRef: staging}, From: &api.Origin{Env: "production", Release: 4},
		Deployment: &api.DeployResponse{Release: 1, Deployment: &api.Deployment{EnvRef: staging, Number: 1, To: 1}, Warnings: []string{"volume data is external: production and staging share its data"}}})
	f.on("POST /apps/shop/envs/empty", api.CreateEnvironmentResponse{Environment: api.Environment{EnvRef: api.EnvRef{App: "shop", Env: "empty"}}})
	f.on("PUT /apps/shop/envs/staging/ttl", api.Environment{EnvRef: staging, ExpiresAt: noon.Add(72 * time.Hour)})
	f.on("GET /apps/shop/envs/staging", api.EnvironmentStatus{Environment: api.Environment{EnvRef: staging}})
	f.on("POST /apps/shop/envs/production/promote", api.PromoteResponse{From: api.Origin{Env: "staging", Release: 3}, Changes: []api.Change{{Field: "services.web.image", From: "web:1", To: "web:2"}},
		DeployResponse: api.DeployResponse{Release: 6, Deployment: &api.Deployment{EnvRef: shop, Number: 8, To: 6}, Warnings: []string{"release 3 of staging has no service worker: it stays as it is"}}})
	f.on("GET /apps/shop/envs/production/failures", failures())
	return f
}
