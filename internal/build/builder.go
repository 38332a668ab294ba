package build

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"

	"github.com/ikada/ikada/api"
)

// sessionTimeout is how long a build waits for its client's session to connect.
const sessionTimeout = 10 * time.Second

// statusTimeout bounds the wait for the last progress of a build that has ended.
const statusTimeout = 2 * time.Second

var (
	errClientGone = errors.New("the client disconnected")
	errClosed     = errors.New("the builder was closed")
)

// Builder builds images. Safe for concurrent use.
type Builder struct {
	cfg      Config
	cage     *cage
	sessions *session.Manager
	turns    *turns

	mu      sync.Mutex
	engine  *engine // nil until the first build
	closing bool
}

// New makes a Builder and the cgroup of its steps. BuildKit is opened by the first call that needs it.
func New(_ context.Context, cfg Config) (*Builder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Root, 0o700); err != nil {
		return nil, fmt.Errorf("make build directory: %w", err)
	}
	// What a killed process left of steps' hosts files.
	if err := os.RemoveAll(filepath.Join(cfg.Root, "hosts")); err != nil {
		return nil, fmt.Errorf("clear build directory: %w", err)
	}
	sessions, err := session.NewManager()
	if err != nil {
		return nil, fmt.Errorf("make session manager: %w", err)
	}
	cage, err := newCage(cfg)
	if err != nil {
		return nil, err
	}
	return &Builder{cfg: cfg, cage: cage, sessions: sessions, turns: newTurns(cfg.MaxParallel)}, nil
}

// Close ends running builds and closes BuildKit. Sessions end with their connections.
func (b *Builder) Close() error {
	b.mu.Lock()
	b.closing = true
	e := b.engine
	b.mu.Unlock()
	if e != nil {
		e.cancel(errClosed)
		b.retire(e)
		<-e.gone
	}
	return b.cage.close()
}

// Session takes over an HTTP/1.1 request that asks to be upgraded to "h2c" and serves the client's session on its
// connection until either end closes it; the protocol is that of Docker's POST /session. Whoever calls it has
// checked that the client may build.
func (b *Builder) Session(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "h2c" || r.Header.Get("X-Docker-Expose-Session-Uuid") == "" {
		http.Error(w, "expected a build session: an upgrade to h2c with a session ID", http.StatusBadRequest)
		return
	}
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		http.Error(w, "a build session needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	ctx, lost := context.WithCancel(quietly(r.Context(), b.cfg.Log))
	defer lost()
	if err := b.sessions.HandleHTTPRequest(ctx, &hijacked{ResponseWriter: w, Hijacker: hijacker, lost: lost}, r); err != nil {
		b.cfg.Log.Warn("build session refused", "error", err)
		http.Error(w, "build session refused: "+err.Error(), http.StatusConflict)
	}
}

// Build makes the image of a service and gives its pinned name, "ikada.local/<app>/<service>@sha256:…"; the image is
// unpacked in the runtime's store. It blocks until the build has ended; ctx, or the end of the client's session, ends
// it early. events gets the progress, one event at a time, the last with Image or Error; it may be nil.
//
// Errors are of kind Invalid (the request, the Dockerfile or a step in it is wrong), NotFound or Unauthorized (a base
// image), Forbidden, Exhausted (memory, disk), Unavailable or Timeout.
func (b *Builder) Build(ctx context.Context, req api.BuildRequest, events func(api.BuildEvent)) (string, error) {
	if events == nil {
		events = func(api.BuildEvent) {}
	}
	image, err := b.build(ctx, req, events)
	if err != nil {
		known, ok := errors.AsType[*api.Error](err)
		if !ok {
			err = api.Errorf(api.Internal, "build %s: %w", req.Service, err)
			known, _ = errors.AsType[*api.Error](err)
		}
		events(api.BuildEvent{Error: known})
		return "", err
	}
	events(api.BuildEvent{Image: image})
	return image, nil
}

func (b *Builder) build(ctx context.Context, req api.BuildRequest, events func(api.BuildEvent)) (string, error) {
	plan, err := planOf(req, b.cfg)
	if err != nil {
		return "", err
	}
	for _, w := range plan.warnings {
		events(api.BuildEvent{Log: "warning: " + w})
	}
	ctx, cancel := context.WithCancelCause(quietly(ctx, b.cfg.Log))
	defer cancel(nil)
	gone, err := b.follow(ctx, req.Session)
	if err != nil {
		return "", err
	}
	defer context.AfterFunc(gone, func() { cancel(errClientGone) })()
	if err := b.queue(ctx, req.EnvRef, events); err != nil {
		return "", stopped(ctx, err)
	}
	defer b.turns.release(req.EnvRef)
	e, err := b.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer b.release(e)
	defer context.AfterFunc(e.ctx, func() { cancel(context.Cause(e.ctx)) })()

	progress := newProgress(events)
	digest, err := e.solve(ctx, plan, req.Session, progress)
	if err != nil {
		return "", failure(ctx, err, progress)
	}
	image := plan.repository + "@" + digest
	if err := e.mark(ctx, b.cfg.Namespace, req.EnvRef, image, Latest(req.EnvRef, req.Service)); err != nil {
		return "", api.Errorf(api.Unavailable, "keep image %s: %w", image, err)
	}
	return image, nil
}

// follow waits for the client's session and gives a context that ends with it.
func (b *Builder) follow(ctx context.Context, id string) (context.Context, error) {
	wait, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	caller, err := b.sessions.Get(wait, id, false)
	if err != nil {
		return nil, api.Errorf(api.Unavailable, "wait for build session %s: the client has not connected it", id)
	}
	return caller.Context(context.WithoutCancel(ctx)), nil
}

// queue waits for a place to build, and says so when there is none.
func (b *Builder) queue(ctx context.Context, env api.EnvRef, events func(api.BuildEvent)) error {
	const step = "waiting for other builds"
	var began time.Time
	err := b.turns.take(ctx, env, func(running, ahead int) {
		began = time.Now()
		events(api.BuildEvent{Step: step, Started: true, Log: fmt.Sprintf("builds running: %d, waiting before this one: %d", running, ahead)})
	})
	if err == nil && !began.IsZero() {
		events(api.BuildEvent{Step: step, Done: true, Took: api.Duration(time.Since(began))})
	}
	return err
}

// acquire gives the engine, opened if need be; release it after use.
func (b *Builder) acquire(ctx context.Context) (*engine, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if b.closing {
			return nil, api.Errorf(api.Unavailable, "open BuildKit: %w", errClosed)
		}
		e := b.engine
		if e == nil {
			var err error
			if e, err = b.openEngine(ctx); err != nil {
				return nil, err
			}
			b.engine = e
		}
		if e.ctx.Err() == nil {
			e.users++
			return e, nil
		}
		// Its last user closes it; two engines cannot have the same files open.
		b.mu.Unlock()
		select {
		case <-e.gone:
		case <-ctx.Done():
		}
		b.mu.Lock()
		if ctx.Err() != nil {
			return nil, stopped(ctx, ctx.Err())
		}
	}
}

func (b *Builder) release(e *engine) {
	b.mu.Lock()
	e.users--
	b.mu.Unlock()
	b.retire(e)
}

// retire closes an engine whose connection is lost, or that was closed, if nobody uses it any more.
func (b *Builder) retire(e *engine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.engine != e || e.ctx.Err() == nil || e.users > 0 {
		return
	}
	if err := e.close(); err != nil {
		b.cfg.Log.Warn("BuildKit closed with errors", "error", err)
	}
	b.engine = nil
}

// solve runs one build and gives the digest of its image.
func (e *engine) solve(ctx context.Context, p *plan, sessionID string, progress *progress) (string, error) {
	ref := identity.NewID()
	statusCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	told := make(chan struct{})
	go func() {
		defer close(told)
		// An error only says that there is no more to tell; the build's own error is Solve's.
		_ = e.control.Status(&controlapi.StatusRequest{Ref: ref}, &statusStream{stream: stream{ctx: statusCtx}, progress: progress})
	}()
	res, err := e.control.Solve(ctx, &controlapi.SolveRequest{
		Ref:           ref,
		Session:       sessionID,
		Frontend:      "dockerfile.v0",
		FrontendAttrs: p.attrs,
		Exporters:     []*controlapi.Exporter{{Type: "image", Attrs: p.export}},
		Entitlements:  p.entitlements,
	})
	timer := time.NewTimer(statusTimeout)
	defer timer.Stop()
	select {
	case <-told:
	case <-timer.C:
		cancel()
		<-told
	}
	if err != nil {
		return "", err
	}
	digest := res.ExporterResponse[exptypes.ExporterImageDigestKey]
	if digest == "" {
		return "", errors.New("BuildKit gave no image digest")
	}
	return digest, nil
}
