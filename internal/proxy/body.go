package proxy

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/internal/proxy/http1"
)

// bodyReader takes the framing off a request's body that comes over an HTTP/1 connection.
type bodyReader struct {
	left   int64 // bytes to come, or http1.Chunked
	chunks http1.Chunks
	begun  atomic.Bool // some of it was asked for
	quit   atomic.Bool // it is not wanted any more
	ended  bool
}

func (b *bodyReader) begin(length int64) {
	b.left, b.ended = length, length == 0
	b.begun.Store(false)
	b.quit.Store(false)
	b.chunks.Reset()
}

// take gives what of the body is in w, at most as much as p holds, and takes it out of there.
func (b *bodyReader) take(w *window, p []byte) (n int, err error) {
	if b.left != http1.Chunked {
		all := w.bytes()
		n = copy(p, all[:min(int64(len(all)), b.left)])
		w.used(n)
		b.left -= int64(n)
		b.ended = b.left == 0
		return n, nil
	}
	for n < len(p) && !b.ended && !w.empty() {
		all := w.bytes()
		data, used, done, err := b.chunks.Next(all[:min(len(all), len(p)-n)])
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data)
		w.used(used)
		b.ended = done
	}
	return n, nil
}

// readBody is called from the pump's goroutine, while the one that runs the connection waits for the target.
func (c *conn) readBody(p []byte) (int, error) {
	c.body.begun.Store(true)
	for {
		if c.body.ended {
			return 0, io.EOF
		}
		n, err := c.body.take(&c.in, p)
		if n > 0 || err != nil {
			return n, err
		}
		if c.body.ended {
			continue
		}
		by := c.now() + c.door.proxy.cfg.StallTime
		c.bodyBy.Store(int64(by))
		got, err := c.readMore()
		c.bodyBy.Store(0)
		c.in.end += got
		c.taken += int64(got)
		if got == 0 && !c.meantForIdle(err, by) {
			return 0, unexpected(err)
		}
	}
}

func (c *conn) readMore() (int, error) {
	if c.tls != nil {
		return c.tls.Read(c.in.space())
	}
	return c.Read(c.in.space())
}

// meantForIdle tells whether a read was ended by somebody who took the connection for an idle one a moment ago. The next
// read waits again.
func (c *conn) meantForIdle(err error, by time.Duration) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.now() >= by {
		return false
	}
	_ = c.SetReadDeadline(time.Time{}) // a closed connection does not mind
	return !c.body.quit.Load()         // asked last: stopBody sets it before its deadline
}

func (c *conn) stopBody() {
	c.body.quit.Store(true)
	// An error means that the connection is closed, on which the Read returns too.
	_ = c.SetReadDeadline(past)
}

func (c *conn) bodyStopped() { _ = c.SetReadDeadline(time.Time{}) }

func (c *conn) trailers() []http1.Field {
	if c.request.Length != http1.Chunked {
		return nil
	}
	return c.body.chunks.Trailer()
}

// proceed tells a client that waits for it to send the body.
func (c *conn) proceed() error {
	if c.body.begun.Load() || !c.in.empty() {
		return nil // it did not wait
	}
	text := []byte("HTTP/1.1 100 Continue\r\n\r\n")
	var err error
	if c.tls != nil {
		_, err = c.tls.Write(text)
	} else {
		_, err = c.TCPConn.Write(text)
	}
	return err
}
