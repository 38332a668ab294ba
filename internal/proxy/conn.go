package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/internal/proxy/http1"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// conn is one client's connection that speaks HTTP/1. One goroutine runs it, which also sends its requests to targets
// and passes the answers on: nothing is handed from one to another on a request's way.
//
// On a plain connection it waits inside socket.wait's callback. What would have to read the client's body piece by
// piece happens outside, because the callback must not wait for its own connection.
type conn struct {
	socket
	tls  *tls.Conn // nil: plain
	door *door
	from client
	watch
	*work // nil while there is nothing to work on

	in     window // read and not used yet
	next   verdict
	step   func(fd uintptr) bool
	fd     uintptr // inside the callback; 0 outside
	keep   bool    // the connection outlives this exchange
	unread bool    // the client may be sending what nobody wants
	spoken bool    // a request has come in HTTP/1: HTTP/2 cannot begin here any more (RFC 9113 section 3.4)
	phase  atomic.Int32
	shard  int
}

// work is what a connection needs from a request's first byte to the answer's last. An idle connection lends it to
// others: of many connections few have something to do.
type work struct {
	x       exchange
	request http1.Request
	head    window // keeps the head of a request whose body is read piece by piece
	body    bodyReader
	out     []byte // of the answer, not sent yet
	reply   *answer
	taken   int64 // bytes of this request
	sent    int64 // bytes of this answer
}

// What a connection is doing, for those who want it to end.
const (
	phaseIdle int32 = iota
	phaseHead       // a head has begun to come
	phaseBusy
)

// verdict is what a connection does next.
type verdict int

const (
	listen  verdict = iota // wait for the client
	deep                   // serve the request in conn.request, whose body is not here yet or which asks for an upgrade
	handOff                // to HTTP/2
	hangUp
)

func newConn(d *door, c *net.TCPConn, t *tls.Conn, head []byte, from client) (*conn, error) {
	s, err := newSocket(c)
	if err != nil {
		return nil, err
	}
	k := &conn{socket: s, tls: t, door: d, from: from, shard: d.proxy.nextShard()}
	k.step = k.takeStep // made once: a method value costs an allocation
	if len(head) > 0 {
		d.proxy.buffers.load(&k.in, false, head)
	}
	return k, nil
}

// takeUp borrows what work needs.
func (c *conn) takeUp() {
	if c.work == nil {
		c.work = c.door.proxy.works.Get().(*work)
		c.x.init(c.door.proxy, c.door, c, &c.from, c.shard)
	}
}

// putDown gives it back. Nothing of the last request may be needed any more.
func (c *conn) putDown() {
	w := c.work
	if w == nil {
		return
	}
	c.work = nil
	w.request.Reset()
	w.reply = nil
	w.x.reset()
	c.door.proxy.works.Put(w)
}

// run serves the connection until its end. It gives what was read and not used if the connection is to be handed to
// HTTP/2, else it has closed it.
func (c *conn) run() (rest []byte, http2 bool) {
	p := c.door.proxy
	p.registry.add(c)
	defer p.registry.remove(c)
	defer c.putDown()
	c.await(p.cfg.HeadTimeout)
	if !c.in.empty() {
		c.next = c.serve()
	}
	for {
		switch c.next {
		case deep:
			c.next = c.serveStream()
		case handOff:
			rest = bytes.Clone(c.in.bytes())
			p.buffers.giveBack(&c.in)
			return rest, true
		case hangUp:
			c.linger()
			c.close()
			return nil, false
		case listen:
			c.listen()
		}
	}
}

// listen waits for the client and serves what comes.
func (c *conn) listen() {
	var err error
	if c.tls == nil {
		err = c.wait(c.step)
		c.fd = 0
	} else {
		err = c.listenTLS()
	}
	if err != nil {
		c.next = c.woken(err)
	}
}

// woken decides after a wait that ended with an error.
func (c *conn) woken(err error) verdict {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return hangUp
	case c.overdue() && c.phase.Load() == phaseHead:
		c.request.Reset() // what it has of the head may lie elsewhere by now
		c.refuse(408, "the request did not come in time")
		return hangUp
	case c.overdue(), c.phase.Load() == phaseIdle && c.door.ending():
		return hangUp
	}
	_ = c.SetReadDeadline(time.Time{}) // it was meant for what the connection did a moment ago
	return listen
}

// takeStep reads and serves what is there. It gives true when the callback must end.
func (c *conn) takeStep(fd uintptr) bool {
	c.fd = fd
	for {
		c.in.borrow(&c.door.proxy.buffers.small)
		space := c.in.space()
		n, err := readNow(fd, space)
		if wouldBlock(err) {
			c.rest()
			return false
		}
		if err != nil {
			c.next = hangUp
			return true
		}
		c.in.end += n
		if c.next = c.serve(); c.next != listen {
			return true
		}
		if n < len(space) {
			// There was no more: the poller tells when there is.
			c.rest()
			return false
		}
	}
}

func (c *conn) listenTLS() error {
	c.in.borrow(&c.door.proxy.buffers.small)
	n, err := c.tls.Read(c.in.space())
	c.in.end += n
	if n == 0 {
		return err
	}
	c.next = c.serve()
	if c.next == listen {
		c.rest()
	}
	return nil
}

// rest gives the memory back while there is nothing to keep in it. A TLS connection that waits keeps its own.
func (c *conn) rest() {
	if !c.in.empty() {
		return
	}
	c.putDown()
	if c.tls == nil {
		c.door.proxy.buffers.giveBack(&c.in)
	}
}

// serve answers all requests that are whole.
func (c *conn) serve() verdict {
	c.takeUp()
	p := c.door.proxy
	for !c.in.empty() {
		err := c.request.Parse(c.in.bytes())
		if errors.Is(err, http1.ErrIncomplete) {
			return c.incomplete()
		}
		if err != nil {
			if !c.spoken && prefaceBegins(c.in.bytes()) {
				return c.preface()
			}
			c.refuseAs(err)
			return hangUp
		}
		r := &c.request
		if r.Size > p.cfg.HeadBytes {
			c.refuse(431, "the head of the request is too large")
			return hangUp
		}
		c.phase.Store(phaseBusy)
		whole := r.Length >= 0 && int64(c.in.end-c.in.at-r.Size) >= r.Length
		if !whole || r.Upgrade != nil && !isH2C(r.Upgrade) {
			return deep
		}
		end := r.Size + int(r.Length)
		c.x.body, c.x.streams = c.in.bytes()[r.Size:end], false
		c.taken = int64(end)
		c.exchange()
		c.in.used(end)
		r.Reset()
		if !c.keep {
			return hangUp
		}
		if c.in.empty() {
			c.idle()
		}
	}
	if c.door.ending() {
		return hangUp
	}
	return listen
}

// idle begins the wait for the next request.
func (c *conn) idle() {
	now := c.now()
	c.phase.Store(phaseIdle)
	c.rested.Store(int64(now))
	c.deadline(now + c.door.proxy.cfg.IdleTimeout)
}

// incomplete makes room for more of a head, and gives it a deadline from its first byte on.
func (c *conn) incomplete() verdict {
	p := c.door.proxy
	if c.phase.Swap(phaseHead) != phaseHead {
		c.await(p.cfg.HeadTimeout)
	}
	if !p.buffers.room(&c.in, p.cfg.HeadBytes+1) {
		c.refuse(431, "the head of the request is too large")
		return hangUp
	}
	return listen
}

// exchange serves one request with what has been prepared in x.
func (c *conn) exchange() {
	c.sent, c.reply, c.spoken = 0, nil, true
	c.keep = !c.request.Close && !c.door.ending()
	c.x.request = &c.request
	c.deadline(0)
	c.out = c.out[:0]
	c.x.serve()
}

// serveStream serves a request whose body is read as it is needed.
func (c *conn) serveStream() verdict {
	p := c.door.proxy
	// The head must stay where it is, while what follows it is read to elsewhere.
	c.head = c.in
	c.in = window{}
	p.buffers.load(&c.in, true, c.head.bytes()[c.request.Size:])
	c.body.begin(c.request.Length)
	c.x.body, c.x.streams = nil, c.request.Length != 0
	c.taken = int64(c.request.Size)
	c.exchange()
	if !c.body.ended {
		c.keep = false // the rest of the body is on its way: whatever comes cannot be told from a request
	}
	p.buffers.giveBack(&c.head)
	c.request.Reset()
	switch {
	case !c.keep:
		c.unread = !c.body.ended
		return hangUp
	case c.in.empty():
		p.buffers.giveBack(&c.in)
		c.idle()
		return listen
	}
	return c.serve()
}

// lingerTime is how long a body that nobody wants is thrown away, so that the client reads the answer before it learns
// that the connection is closed (RFC 9112 section 9.6).
const lingerTime = 2 * time.Second

// linger is not for the callback: it reads.
func (c *conn) linger() {
	if !c.unread || c.cut || c.isGone() {
		return
	}
	c.deadline(0)
	if c.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	// Whether the client goes on or has gone makes no difference any more.
	_, _ = io.Copy(io.Discard, c.TCPConn)
}

func (c *conn) close() {
	c.door.proxy.buffers.giveBack(&c.in)
	if c.tls != nil {
		_ = c.tls.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.tls.Close()
		return
	}
	_ = c.Close()
}

func (c *conn) now() time.Duration { return c.door.proxy.clock() }

func (c *conn) await(limit time.Duration) { c.deadline(c.now() + limit) }

// prefaceBegins tells whether a client begins to speak HTTP/2 with prior knowledge (RFC 9113 section 3.4). The request
// line of the preface is refused by the parser, since no version 2.0 is spoken in this form.
func prefaceBegins(b []byte) bool {
	n := min(len(b), len(http2Preface))
	return n >= len("PRI * HTTP/2.0\r\n") && string(b[:n]) == http2Preface[:n]
}

const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func (c *conn) preface() verdict {
	if c.in.end-c.in.at < len(http2Preface) {
		return c.incomplete()
	}
	return handOff
}

// refuseAs answers a head that was not understood.
func (c *conn) refuseAs(err error) {
	status, why := 400, err.Error()
	if e, ok := errors.AsType[*http1.Error](err); ok {
		status, why = e.Status, e.Reason
	}
	c.refuse(status, why)
}

// refuse answers what is no request, and so belongs to no service.
func (c *conn) refuse(status int, why string) {
	c.keep, c.sent, c.taken = false, 0, int64(len(c.in.bytes()))
	c.out = c.out[:0]
	c.request.Minor = 1
	body := "ikada: " + why + "\n"
	a := &answer{status: status, length: int64(len(body)), declared: -1, extra: c.door.proxy.appendDate([]byte(ownFields))}
	if c.begin(a) == nil && c.write([]byte(body)) == nil && c.end(nil) == nil {
		c.unread = true
	}
	c.door.proxy.logRefused(c.shard, meter.Entry{
		Client: c.from.name, Method: view(c.request.Method), Path: view(c.request.Target), Proto: "HTTP/1.1",
		Result: meter.Result{Status: status, In: c.taken, Out: c.sent},
	})
}

// The answer.

func (c *conn) interim(res *http1.Response) error {
	if c.request.Minor == 0 {
		return nil // HTTP/1.0 has none
	}
	c.out = appendStatus(c.out, res.Status, res.Reason)
	for i := range res.Fields {
		if f := &res.Fields[i]; !f.Hop && f.Kind != http1.ContentLength {
			c.out = appendField(c.out, f)
		}
	}
	c.out = append(c.out, "\r\n"...)
	return c.flush()
}

func (c *conn) begin(a *answer) error {
	c.reply = a
	b := appendStatus(c.out, a.status, a.reason)
	for i := range a.fields {
		f := &a.fields[i]
		if before, ok := a.passes(f); !ok {
			continue
		} else if before == "" {
			b = appendField(b, f)
		} else {
			b = appendLine(b, f.Name, before+string(f.Value))
		}
	}
	b = append(b, a.extra...)
	switch {
	case a.bodiless:
		if a.declared >= 0 && a.status != 204 {
			b = appendLength(b, a.declared)
		}
	case a.length >= 0:
		b = appendLength(b, a.length)
	case c.request.Minor == 0:
		c.keep = false // the end of the body is that of the connection
	default:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		b = appendKind(b, a.fields, http1.Trailer)
	}
	if c.door.ending() || c.x.streams && c.request.Expect && !c.body.begun.Load() {
		c.keep = false // a client that was not told to send its body may send it or not
	}
	switch {
	case !c.keep:
		b = append(b, "Connection: close\r\n"...)
	case c.request.Minor == 0:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	c.out = append(b, "\r\n"...)
	return nil
}

func (c *conn) chunked() bool {
	return c.reply.length < 0 && !c.reply.bodiless && c.request.Minor == 1
}

// joinBytes is up to which length a piece of a body is copied behind what waits to be sent, so that they go together.
const joinBytes = 4 << 10

func (c *conn) write(p []byte) error {
	chunked := c.chunked()
	if chunked {
		if len(p) == 0 {
			return nil
		}
		c.out = http1.AppendChunkHead(c.out, len(p))
	}
	if len(p) <= joinBytes {
		c.out = append(c.out, p...)
		p = nil
	}
	if len(p) > 0 {
		if err := c.send(p); err != nil {
			return err
		}
	}
	if chunked {
		c.out = append(c.out, "\r\n"...)
	}
	if len(c.out) > smallBytes {
		return c.flush()
	}
	return nil
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	return c.send(nil)
}

func (c *conn) end(trailers []http1.Field) error {
	if c.chunked() {
		c.out = appendEnd(c.out, trailers)
	}
	err := c.flush()
	if cap(c.out) > smallBytes {
		c.out = nil
	}
	return err
}

func (c *conn) abort() { c.keep, c.cut = false, true }

// send sends what waits and p behind it.
func (c *conn) send(p []byte) error {
	head := c.out
	c.out = c.out[:0]
	c.sent += int64(len(head) + len(p))
	if c.fd != 0 {
		var n int
		var err error
		switch {
		case len(p) == 0:
			n, err = writeNow(c.fd, head)
		case len(head) == 0:
			n, err = writeNow(c.fd, p)
		default:
			n, err = writeBothNow(c.fd, head, p)
		}
		if err != nil {
			return err
		}
		if n == len(head)+len(p) {
			return nil
		}
		done := min(n, len(head))
		head, p = head[done:], p[n-done:]
	}
	// The client is slower than its target.
	c.await(c.door.proxy.cfg.StallTime)
	if c.tls != nil {
		return c.sendTLS(head, p)
	}
	all := net.Buffers{head, p}
	_, err := all.WriteTo(c.TCPConn)
	return err
}

func (c *conn) sendTLS(head, p []byte) error {
	if len(p) > 0 && len(head)+len(p) <= 2*joinBytes {
		head = append(head, p...) // c.out has room to spare more often than not
		p = nil
	}
	for _, b := range [][]byte{head, p} {
		if len(b) > 0 {
			if _, err := c.tls.Write(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *conn) bytes() (in, out int64) { return c.taken, c.sent }

// appendStatus appends the status line.
func appendStatus(dst []byte, status int, reason []byte) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(strconv.AppendInt(dst, int64(status), 10), ' ')
	if len(reason) == 0 {
		dst = append(dst, http.StatusText(status)...)
	}
	return append(append(dst, reason...), "\r\n"...)
}
