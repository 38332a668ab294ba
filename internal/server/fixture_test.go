package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/server"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
)

var shop = api.EnvRef{App: "shop", Env: "production"}

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// bench is a server on a store in memory, with fakes for everything else, behind a real HTTP connection.
type bench struct {
	t      *testing.T
	store  store.Store
	key    *auth.Key
	server *server.Server
	local  *httptest.Server // as over the unix socket
	remote *httptest.Server // as over TCP
	client *client.Client   // local

	images    *fakeImages
	build     *fakeBuilder
	tasks     *fakeTasks
	seen      *fakeTraffic
	metrics   *fakeMetrics
	audit     *fakeAudit
	hooks     *fakeHooks
	rehearser *fakeRehearser
	pruned    *api.PruneReport
	stops     int
	asked     string // the query of the last request to the registry
	log       *syncBuffer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, store: mem.New(0), images: &fakeImages{}, build: &fakeBuilder{}, tasks: &fakeTasks{logs: map[string][]api.LogLine{}}, seen: &fakeTraffic{}, metrics: &fakeMetrics{}, audit: &fakeAudit{}, hooks: &fakeHooks{}, rehearser: &fakeRehearser{}, log: &syncBuffer{}}
	key, err := auth.LoadKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b.key = key
	b.server, err = server.New(server.Deps{
		Version: api.Version{Version: "1.2.3", Node: "n1"}, Store: b.store, Key: key,
		Log:    slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Images: b.images, Builder: b.build, Tasks: b.tasks, Traffic: b.seen, Metrics: b.metrics, Rehearser: b.rehearser, Housekeeper: b, Signer: auth.NewSigner(make([]byte, 32)), Audit: b.audit, Hooks: b.hooks, Shutdown: func() { b.stops++ },
		Registry: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.asked = r.URL.RawQuery
			_, _ = io.WriteString(w, "registry")
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.local = httptest.NewServer(b.server.Handler(true))
	b.remote = httptest.NewServer(b.server.Handler(false))
	b.client, err = client.New(b.local.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.server.EndStreams()
		b.client.Close()
		b.local.Close()
		b.remote.Close()
	})
	return b
}

// bare gives a client of a server on the same store that has none of the other parts.
func (b *bench) bare() *client.Client {
	b.t.Helper()
	s, err := server.New(server.Deps{Store: b.store, Key: b.key, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	ts := httptest.NewServer(s.Handler(true))
	b.t.Cleanup(ts.Close)
	c, err := client.New(ts.URL, "")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// Prune makes the bench its own housekeeper.
func (b *bench) Prune(_ context.Context, req api.PruneRequest) (api.PruneReport, error) {
	if req.All {
		panic("a defect")
	}
	if b.pruned == nil {
		return api.PruneReport{}, api.Errorf(api.Unavailable, "prune: busy")
	}
	r := *b.pruned
	if req.DryRun {
		r.Bytes = 0
	}
	return r, nil
}

func (b *bench) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	b.t.Cleanup(cancel)
	return ctx
}

// spec is a small valid app of one service.
func spec(change ...func(*api.AppSpec)) api.AppSpec {
	s := api.AppSpec{App: shop.App, Env: shop.Env, Services: map[string]api.ServiceSpec{
		"web": {Image: "registry.test/web:1", Replicas: 2, Ports: []api.PortSpec{{Published: 18080, Target: 8080}}},
	}}
	for _, c := range change {
		c(&s)
	}
	return s
}

// inEnv moves a spec to another environment and frees its port.
func inEnv(ref api.EnvRef, port uint16) func(*api.AppSpec) {
	return func(s *api.AppSpec) {
		s.App, s.Env = ref.App, ref.Env
		web := s.Services["web"]
		web.Ports = []api.PortSpec{{Published: port, Target: 8080}}
		s.Services["web"] = web
	}
}

func image(ref string) func(*api.AppSpec) {
	return func(s *api.AppSpec) {
		web := s.Services["web"]
		web.Image = ref
		s.Services["web"] = web
	}
}

// deploy deploys and fails the test when that is refused.
func (b *bench) deploy(req api.DeployRequest) api.DeployResponse {
	b.t.Helper()
	resp, err := b.client.Deploy(b.ctx(), req)
	if err != nil {
		b.t.Fatalf("deploy: %v", err)
	}
	return resp
}

// finish ends a deployment as the control loop would.
func (b *bench) finish(ref api.EnvRef, number uint64, state api.DeploymentState) {
	b.t.Helper()
	b.update(func(tx store.Tx) error {
		d, err := store.Get[api.Deployment](tx, store.DeploymentKey(ref, number))
		if err != nil {
			return err
		}
		d.State = state
		if err := store.Put(tx, store.DeploymentKey(ref, number), d); err != nil {
			return err
		}
		if state != api.DeploySucceeded {
			return nil
		}
		env, err := store.Get[api.Environment](tx, store.EnvironmentKey(ref))
		if err != nil {
			return err
		}
		env.Release = d.To
		return store.Put(tx, store.EnvironmentKey(ref), env)
	})
}

// deployed deploys and brings it to success.
func (b *bench) deployed(req api.DeployRequest) api.DeployResponse {
	b.t.Helper()
	resp := b.deploy(req)
	b.finish(api.EnvRef{App: req.Spec.App, Env: req.Spec.Env}, resp.Deployment.Number, api.DeploySucceeded)
	return resp
}

func (b *bench) update(fn func(tx store.Tx) error) {
	b.t.Helper()
	if _, err := b.store.Update(b.ctx(), fn); err != nil {
		b.t.Fatalf("update store: %v", err)
	}
}

func (b *bench) put(key string, v any) {
	b.t.Helper()
	b.update(func(tx store.Tx) error { return store.Put(tx, key, v) })
}

// dump gives everything in the store as text.
func (b *bench) dump() string {
	b.t.Helper()
	var out strings.Builder
	_, err := b.store.View(b.ctx(), func(tx store.Tx) error {
		entries, err := tx.List(store.Root)
		for _, e := range entries {
			fmt.Fprintf(&out, "%s %d %s\n", e.Key, e.Rev, e.Value)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out.String()
}

func get[T any](b *bench, key string) *T {
	b.t.Helper()
	var v *T
	_, err := b.store.View(b.ctx(), func(tx store.Tx) (err error) {
		v, err = store.Find[T](tx, key)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// eventTypes gives the types of all events, oldest first.
func (b *bench) eventTypes() []string {
	b.t.Helper()
	var types []string
	err := b.client.Events(b.ctx(), api.EventQuery{}, func(e api.Event) error {
		types = append(types, e.Type)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return types
}

// send makes a raw request to the local server.
func (b *bench) send(method, path, contentType, body string) (int, server.Problem, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.ctx(), method, b.local.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	var p server.Problem
	_ = json.Unmarshal(text, &p) // what is no problem stays empty
	return resp.StatusCode, p, string(text)
}

func wantKind(t *testing.T, err error, kind api.Kind, parts ...string) {
	t.Helper()
	if !api.IsKind(err, kind) {
		t.Fatalf("error %v of kind %q, expected kind %q", err, api.KindOf(err), kind)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not mention %q", err, p)
		}
	}
}

// syncBuffer is a buffer for logs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// fakeImages knows every image but those whose name tells otherwise.
type fakeImages struct {
	mu     sync.Mutex
	expose []uint16
	health *api.HealthSpec
	signal string
	asked  []string
}

func (f *fakeImages) Resolve(_ context.Context, ref, policy string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, ref+" "+policy)
	switch {
	case strings.Contains(ref, "missing"):
		return "", api.Errorf(api.NotFound, "manifest unknown")
	case strings.Contains(ref, "private"):
		return "", api.Errorf(api.Unauthorized, "the registry wants a login")
	case strings.Contains(ref, "@sha256:"):
		return ref, nil
	}
	return ref + digest, nil
}

func (f *fakeImages) Config(context.Context, string) (api.ImageConfig, error) {
	return api.ImageConfig{Health: f.health, Expose: f.expose, StopSignal: f.signal}, nil
}

// fakeBuilder builds whatever it is asked to.
type fakeBuilder struct{ started chan struct{} }

func (f *fakeBuilder) Build(ctx context.Context, req api.BuildRequest, progress func(api.BuildEvent)) (string, error) {
	progress(api.BuildEvent{Step: "FROM scratch", Started: true})
	switch req.Spec.Target {
	case "broken":
		return "", api.Errorf(api.Invalid, "build %s: RUN exited 1", req.Service)
	case "forever":
		close(f.started)
		<-ctx.Done()
		return "", ctx.Err()
	}
	return "localhost/" + req.Service + digest, nil
}

func (f *fakeBuilder) App(tag string) (string, bool) {
	path, own := strings.CutPrefix(tag, "ikada.local/")
	app, _, _ := strings.Cut(path, "/")
	return app, own
}

func (f *fakeBuilder) Session(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\nhello %s\n",
		r.Header.Get("Upgrade"), r.Header.Get("X-Docker-Expose-Session-Uuid"))
	_ = rw.Flush()
	line, err := rw.ReadString('\n')
	if err == nil {
		_, _ = io.WriteString(conn, "echo "+line)
	}
}

// asleep starts a command that ends only when it is killed, and returns once it runs.
func (b *bench) asleep(ctx context.Context, c *client.Client) <-chan error {
	b.t.Helper()
	b.tasks.killed = make(chan struct{})
	done := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		_, err := c.Exec(ctx, api.ExecRequest{Task: "aaa111", Command: []string{"sleep"}}, client.ExecStreams{Stdout: firstWrite{started}})
		done <- err
	}()
	select {
	case <-started:
	case err := <-done:
		b.t.Fatalf("exec: %v", err)
	}
	return done
}

// firstWrite closes a channel when it is written to, once.
type firstWrite struct{ began chan struct{} }

func (w firstWrite) Write(p []byte) (int, error) {
	close(w.began)
	return len(p), nil
}

// fakeTasks keeps logs and runs a few commands.
type fakeTasks struct {
	mu     sync.Mutex
	logs   map[string][]api.LogLine
	live   map[string]chan api.LogLine // followed after logs
	killed chan struct{}
}

func (f *fakeTasks) Logs(ctx context.Context, task string, q server.LogQuery) (server.LogReader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines, ok := f.logs[task]
	if !ok {
		return nil, api.Errorf(api.NotFound, "task %s has no log", task)
	}
	var kept []api.LogLine
	for _, l := range lines {
		if !l.Time.Before(q.Since) {
			kept = append(kept, l)
		}
	}
	if q.Tail >= 0 && len(kept) > q.Tail {
		kept = kept[len(kept)-q.Tail:]
	}
	r := &fakeLog{ctx: ctx, lines: kept}
	if q.Follow {
		r.live = f.live[task]
	}
	return r, nil
}

type fakeLog struct {
	ctx   context.Context
	lines []api.LogLine
	live  chan api.LogLine
}

func (l *fakeLog) Next() (api.LogLine, error) {
	if len(l.lines) > 0 {
		line := l.lines[0]
		l.lines = l.lines[1:]
		return line, nil
	}
	if l.live == nil {
		return api.LogLine{}, io.EOF
	}
	select {
	case line := <-l.live:
		return line, nil
	case <-l.ctx.Done():
		return api.LogLine{}, l.ctx.Err()
	}
}

func (l *fakeLog) Close() error { return nil }

func (f *fakeTasks) Exec(ctx context.Context, _ string, x server.Exec) (int, error) {
	if x.Held {
		_, _ = io.WriteString(x.Stdout, "held ")
		in := make([]byte, 5)
		if _, err := io.ReadFull(x.Stdin, in); err != nil || string(in) != "held " {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		_, _ = io.WriteString(x.Stdout, "back")
		return 9, nil
	}
	switch x.Request.Command[0] {
	case "cat":
		_, err := io.Copy(x.Stdout, x.Stdin)
		return 0, err
	case "fail":
		_, _ = io.WriteString(x.Stderr, "no such thing\n")
		return 3, nil
	case "absent":
		return 0, api.Errorf(api.NotFound, "exec: no program absent in the container")
	case "size":
		for range 2 {
			w := <-x.Resize
			_, _ = fmt.Fprintf(x.Stdout, "%dx%d\n", w.Rows, w.Cols)
		}
		_, _ = fmt.Fprintf(x.Stdout, "%s\n", <-x.Signals)
		return 130, nil
	case "sleep":
		_, _ = io.WriteString(x.Stdout, "asleep")
		<-ctx.Done()
		close(f.killed)
		return 0, ctx.Err()
	}
	return 127, nil
}
