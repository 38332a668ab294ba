package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// heartbeat is the longest silence on a stream: it shows both ends that the other is there, and keeps proxies from
// closing the connection.
const heartbeat = 15 * time.Second

// sendFunc runs a stream: it calls send for each piece and returns when all is said. An error of send means that the
// client has gone or reads too slowly; ctx ends with the client and its token, and when the server stops.
type sendFunc func(ctx context.Context, send func(id string, v any) error) error

// serveEvents answers with server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
// A stream that ends by itself says so with an event "end" or "error": one that just stops was cut off, and a
// follower comes back.
func (s *Server) serveEvents(run sendFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := s.guard(r)
		defer cancel()
		e := &eventWriter{w: w, control: http.NewResponseController(w)}
		h := w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		if e.write(": ikada\n\n") != nil {
			return
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			t := time.NewTicker(heartbeat)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-t.C:
					if e.write(":\n\n") != nil {
						cancel()
					}
				}
			}
		})
		err := run(ctx, func(id string, v any) error {
			err := e.send("", id, v)
			if err != nil {
				cancel()
			}
			return err
		})
		gone, barred := ctx.Err() != nil, barred(ctx)
		cancel()
		wg.Wait()
		switch {
		case barred != nil:
			_ = e.send("error", "", errorOf(barred))
		case gone:
		case err != nil:
			p := errorOf(err)
			if p.Kind == api.Internal {
				s.log.Error("stream failed", "request", requestOf(r.Context()).id, "error", err)
			}
			_ = e.send("error", "", p)
		default:
			_ = e.send("end", "", struct{}{})
		}
	}
}

// eventWriter writes events whole, one at a time.
type eventWriter struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
}

func (e *eventWriter) send(name, id string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return api.Errorf(api.Internal, "encode event: %w", err)
	}
	text := ""
	if id != "" {
		text += "id: " + id + "\n"
	}
	if name != "" {
		text += "event: " + name + "\n"
	}
	return e.write(text + "data: " + string(b) + "\n\n")
}

func (e *eventWriter) write(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // recorders of tests have none
	if _, err := e.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("write stream: %w", err)
	}
	if err := e.control.Flush(); err != nil {
		return fmt.Errorf("write stream: %w", err)
	}
	return nil
}
