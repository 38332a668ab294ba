package proxy

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/ikada/ikada/internal/proxy/http1"
)

// continueTime is how long a target may leave a request with Expect: 100-continue without any answer before the body
// is asked for all the same: not all software knows the field.
const continueTime = time.Second

var errBodyTooLarge = errors.New("the request's body is too large")

// pump sends a request's body on while the answer is waited for: a target may answer before it has all of it.
type pump struct {
	x    *exchange
	u    *upstream
	quit chan struct{} // closed when the body is not wanted any more
	done chan struct{}

	mu    sync.Mutex
	told  bool          // the client was told to send the body, or need not be told any more
	start chan struct{} // closed with that

	whole     bool  // the body has been sent to its end
	clientErr error // the client broke off, or sent too much
}

// startPump begins at once, or when the target asks for the body if the client waits to be told.
func startPump(x *exchange, u *upstream) *pump {
	p := &pump{x: x, u: u, quit: make(chan struct{}), done: make(chan struct{}), start: make(chan struct{})}
	if !x.request.Expect {
		p.answered()
	}
	go p.run()
	return p
}

// proceed tells the client to send the body.
func (p *pump) proceed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told {
		return
	}
	p.told = true
	if p.x.down.proceed() == nil { // else the connection is broken, which reading it shows
		close(p.start)
	}
}

// answered says that the client is not to be told anything any more: the answer comes, or it does not wait.
func (p *pump) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.told && !p.x.request.Expect {
		close(p.start)
	}
	p.told = true
}

// stop ends the sending, if it has not ended, and tells whether the body had been sent whole.
func (p *pump) stop() bool {
	close(p.quit)
	select {
	case <-p.done:
	default:
		p.x.down.stopBody()
		_ = p.u.SetWriteDeadline(past) // a target that has answered need not read on; its connection is closed then
		<-p.done
		p.x.down.bodyStopped()
		_ = p.u.SetWriteDeadline(time.Time{}) // it may have come through all the same
	}
	return p.whole
}

func (p *pump) run() {
	defer close(p.done)
	if !p.wanted() {
		return
	}
	clientErr, targetErr := p.copy()
	select {
	case <-p.quit:
		return // whatever happened, it was stop's doing or nobody asks any more
	default:
	}
	switch {
	case clientErr != nil:
		p.clientErr = clientErr
		_ = p.u.SetDeadline(past) // the answer is not waited for any more
	case targetErr == nil:
		p.whole = true
	}
	// A target that takes no more may have answered nonetheless: whoever reads the answer finds out.
}

// wanted waits until the body is to be sent; false: it need not be.
func (p *pump) wanted() bool {
	select {
	case <-p.start:
		return true
	default:
	}
	timer := time.NewTimer(continueTime)
	defer timer.Stop()
	select {
	case <-timer.C:
		p.proceed()
	case <-p.start:
	case <-p.quit:
	}
	select {
	case <-p.start:
		return true
	case <-p.quit:
		return false
	}
}

func (p *pump) copy() (clientErr, targetErr error) {
	mem := p.x.p.buffers.large.Get().(*[]byte)
	defer p.x.p.buffers.large.Put(mem)
	const margin = 16 // for a chunk's size and what follows its data
	chunked := p.x.request.Length == http1.Chunked
	limit := p.x.bodyLimit()
	var total int64
	for {
		buf := *mem
		n, err := p.x.down.readBody(buf[margin : len(buf)-margin])
		if total += int64(n); limit > 0 && total > limit {
			return errBodyTooLarge, nil
		}
		if n > 0 {
			piece := buf[margin : margin+n]
			if chunked {
				piece = frame(buf, margin, n)
			}
			if _, err := p.u.Write(piece); err != nil {
				return nil, err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if !chunked {
				return nil, nil
			}
			_, err := p.u.Write(appendEnd(buf[:0], p.x.down.trailers()))
			return nil, err
		case err != nil:
			return err, nil
		}
	}
}

// frame makes a chunk of the n bytes at start of buf, which has room on both sides of them.
func frame(buf []byte, start, n int) []byte {
	var size [16]byte
	head := http1.AppendChunkHead(size[:0], n)
	from := start - len(head)
	copy(buf[from:], head)
	copy(buf[start+n:], "\r\n")
	return buf[from : start+n+2]
}

// appendEnd appends the last chunk and the trailer section.
func appendEnd(dst []byte, trailers []http1.Field) []byte {
	dst = append(dst, "0\r\n"...)
	for i := range trailers {
		dst = appendField(dst, &trailers[i])
	}
	return append(dst, "\r\n"...)
}

func (x *exchange) bodyLimit() int64 {
	if p := x.search.entry.policy; !p.Zero() {
		return p.MaxBody()
	}
	return 0
}

var past = time.Unix(1, 0)
