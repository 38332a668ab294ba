package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/internal/proxy/http1"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// isGRPC tells whether the target must be spoken to in HTTP/2: gRPC has no other form. "application/grpc-web" has.
func (x *exchange) isGRPC() bool {
	if _, ok := x.down.(*stream); !ok {
		return false
	}
	const grpc = "application/grpc"
	ct := valueOf(x.request.Fields, http1.ContentType)
	return len(ct) >= len(grpc) && string(ct[:len(grpc)]) == grpc &&
		(len(ct) == len(grpc) || ct[len(grpc)] == '+' || ct[len(grpc)] == ';')
}

// streamBody is a request's body as the transport reads it.
type streamBody struct {
	s        *stream
	limit    int64 // of the bytes; 0 is none
	total    int64
	touched  bool
	tooLarge atomic.Bool
	idle     atomic.Int64 // how long nothing may pass in either direction; 0: that is not limited, or not yet
}

func (b *streamBody) Read(p []byte) (int, error) {
	b.touched = true
	n, err := b.s.read(p)
	if b.total += int64(n); b.limit > 0 && b.total > b.limit {
		b.tooLarge.Store(true)
		return 0, errBodyTooLarge
	}
	if n > 0 {
		b.alive()
	}
	return n, err
}

// alive is called when something has passed.
func (b *streamBody) alive() {
	if idle := b.idle.Load(); idle > 0 {
		b.s.deadline(b.s.p.clock() + time.Duration(idle))
	}
}

// Close leaves the body open: another attempt may still need it, and the server closes it in the end.
func (b *streamBody) Close() error { return nil }

// tryHTTP2 makes one attempt with a target that speaks HTTP/2.
func (x *exchange) tryHTTP2(t *target) (again bool) {
	s := x.down.(*stream)
	ctx, cancel := context.WithCancel(s.r.Context())
	defer cancel()
	s.setCancel(cancel)
	defer s.setCancel(nil)
	x.attempts++
	asked := x.p.clock()
	x.limit(asked)
	body := &streamBody{s: s, limit: x.bodyLimit()}
	defer body.idle.Store(0) // the transport may read on for a moment
	out, err := x.outbound(ctx, t, body)
	if err != nil {
		x.say(400, "ikada: the request cannot be passed on")
		return false
	}
	res, err := t.h2c().RoundTrip(out)
	if err == nil {
		now := x.p.clock()
		t.member.Answered(res.StatusCode, now-asked, now)
		x.passHTTP2(t, res, body)
		return false
	}
	late := s.overdue()
	x.down.deadline(0)
	switch {
	case s.isGone():
		x.result.Failure = meter.Aborted
		s.abort()
	case body.tooLarge.Load():
		x.bodyErr = errBodyTooLarge
		x.pumpFailed()
	case late:
		x.result.Failure = meter.Timeout
		x.say(504, x.of("the task did not answer in time"))
		x.explain(t, meter.StepAnswer, err)
	case isRefused(err) && !body.touched:
		x.refused(t, err)
		return true
	default:
		t.member.Failed(x.p.clock())
		x.result.Failure = meter.Reset
		x.say(502, x.of("the task gave no valid answer"))
		x.explain(t, meter.StepAnswer, err)
	}
	return false
}

func (s *stream) setCancel(f context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel = f
}

// outbound is the request that appendHead makes, in net/http's form.
func (x *exchange) outbound(ctx context.Context, t *target, body io.ReadCloser) (*http.Request, error) {
	var head http1.Request
	if err := head.Parse(x.appendHead(nil)); err != nil {
		return nil, err
	}
	u, err := url.ParseRequestURI(string(head.Target))
	if err != nil {
		return nil, err
	}
	u.Scheme, u.Host = "http", t.Address
	out := (&http.Request{
		Method: string(head.Method), URL: u, Host: string(head.Authority), Header: http.Header{},
		Body: http.NoBody, Proto: "HTTP/2.0", ProtoMajor: 2,
	}).WithContext(ctx)
	for i := range head.Fields {
		if f := &head.Fields[i]; !f.Hop && f.Kind != http1.Host && f.Kind != http1.ContentLength {
			out.Header.Add(string(f.Name), string(f.Value))
		}
	}
	if head.Trailers {
		out.Header.Set("Te", "trailers")
	}
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = []string{""} // else the transport would write its own
	}
	if x.streams {
		// The trailers are shared, not copied: the server fills the values in when it has read the body's end, and the
		// transport reads them right after, in the same goroutine.
		out.Body, out.ContentLength, out.Trailer = body, x.request.Length, x.down.(*stream).r.Trailer
	}
	return out, nil
}

// passHTTP2 passes the answer on as it comes: gRPC's messages must not wait for each other.
func (x *exchange) passHTTP2(t *target, res *http.Response, asked *streamBody) {
	defer res.Body.Close()
	x.extra = x.extra[:0]
	x.reply = answer{status: res.StatusCode, fields: fieldsOf(res.Header), length: http1.Chunked, declared: -1}
	x.firstByte()
	x.result.Status = res.StatusCode
	x.down.deadline(0)
	asked.idle.Store(int64(x.idleLimit()))
	asked.alive()
	err := clientError(x.down.begin(&x.reply))
	if err == nil && res.ContentLength != 0 {
		err = x.copyHTTP2(res.Body, asked.alive) // else the head is the end of the stream too, which gRPC's clients look at
	}
	if err == nil {
		err = clientError(x.down.end(fieldsOf(res.Trailer)))
	}
	if err == nil {
		return
	}
	switch {
	case asked.tooLarge.Load():
		x.bodyErr = errBodyTooLarge
	case x.down.overdue():
		err = os.ErrDeadlineExceeded
	}
	x.brokeOff(t, err)
}

// copyHTTP2 calls alive when something has come and when it has gone.
func (x *exchange) copyHTTP2(body io.Reader, alive func()) error {
	if err := x.down.flush(); err != nil {
		return clientError(err)
	}
	mem := x.p.buffers.small.Get().(*[]byte)
	defer x.p.buffers.small.Put(mem)
	for {
		n, err := body.Read(*mem)
		if n > 0 {
			alive()
			if err := x.down.write((*mem)[:n]); err != nil {
				return clientError(err)
			}
			if err := x.down.flush(); err != nil {
				return clientError(err)
			}
			alive()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func fieldsOf(h http.Header) []http1.Field {
	var all []http1.Field
	for name, values := range h {
		kind := http1.KindOf([]byte(name))
		for _, v := range values {
			all = append(all, http1.Field{Kind: kind, Name: []byte(name), Value: []byte(v)})
		}
	}
	return all
}
