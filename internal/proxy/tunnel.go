package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// tunnel connects the client with the target once it has switched protocols, until either has had enough. The
// request is booked at the switch; it stays in flight at the target until the end.
func (x *exchange) tunnel(t *target, res *http.Response) {
	up, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		x.failSwitch(t, errors.New("the target's connection cannot be written to"))
		return
	}
	defer up.Close()
	asked, got := upgradeOf(x.r.Header), upgradeOf(res.Header)
	if !sameProtocol(asked, got) {
		x.failSwitch(t, fmt.Errorf("the target switched to %q, the client had asked for %q", got, asked))
		return
	}
	client, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.failSwitch(t, err)
		return
	}
	defer client.Close()
	defer x.proxy.conns.add(client)()
	defer x.proxy.conns.add(up)()

	dropHopByHop(res.Header)
	res.Header["Connection"], res.Header["Upgrade"] = []string{"Upgrade"}, []string{got}
	res.Body = nil
	x.firstByte()
	x.result.status = res.StatusCode
	// The server's deadlines were for the request's head.
	if err := errors.Join(client.SetDeadline(time.Time{}), res.Write(buffered), buffered.Flush()); err != nil {
		x.result.aborted = true
		return
	}
	x.search.pool.book(x.result)
	x.search.end() // finish finds no pool to book it for again

	head, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err != nil {
		return
	}
	splice(client, up, head, nil)
}

func (x *exchange) failSwitch(t *target, err error) {
	x.say(http.StatusBadGateway, "ikada: the task answered with an invalid switch of protocols")
	x.proxy.faults.write(&x.search, t, stepSwitch, err)
}

// splice copies both ways until both have ended. What one side ends is ended towards the other, which may go on
// sending (half-close); an error ends both. The heads were read from each side before and go first.
func splice(client net.Conn, up io.ReadWriteCloser, clientHead, upHead []byte) {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		pour(up, client, clientHead)
	}()
	pour(client, up, upHead)
	<-sent
}

func pour(to io.WriteCloser, from io.ReadCloser, head []byte) {
	var err error
	if len(head) > 0 {
		_, err = to.Write(head)
	}
	if err == nil {
		_, err = io.Copy(to, from)
	}
	if err == nil {
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			err = half.CloseWrite()
		} else {
			err = to.Close()
		}
	}
	if err != nil {
		// Both must go, or the other direction would wait for ever. What Close says of a broken connection is of no use.
		_ = to.Close()
		_ = from.Close()
	}
}
