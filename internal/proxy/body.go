package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// clientBody is a request's body as the transport reads it. The transport may go on reading after it has given the
// answer, and the server must not have its connection read once the handler has returned: detach parts the two.
type clientBody struct {
	from      io.Reader
	interrupt func() // makes a Read that waits for the client return

	mu      sync.Mutex
	started bool
	failed  bool          // the client broke off
	ended   bool          // detached
	reading chan struct{} // closed when the Read in progress returns; nil when there is none
}

var errDetached = errors.New("the request has ended")

func newClientBody(w http.ResponseWriter, r *http.Request) *clientBody {
	rc := http.NewResponseController(w)
	if r.ProtoMajor == 1 {
		// A target may answer while the client still sends. All servers of net/http can do this.
		_ = rc.EnableFullDuplex()
	}
	return &clientBody{from: r.Body, interrupt: func() { _ = rc.SetReadDeadline(time.Unix(1, 0)) }}
}

func (b *clientBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.ended {
		b.mu.Unlock()
		return 0, errDetached
	}
	done := make(chan struct{})
	b.started, b.reading = true, done
	b.mu.Unlock()

	n, err := b.from.Read(p)

	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = nil
	close(done)
	if err != nil && !errors.Is(err, io.EOF) && !b.ended {
		b.failed = true
	}
	return n, err
}

// Close leaves the body open: another attempt may still need it, and the server closes it in the end.
func (b *clientBody) Close() error { return nil }

// detach lets no Read begin any more and waits for the one in progress. If it waits for the client it is
// interrupted: the server then gives up the client's connection after the answer, as it must when a body was not
// read to its end.
func (b *clientBody) detach() {
	b.mu.Lock()
	b.ended = true
	reading := b.reading
	b.mu.Unlock()
	if reading != nil {
		b.interrupt()
		<-reading
	}
}

// untouched tells whether the whole body can still be sent. A nil body can.
func (b *clientBody) untouched() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.started
}

// clientFailed tells whether the client broke off its own request.
func (b *clientBody) clientFailed() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}
