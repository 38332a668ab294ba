package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
)

// slowWriter is a response whose client takes only the first few writes in time.
type slowWriter struct {
	header http.Header
	mu     sync.Mutex
	b      bytes.Buffer
	left   int
}

func (w *slowWriter) Header() http.Header { return w.header }
func (w *slowWriter) WriteHeader(int)     {}
func (w *slowWriter) Flush()              {}

func (w *slowWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	w.left--
	return w.b.Write(p)
}

func (w *slowWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func streamServer() *Server {
	return &Server{log: slog.New(slog.DiscardHandler), closing: make(chan struct{})}
}

func TestQuietStreamBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &slowWriter{header: http.Header{}, left: 100}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		streamServer().serveEvents(func(ctx context.Context, send func(string, any) error) error {
			time.Sleep(4*heartbeat + time.Second)
			return send("7", "x")
		})(w, r)
		if want := ": ikada\n\n" + strings.Repeat(":\n\n", 4) + "id: 7\ndata: \"x\"\n\nevent: end\ndata: {}\n\n"; w.String() != want {
			t.Errorf("stream %q, expected %q", w, want)
		}
	})
}

func TestSlowClientIsCutOff(t *testing.T) {
	for name, run := range map[string]sendFunc{
		"while it is sent to": func(ctx context.Context, send func(string, any) error) error {
			for {
				if err := send("", "x"); err != nil {
					return err
				}
			}
		},
		"while it is quiet": func(ctx context.Context, _ func(string, any) error) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &slowWriter{header: http.Header{}, left: 3}
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
				streamServer().serveEvents(run)(w, r)
				if strings.Contains(w.String(), "event:") {
					t.Errorf("stream %q", w)
				}
			})
		})
	}
}

func TestStreamTellsItsError(t *testing.T) {
	w := &slowWriter{header: http.Header{}, left: 100}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	streamServer().serveEvents(func(context.Context, func(string, any) error) error {
		return api.Errorf(api.NotFound, "it is gone")
	})(w, r)
	if !strings.Contains(w.String(), "event: error\ndata: {\"kind\":\"not_found\",\"message\":\"it is gone\"}\n\n") {
		t.Errorf("stream %q", w)
	}
}

func TestEveryKindHasItsStatus(t *testing.T) {
	seen := map[int]api.Kind{}
	for _, kind := range []api.Kind{api.Invalid, api.NotFound, api.Conflict, api.Unauthorized, api.Forbidden, api.Exhausted, api.Unavailable, api.Timeout, api.Internal} {
		status := statusOf(kind)
		if other, taken := seen[status]; taken {
			t.Errorf("%s and %s share status %d", kind, other, status)
		}
		seen[status] = kind
	}
	inner := api.FieldError("port", "x", "a number")
	for err, want := range map[error]string{
		inner: `port: "x"; expected a number`,
		errors.Join(errors.New("first"), api.Errorf(api.Conflict, "taken")): "first\ntaken",
		context.DeadlineExceeded: "context deadline exceeded",
	} {
		if p := problemOf(err); p.Detail != want || p.Kind == "" || p.Title == "" {
			t.Errorf("%v: %+v", err, p)
		}
	}
}
