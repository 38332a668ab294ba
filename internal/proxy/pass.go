package proxy

import (
	"errors"
	"io"
	"time"

	"github.com/ikada/ikada/internal/proxy/http1"
	"github.com/ikada/ikada/internal/proxy/meter"
	"github.com/ikada/ikada/internal/proxy/policy"
)

// spliceFrom is how much of a body must still be to come for the kernel to move it by itself.
const spliceFrom = 32 << 10

// spliceStep is how much it moves before the deadline is looked at again.
const spliceStep = 4 << 20

// pass passes the target's answer on to the client. When it breaks off the client's connection is cut, so that the
// client cannot take the part for the whole. It tells whether both sides can go on.
func (x *exchange) pass(t *target, u *upstream) (whole bool) {
	res := &u.response
	if res.Status == 101 {
		x.switchProtocols(t, u)
		return false
	}
	encoding := x.shape(t, res)
	x.firstByte()
	x.result.Status = res.Status
	err := x.down.begin(&x.reply)
	if err == nil && !x.reply.bodiless {
		if encoding == "" {
			err = x.copyBody(u, x.down)
		} else {
			err = x.encodeBody(u, encoding)
		}
	}
	if err == nil {
		var trailers []http1.Field
		if res.Length == http1.Chunked {
			trailers = u.chunks.Trailer()
		}
		err = clientError(x.down.end(trailers))
	}
	if err == nil {
		return true
	}
	x.brokeOff(t, err)
	return false
}

// shape makes the client's answer out of the target's head, and gives the encoding that its body is to get.
func (x *exchange) shape(t *target, res *http1.Response) (encoding string) {
	x.extra = x.extra[:0]
	p := x.search.entry.policy
	head := string(x.request.Method) == "HEAD"
	bodiless := head || res.Status == 204 || res.Status == 304
	x.reply = answer{
		status: res.Status, reason: res.Reason, fields: res.Fields,
		length: res.Length, declared: res.Declared, bodiless: bodiless,
	}
	if res.Length == http1.UntilClose {
		x.reply.length = http1.Chunked
	}
	if !p.Zero() {
		if p.Sticks() && p.StickyTask(x.request) != t.key {
			x.extra = appendLine(x.extra, "Set-Cookie", p.StickyCookie(t.Task, x.origin().TLS))
		}
		if p.Varies(res) {
			x.extra = appendLine(x.extra, "Vary", "Accept-Encoding")
			if encoding = p.Encoding(x.request, res); encoding != "" {
				x.extra = appendLine(x.extra, "Content-Encoding", encoding)
				x.reply.length, x.reply.encoded = http1.Chunked, true
			}
		}
	}
	x.reply.extra = x.extra
	return encoding
}

// errClient marks an error of the client's connection, to tell it from one of the target's.
type errClient struct{ error }

func (e errClient) Unwrap() error { return e.error }

func clientError(err error) error {
	if err == nil {
		return nil
	}
	return errClient{err}
}

// sink is where an answer's body goes: to the client as it is, or through an encoder.
type sink interface {
	write(p []byte) error
	flush() error
}

// copyBody passes the body on in the pieces that it comes in, and lets nothing wait when the target pauses.
func (x *exchange) copyBody(u *upstream, to sink) error {
	x.paced()
	for !u.ended {
		data, err := u.more()
		if err != nil {
			return err
		}
		if len(data) > 0 {
			if err := to.write(data); err != nil {
				return clientError(err)
			}
			continue
		}
		if u.ended {
			break
		}
		if err := to.flush(); err != nil {
			return clientError(err)
		}
		if c, ok := to.(*conn); ok && u.left >= spliceFrom && c.tls == nil && x.pump == nil {
			return x.splice(c, u)
		}
		u.widen()
		x.paced() // a client that is slow to take a piece leaves another deadline behind
		if err := u.await(); err != nil {
			return err
		}
		x.paced()
	}
	return nil
}

// paced sets the time within which the next piece of the body must move on.
func (x *exchange) paced() {
	limit := x.p.cfg.StallTime
	if idle := x.idleLimit(); idle > 0 {
		limit = idle
	} else if x.reply.length < 0 {
		// A stream may be silent for as long as it likes. A client that takes nothing is noticed in write.
		x.down.deadline(0)
		return
	}
	x.down.deadline(x.p.clock() + limit)
}

// idleLimit is how long nothing may come from either side; 0: that is not limited.
func (x *exchange) idleLimit() time.Duration {
	if p := x.search.entry.policy; !p.Zero() {
		return p.IdleTimeout()
	}
	return 0
}

// splice lets the kernel move the rest of a long body from one connection to the other.
func (x *exchange) splice(c *conn, u *upstream) error {
	for u.left > 0 {
		x.paced()
		part := io.LimitedReader{R: u.TCPConn, N: min(u.left, spliceStep)}
		n, err := c.ReadFrom(&part)
		u.left -= n
		c.sent += n
		switch {
		case err != nil:
			if _, dead := u.lookAtEnd(); !dead {
				return clientError(err)
			}
			return unexpected(err)
		case n == 0:
			return io.ErrUnexpectedEOF
		}
	}
	u.ended = true
	return nil
}

// encodeBody compresses the body on its way.
func (x *exchange) encodeBody(u *upstream, encoding string) error {
	enc := policy.NewEncoder(encoding, bodyWriter{x.down})
	if err := x.copyBody(u, encoded{enc, x.down}); err != nil {
		enc.Abort()
		return err
	}
	return clientError(enc.Close())
}

// encoded is an encoder with the client that it writes to.
type encoded struct {
	enc  policy.Encoder
	down downstream
}

func (e encoded) write(p []byte) error {
	_, err := e.enc.Write(p)
	return err
}

func (e encoded) flush() error {
	if err := e.enc.Flush(); err != nil {
		return err
	}
	return e.down.flush()
}

type bodyWriter struct{ down downstream }

func (w bodyWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := w.down.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// brokeOff ends an exchange whose answer could not be passed on whole.
func (x *exchange) brokeOff(t *target, err error) {
	x.stopPump() // it knows whether it was the request's body
	_, ofClient := errors.AsType[errClient](err)
	switch {
	case ofClient || x.down.isGone() || x.bodyErr != nil:
		x.result.Failure = meter.Aborted
	default:
		x.result.Failure = meter.Broken
		t.member.Failed(x.p.clock())
		x.explain(t, meter.StepPass, err)
	}
	x.down.abort()
}
