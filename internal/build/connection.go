package build

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/moby/buildkit/util/bklog"
	"github.com/sirupsen/logrus"
)

// hijacked is the ResponseWriter of a session. BuildKit learns of a lost client by a health check every few seconds;
// the connection that hijacked hands out says so at once.
type hijacked struct {
	http.ResponseWriter
	http.Hijacker
	lost func()
}

// Hijack implements http.Hijacker.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := h.Hijacker.Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &watchedConn{Conn: conn, lost: h.lost}, rw, nil
}

// watchedConn calls lost when nothing more can be read.
type watchedConn struct {
	net.Conn
	lost func()
}

// Read implements net.Conn.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.lost()
	}
	return n, err
}

// quietly gives a context in which BuildKit's own messages go to log at the debug level: what a user must know of
// them is in a build's events and error.
func quietly(ctx context.Context, log *slog.Logger) context.Context {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetFormatter(&noText{})
	if log.Enabled(ctx, slog.LevelDebug) {
		l.AddHook(debugHook{log})
	}
	return bklog.WithLogger(ctx, logrus.NewEntry(l))
}

// debugHook writes a logrus entry to a slog logger.
type debugHook struct{ log *slog.Logger }

// Levels implements logrus.Hook.
func (debugHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (h debugHook) Fire(e *logrus.Entry) error {
	args := []any{"message", e.Message}
	for k, v := range e.Data {
		args = append(args, k, v)
	}
	h.log.Debug("BuildKit says", args...)
	return nil
}

// noText saves the formatting of what is thrown away.
type noText struct{}

// Format implements logrus.Formatter.
func (noText) Format(*logrus.Entry) ([]byte, error) { return nil, nil }
