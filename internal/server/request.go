package server

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	maxBody       = 8 << 20          // bytes of a JSON body
	bodyTimeout   = time.Minute      // for a body to arrive
	requestIDKey  = "X-Request-Id"   // header of every answer
	answerTimeout = time.Minute      // for a JSON answer to be taken
	writeTimeout  = 10 * time.Second // for one piece of a stream; a client that is slower is cut off
)

// Caller is who a request came from.
type Caller struct {
	Name      string // the user: "root" on the unix socket
	Token     string // the token's name; "" on the unix socket
	Local     bool   // on the unix socket
	Grants    api.Grants
	Outdated  bool      // the token's secret has been replaced
	ExpiresAt time.Time // when it ends to let in; zero: never
}

// request is what the server knows of the request under way.
type request struct {
	id      string
	caller  Caller
	lock    string // the session's lock that it runs under, as api.Lock.Pass gives it
	control *http.ResponseController

	operation string // to be recorded in the audit log; "" is not
	object    string // what it is about
}

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{}
}

func callerOf(ctx context.Context) Caller { return requestOf(ctx).caller }

// observe gives each request an ID, logs those that change something or fail, and turns a panic into an Internal
// error. Serve joins on everything that passed here.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.active.Add(1)
		defer s.active.Done()
		began := time.Now()
		out := &answer{ResponseWriter: w}
		req := &request{id: newRequestID(), lock: r.Header.Get(api.LockHeader), control: http.NewResponseController(w)}
		out.begins = func(status int) { s.record(req, remoteOf(r), status) }
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
		out.Header().Set(requestIDKey, req.id)
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // the value itself is the convention of net/http
					panic(p)
				}
				s.log.Error("panic in a request", "request", req.id, "method", r.Method, "path", r.URL.Path,
					"panic", p, "stack", string(debug.Stack()))
				if !out.started() {
					writeProblem(out, problemOf(api.Errorf(api.Internal, "the server failed; its log tells more under request %s", req.id)))
				}
			}
			level := slog.LevelDebug
			switch {
			case out.status >= 500:
				level = slog.LevelError
			case r.Method != http.MethodGet && r.Method != http.MethodHead && out.status < 400:
				level = slog.LevelInfo
			}
			s.log.Log(r.Context(), level, "request", "request", req.id, "method", r.Method, "path", r.URL.Path,
				"status", out.status, "caller", req.caller.Name, "took", time.Since(began))
		}()
		next.ServeHTTP(out, r)
		if out.status != http.StatusSwitchingProtocols {
			_ = req.control.SetWriteDeadline(time.Time{}) // the connection may serve other requests
		}
	})
}

func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// answer remembers the status of a response.
type answer struct {
	http.ResponseWriter
	status int              // 0 until it is written
	begins func(status int) // called before the answer begins; may be nil
}

func (a *answer) started() bool { return a.status != 0 }

// begin notes the status of an answer before anything of it is sent.
func (a *answer) begin(status int) {
	if a.status != 0 {
		return
	}
	a.status = status
	if a.begins != nil {
		a.begins(status)
	}
}

// WriteHeader notes the status.
func (a *answer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		a.begin(status)
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write begins an answer of status 200, if none was given.
func (a *answer) Write(b []byte) (int, error) {
	a.begin(http.StatusOK)
	return a.ResponseWriter.Write(b)
}

// Flush sends what was written.
func (a *answer) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }

// Hijack hands the connection over.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err == nil {
		a.begin(http.StatusSwitchingProtocols)
	}
	return conn, rw, err
}

// Unwrap lets http.ResponseController reach the connection's deadlines.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
