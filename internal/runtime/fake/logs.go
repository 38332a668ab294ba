package fake

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
)

// Logs opens a log.
func (r *Runtime) Logs(ctx context.Context, id string, q agent.LogQuery) (agent.LogReader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, ok := r.logs[id]
	if !ok {
		return nil, api.Errorf(api.NotFound, "read log of container %s: there is none", id)
	}
	at := 0
	if q.Tail >= 0 {
		end := len(l.records)
		if !q.Until.IsZero() {
			end = slices.IndexFunc(l.records, func(rec agent.LogRecord) bool { return rec.Time.After(q.Until) })
			if end < 0 {
				end = len(l.records)
			}
		}
		at = max(0, end-q.Tail)
	}
	return &reader{r: r, ctx: ctx, log: l, at: at, q: q}, nil
}

// RemoveLogs forgets a log.
func (r *Runtime) RemoveLogs(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l, ok := r.logs[id]; ok {
		l.closed = true
		delete(r.logs, id)
		r.wake()
	}
	return nil
}

// SweepLogs forgets the logs that are not kept.
func (r *Runtime) SweepLogs(ctx context.Context, keep func(id string) bool) error {
	r.mu.Lock()
	ids := slices.Collect(maps.Keys(r.logs))
	r.mu.Unlock()
	for _, id := range ids {
		if !keep(id) {
			_ = r.RemoveLogs(ctx, id) // never fails
		}
	}
	return nil
}

// print appends a record. The lock is held.
func (r *Runtime) print(id, stream, text string) {
	if l, ok := r.logs[id]; ok && !l.closed {
		l.records = append(l.records, agent.LogRecord{Time: time.Now(), Stream: stream, Text: text})
		r.wake()
	}
}

// wake wakes every reader that waits. The lock is held.
func (r *Runtime) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

type reader struct {
	r   *Runtime
	ctx context.Context
	log *log
	at  int
	q   agent.LogQuery
}

func (l *reader) Next() (agent.LogRecord, error) {
	for {
		l.r.mu.Lock()
		if l.at < len(l.log.records) {
			rec := l.log.records[l.at]
			l.at++
			l.r.mu.Unlock()
			if rec.Time.Before(l.q.Since) {
				continue
			}
			if !l.q.Until.IsZero() && rec.Time.After(l.q.Until) {
				return agent.LogRecord{}, io.EOF
			}
			return rec, nil
		}
		closed, changed := l.log.closed, l.r.changed
		l.r.mu.Unlock()
		if !l.q.Follow || closed || l.ctx.Err() != nil {
			return agent.LogRecord{}, io.EOF
		}
		select {
		case <-changed:
		case <-l.ctx.Done():
		}
	}
}

func (l *reader) Close() error { return nil }

// lineWriter turns a stream into records.
type lineWriter struct {
	r          *Runtime
	id, stream string

	mu   sync.Mutex
	held []byte
}

func (r *Runtime) writer(id, stream string) *lineWriter {
	return &lineWriter{r: r, id: id, stream: stream}
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = append(w.held, b...)
	for {
		line, rest, ok := bytes.Cut(w.held, []byte{'\n'})
		if !ok {
			return len(b), nil
		}
		w.r.Print(w.id, w.stream, string(line))
		w.held = rest
	}
}

// flush writes a last line without its end.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.held) > 0 {
		w.r.Print(w.id, w.stream, string(w.held))
		w.held = nil
	}
}
