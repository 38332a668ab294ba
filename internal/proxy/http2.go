package proxy

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/internal/proxy/http1"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// stream is the client's side of an exchange that came over HTTP/2, which net/http speaks. The request is written down
// in HTTP/1's form and read again by the same parser, so what HTTP/1 clients cannot say to a target HTTP/2 clients
// cannot either (RFC 9113 section 10.3).
type stream struct {
	w       http.ResponseWriter
	r       *http.Request
	p       *Proxy
	x       exchange
	request http1.Request
	cancel  context.CancelFunc

	mu      sync.Mutex
	up      *upstream // whose answer is waited for
	kicked  bool      // what up waits for was interrupted
	by      time.Duration
	timer   *time.Timer
	rings   time.Duration // when the timer does
	ended   bool          // the client is gone
	in      int64
	out     int64
	writing atomic.Bool // Write or Flush is under way
	broken  bool        // the client must not take the answer for whole
	stall   *time.Timer // runs while more of the body is waited for
	stalled bool        // it has run out
}

// ServeHTTP answers one request.
func (h *http2Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := h.door.proxy
	p.conns.enter()
	defer p.conns.leave()
	if h.door.ending() {
		w.Header().Set("Connection", "close") // in HTTP/2 that becomes a GOAWAY
	}
	s := &stream{w: w, r: r, p: p}
	from, _ := r.Context().Value(clientKey{}).(client)
	s.x.init(p, h.door, s, &from, p.nextShard())
	head := appendRequest(nil, r)
	if err := s.request.Parse(head); err != nil || s.request.Size != len(head) || !sameMeaning(&s.request, r) {
		http.Error(w, "ikada: the request cannot be written in HTTP/1", http.StatusBadRequest)
		p.logRefused(s.x.search.shard, meter.Entry{
			Client: from.name, Method: r.Method, Host: r.Host, Path: r.URL.Path, Proto: "HTTP/2.0",
			Result: meter.Result{Status: http.StatusBadRequest},
		})
		return
	}
	s.x.request = &s.request
	s.x.streams = s.request.Length != 0
	stop := context.AfterFunc(r.Context(), s.leave)
	defer stop()
	s.x.serve()
	s.deadline(0)
	if s.broken {
		panic(http.ErrAbortHandler)
	}
}

// sameMeaning tells whether the request in HTTP/1's form is the one that came: what frames a body here is the stream's
// end, and a path is no absolute URI.
func sameMeaning(h *http1.Request, r *http.Request) bool {
	return h.Length == r.ContentLength && h.Scheme == nil
}

// http2Handler is a door's handler of HTTP/2 requests.
type http2Handler struct{ door *door }

type clientKey struct{}

// appendRequest writes a request down as HTTP/1.1 has it.
func appendRequest(dst []byte, r *http.Request) []byte {
	target := r.RequestURI
	if r.Method == http.MethodConnect {
		target = r.Host
	}
	dst = append(append(append(append(dst, r.Method...), ' '), target...), " HTTP/1.1\r\n"...)
	dst = appendLine(dst, "Host", r.Host)
	for name, values := range r.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade":
			continue
		case "Cookie":
			dst = appendLine(dst, name, strings.Join(values, "; ")) // RFC 9113 section 8.2.3
			continue
		}
		for _, v := range values {
			dst = appendLine(dst, name, v)
		}
	}
	// The fields are written as they came, so that the parser judges them.
	for _, v := range r.Header["Content-Length"] {
		dst = appendLine(dst, "Content-Length", v)
	}
	if r.ContentLength < 0 {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
		if len(r.Trailer) > 0 {
			dst = appendLine(dst, "Trailer", strings.Join(slices.Collect(maps.Keys(r.Trailer)), ", "))
		}
	}
	return append(dst, "\r\n"...)
}

// readBody gives a client up that sends nothing for too long, as conn's does.
func (s *stream) readBody(p []byte) (int, error) {
	if limit := s.p.cfg.StallTime; s.stall == nil {
		s.stall = time.AfterFunc(limit, s.stopBody)
	} else {
		s.stall.Reset(limit)
	}
	n, err := s.read(p)
	s.stalled = !s.stall.Stop() || s.stalled
	if s.stalled && err != nil && !errors.Is(err, io.EOF) {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

func (s *stream) read(p []byte) (int, error) {
	n, err := s.r.Body.Read(p)
	s.mu.Lock()
	s.in += int64(n)
	s.mu.Unlock()
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil // it says so again
	}
	return n, err
}

// stopBody makes a Read return that waits for the client.
func (s *stream) stopBody() { _ = s.r.Body.Close() }

func (s *stream) bodyStopped() {}

func (s *stream) trailers() []http1.Field {
	var all []http1.Field
	for name, values := range s.r.Trailer {
		for _, v := range values {
			f := http1.Field{Kind: http1.KindOf([]byte(name)), Name: []byte(name), Value: []byte(v)}
			if http1.MayTrail(&f) {
				all = append(all, f)
			}
		}
	}
	return all
}

// proceed has nothing to say: reading the body does.
func (s *stream) proceed() error { return nil }

func (s *stream) interim(res *http1.Response) error {
	h := s.w.Header()
	for i := range res.Fields {
		if f := &res.Fields[i]; !f.Hop {
			h.Add(string(f.Name), string(f.Value))
		}
	}
	s.w.WriteHeader(res.Status)
	clear(h)
	return nil
}

func (s *stream) begin(a *answer) error {
	h := s.w.Header()
	closing := h.Get("Connection")
	for i := range a.fields {
		f := &a.fields[i]
		if before, ok := a.passes(f); ok {
			h.Add(string(f.Name), before+string(f.Value))
		}
	}
	for extra := string(a.extra); extra != ""; {
		var line string
		line, extra, _ = strings.Cut(extra, "\r\n")
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	if closing != "" {
		h.Set("Connection", closing)
	}
	switch {
	case a.bodiless && a.declared >= 0 && a.status != http.StatusNoContent:
		h.Set("Content-Length", strconv.FormatInt(a.declared, 10))
	case !a.bodiless && a.length >= 0:
		h.Set("Content-Length", strconv.FormatInt(a.length, 10))
	}
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // else the server would guess one
	}
	s.w.WriteHeader(a.status)
	return nil
}

func (s *stream) write(p []byte) error {
	s.writing.Store(true)
	defer s.writing.Store(false)
	n, err := s.w.Write(p)
	s.out += int64(n)
	return err
}

func (s *stream) flush() error {
	s.writing.Store(true)
	defer s.writing.Store(false)
	return http.NewResponseController(s.w).Flush()
}

func (s *stream) end(trailers []http1.Field) error {
	if len(trailers) == 0 {
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	h := s.w.Header()
	for i := range trailers {
		h.Add(http.TrailerPrefix+string(trailers[i].Name), string(trailers[i].Value))
	}
	return nil
}

func (s *stream) abort() { s.broken = true }

func (s *stream) bytes() (in, out int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in, s.out
}

func (s *stream) waitFor(u *upstream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kicked && s.up != nil {
		_ = s.up.SetDeadline(time.Time{}) // a closed connection does not mind
	}
	s.up, s.kicked = u, false
	if s.ended {
		s.interrupt()
	}
}

// leave is called when the client has reset the stream or is gone.
func (s *stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.interrupt()
}

// interrupt ends what the exchange waits for; s.mu is held.
func (s *stream) interrupt() {
	if s.up != nil {
		s.kicked = true
		_ = s.up.SetDeadline(past)
	}
	if s.cancel != nil {
		s.cancel()
	}
}

func (s *stream) isGone() bool { return s.r.Context().Err() != nil }

func (s *stream) gone() <-chan struct{} { return s.r.Context().Done() }

// deadline moves the timer only when it would ring too late.
func (s *stream) deadline(at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = at
	switch {
	case at == 0:
		if s.timer != nil {
			s.timer.Stop()
			s.rings = 0
		}
	case s.timer == nil:
		s.rings = at
		s.timer = time.AfterFunc(at-s.p.clock(), s.ring)
	case s.rings == 0 || at < s.rings:
		s.rings = at
		s.timer.Reset(at - s.p.clock())
	}
}

func (s *stream) ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == 0 {
		return
	}
	if left := s.by - s.p.clock(); left > 0 {
		s.rings = s.by
		s.timer.Reset(left)
		return
	}
	s.interrupt()
	if s.cancel != nil {
		s.stopBody() // in which the transport may wait without a look at its context
	}
	if s.writing.Load() {
		// The client takes nothing. An error means that there is no connection to wait for.
		_ = http.NewResponseController(s.w).SetWriteDeadline(past)
	}
}

func (s *stream) overdue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by != 0 && s.p.clock() >= s.by
}
