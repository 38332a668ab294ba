package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ikada/ikada/internal/proxy/http1"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// switchProtocols connects the client with the target once it has switched, until either has had enough. The request
// is booked at the switch; it stays in flight at the target until the end.
func (x *exchange) switchProtocols(t *target, u *upstream) {
	c, ok := x.down.(*conn)
	asked, got := x.request.Upgrade, u.response.Upgrade
	if !ok || asked == nil || !bytes.EqualFold(asked, got) {
		x.result.Failure = meter.Protocol
		x.say(502, x.of("the task answered with an invalid switch of protocols"))
		x.explain(t, meter.StepSwitch, fmt.Errorf("the target switched to %q, the client had asked for %q", got, asked))
		return
	}
	c.keep = false
	x.firstByte()
	x.result.Status = 101
	if err := c.switched(&u.response); err != nil {
		x.result.Failure = meter.Aborted
		return
	}
	idle := x.idleLimit()
	x.finish()
	c.waitFor(nil) // from here on both sides are read, so their ends are seen
	client := net.Conn(c.TCPConn)
	if c.tls != nil {
		client = c.tls
	}
	defer x.p.conns.add(client)()
	defer x.p.conns.add(u.TCPConn)()
	x.p.conns.enter()
	defer x.p.conns.leave()
	fromClient, fromTarget := bytes.Clone(c.in.bytes()), bytes.Clone(u.in.bytes())
	alive := c.livesBy(idle)
	if isWebSocket(asked) {
		joinWebSocket(t, client, u.TCPConn, fromClient, fromTarget, alive)
	} else {
		splice(client, u.TCPConn, fromClient, fromTarget, alive)
	}
	c.body.ended = true
}

// switched sends the head of the answer that switches protocols.
func (c *conn) switched(res *http1.Response) error {
	c.out = appendStatus(c.out, res.Status, res.Reason)
	for i := range res.Fields {
		if f := &res.Fields[i]; !f.Hop {
			c.out = appendField(c.out, f)
		}
	}
	c.out = appendLine(append(c.out, "Connection: Upgrade\r\n"...), "Upgrade", res.Upgrade)
	c.out = append(c.out, "\r\n"...)
	return c.flush()
}

// splice copies both ways until both have ended. What one side ends is ended towards the other, which may go on
// sending (half-close); an error ends both. The heads were read from each side before and go first.
//
// alive, unless it is nil, is called whenever something has come.
func splice(client net.Conn, up io.ReadWriteCloser, clientHead, upHead []byte, alive func()) {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		pour(up, client, clientHead, alive)
	}()
	pour(client, up, upHead, alive)
	<-sent
}

func pour(to io.WriteCloser, from io.ReadCloser, head []byte, alive func()) {
	var err error
	if len(head) > 0 {
		_, err = to.Write(head)
	}
	switch {
	case err != nil:
	case alive == nil:
		_, err = io.Copy(to, from)
	default:
		err = copyAlive(to, from, alive)
	}
	finishPouring(to, from, err)
}

// copyAlive copies without the kernel's help, which tells of nothing until the end, and which costs more than it saves
// for messages of a few bytes.
func copyAlive(to io.Writer, from io.Reader, alive func()) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, livelyReader{from, alive}, make([]byte, smallBytes))
	return err
}

type livelyReader struct {
	io.Reader
	alive func()
}

func (r livelyReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.alive()
	}
	return n, err
}

// livesBy ends the connection when limit has passed without a call of the function it gives, nil for a limit of 0.
func (c *conn) livesBy(limit time.Duration) (alive func()) {
	if limit == 0 {
		c.deadline(0)
		return nil
	}
	alive = func() { c.await(limit) }
	alive()
	return alive
}

// finishPouring ends one direction: by a half-close when from has ended as it should, which err nil or io.EOF says.
func finishPouring(to io.WriteCloser, from io.ReadCloser, err error) {
	if err == nil || errors.Is(err, io.EOF) {
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			err = half.CloseWrite()
		} else {
			err = to.Close()
		}
	}
	if err == nil {
		return
	}
	if !errors.Is(err, net.ErrClosed) {
		reset(to)
		reset(from)
	}
	// Both must go, or the other direction would wait for ever. What Close says of a broken connection is of no use.
	_ = to.Close()
	_ = from.Close()
}

// reset lets a break of one connection be seen as a break by the other side, where an orderly end would look as if all
// had been said.
func reset(c any) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}
