package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/ikada/ikada/internal/proxy/http1"
)

// upstream is one HTTP/1.1 connection to a target: idle in its target's pool, or lent to one exchange.
type upstream struct {
	socket
	p      *Proxy
	target *target
	idle   time.Duration // on the proxy's clock, since when it is idle
	reused bool          // it has answered a request before

	in       window
	response http1.Response
	chunks   http1.Chunks
	left     int64 // bytes of a body with a length that have not been given yet
	ended    bool  // the body has been read to its end

	question []byte // what ask has still to send
	asked    bool
	got      error // of ask's read
	step     func(fd uintptr) bool
}

// errNoAnswer means that the target ended the connection instead of answering.
var errNoAnswer = errors.New("the target closed the connection without an answer")

// errBadAnswer means that the target does not speak HTTP, or speaks it wrongly.
type errBadAnswer struct{ error }

func (e errBadAnswer) Unwrap() error { return e.error }

func newUpstream(p *Proxy, t *target, c *net.TCPConn) (*upstream, error) {
	s, err := newSocket(c)
	if err != nil {
		return nil, err
	}
	u := &upstream{socket: s, p: p, target: t}
	u.step = u.takeStep // made once: a method value costs an allocation
	return u, nil
}

// ask sends a request, or its beginning, and waits for the first bytes of what comes back.
func (u *upstream) ask(question []byte) error {
	u.in.borrow(&u.p.buffers.small)
	u.question, u.asked, u.got = question, false, nil
	err := u.wait(u.step)
	if err == nil {
		err = u.got
	}
	if err != nil || u.in.end > 0 {
		return err
	}
	// The kernel did not take it all at once.
	if _, err := u.Write(u.question); err != nil {
		return err
	}
	return u.fill()
}

// takeStep sends on its first call and reads on the others; it gives true when there is no more to wait for.
func (u *upstream) takeStep(fd uintptr) bool {
	if !u.asked {
		u.asked = true
		n, err := writeNow(fd, u.question)
		u.question, u.got = u.question[n:], err
		return err != nil || len(u.question) > 0
	}
	n, err := readNow(fd, u.in.space())
	if wouldBlock(err) {
		return false
	}
	u.in.end += n
	u.got = err
	return true
}

// fill waits for more bytes. It gives io.EOF at the end.
func (u *upstream) fill() error {
	if !u.p.buffers.room(&u.in, largeBytes) {
		return errBadAnswer{errors.New("the head of the answer is too long")}
	}
	n, err := u.Read(u.in.space())
	u.in.end += n
	if n > 0 {
		return nil
	}
	return err
}

// head reads the next head of an answer: an informational one, or the last. toHead says that the request was a HEAD.
func (u *upstream) head(toHead bool) error {
	for {
		if !u.in.empty() {
			err := u.response.Parse(u.in.bytes(), toHead)
			if err == nil {
				u.in.used(u.response.Size)
				u.begin()
				return nil
			}
			if !errors.Is(err, http1.ErrIncomplete) {
				return errBadAnswer{err}
			}
		}
		before := u.in.empty()
		if err := u.fill(); err != nil {
			if errors.Is(err, io.EOF) && before {
				return errNoAnswer
			}
			return unexpected(err)
		}
	}
}

func (u *upstream) begin() {
	u.left, u.ended = u.response.Length, u.response.Length == 0
	if u.response.Length == http1.Chunked {
		u.chunks.Reset()
	}
}

// widen takes a large buffer for the rest of a body that will not fit into a small one. The window is empty.
func (u *upstream) widen() {
	if len(*u.in.mem) < largeBytes && (u.left < 0 || u.left > smallBytes) {
		u.p.buffers.giveBack(&u.in)
		u.in.borrow(&u.p.buffers.large)
	}
}

// more gives a piece of the body that has been received already, empty when the next one has to be waited for. The
// piece is good until the next call of more or fill.
func (u *upstream) more() ([]byte, error) {
	if u.ended || u.in.empty() {
		return nil, nil
	}
	all := u.in.bytes()
	switch u.response.Length {
	case http1.UntilClose:
		u.in.used(len(all))
		return all, nil
	case http1.Chunked:
		for len(all) > 0 {
			data, n, done, err := u.chunks.Next(all)
			if err != nil {
				return nil, errBadAnswer{err}
			}
			u.in.used(n)
			u.ended = done
			if len(data) > 0 || done {
				return data, nil
			}
			all = u.in.bytes()
		}
		return nil, nil
	}
	if int64(len(all)) > u.left {
		all = all[:u.left]
	}
	u.in.used(len(all))
	u.left -= int64(len(all))
	u.ended = u.left == 0
	return all, nil
}

// await waits until more has something to give, or the body has ended.
func (u *upstream) await() error {
	err := u.fill()
	if errors.Is(err, io.EOF) && u.response.Length == http1.UntilClose {
		u.ended = true
		return nil
	}
	return unexpected(err)
}

// finish ends the loan: the connection goes back to its target's pool if another request may be sent on it.
func (u *upstream) finish(whole bool) {
	keep := whole && u.ended && u.in.empty() && !u.response.Close && u.response.Length != http1.UntilClose
	u.p.buffers.giveBack(&u.in)
	u.question = nil
	if keep && u.target.keep(u) {
		return
	}
	_ = u.Close()
}

// unexpected makes an end within a message an error that says so.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// upstreams is a target's idle connections, the one used last on top, so that few are kept busy and the rest age.
type upstreams struct {
	mu     sync.Mutex
	idle   []*upstream
	closed bool
}

// lend gives an idle connection, or a new one. careful is for requests that must not be sent twice: it looks at an idle
// connection once more, since the target may have closed it.
func (t *target) lend(ctx context.Context, p *Proxy, careful bool) (*upstream, error) {
	for {
		u := t.pop()
		if u == nil {
			break
		}
		age := p.clock() - u.idle
		if age > keepIdle || (careful || age > trustIdle) && u.speaks() {
			_ = u.Close()
			continue
		}
		u.reused = true
		return u, nil
	}
	c, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	u, err := newUpstream(p, t, c)
	if err != nil {
		_ = c.Close()
		return nil, dialError{err}
	}
	return u, nil
}

func (t *target) pop() *upstream {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	n := len(t.pool.idle)
	if n == 0 {
		return nil
	}
	u := t.pool.idle[n-1]
	t.pool.idle[n-1] = nil
	t.pool.idle = t.pool.idle[:n-1]
	return u
}

// keep puts a connection into the pool; false: it is not wanted there.
func (t *target) keep(u *upstream) bool {
	u.idle = u.p.clock()
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	if t.pool.closed || len(t.pool.idle) >= idlePerTarget {
		return false
	}
	t.pool.idle = append(t.pool.idle, u)
	return true
}

// expire closes what has been idle for too long. The oldest are at the bottom.
func (t *target) expire(now time.Duration) {
	t.pool.mu.Lock()
	n := 0
	for n < len(t.pool.idle) && now-t.pool.idle[n].idle > keepIdle {
		n++
	}
	old := append([]*upstream(nil), t.pool.idle[:n]...)
	t.pool.idle = append(t.pool.idle[:0], t.pool.idle[n:]...)
	t.pool.mu.Unlock()
	for _, u := range old {
		_ = u.Close()
	}
}

// closeIdle closes all idle connections, and lets none become idle again.
func (t *target) closeIdle() {
	t.pool.mu.Lock()
	idle := t.pool.idle
	t.pool.idle, t.pool.closed = nil, true
	t.pool.mu.Unlock()
	for _, u := range idle {
		_ = u.Close()
	}
}
