package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// farewellTime is how long both sides of a WebSocket have to end it after the balancer has asked the client to.
const farewellTime = 10 * time.Second

// closeGoingAway is a Close frame of a server with the status 1001, "going away" (RFC 6455 sections 5.5.1 and 7.4.1):
// well-made clients connect again, and are then served by another task.
var closeGoingAway = []byte{0x88, 2, 0x03, 0xe9}

func isWebSocket(protocol []byte) bool { return bytes.EqualFold(protocol, []byte("websocket")) }

// frames follows where in a stream of WebSocket frames one ends (RFC 6455 section 5.2).
type frames struct {
	head [14]byte
	have int    // bytes of head
	left uint64 // of the payload
}

// feed takes the next bytes of the stream.
func (f *frames) feed(b []byte) {
	for len(b) > 0 {
		if f.left > 0 {
			n := min(uint64(len(b)), f.left)
			f.left -= n
			b = b[n:]
			continue
		}
		f.head[f.have] = b[0]
		f.have++
		b = b[1:]
		if f.have < f.headBytes() {
			continue
		}
		f.left = f.payload()
		f.have = 0
	}
}

// headBytes gives how long the head is, as far as that is known.
func (f *frames) headBytes() int {
	if f.have < 2 {
		return 2
	}
	n := 2
	switch f.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if f.head[1]&0x80 != 0 {
		n += 4
	}
	return n
}

func (f *frames) payload() uint64 {
	switch n := f.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.head[2:])
	default:
		return uint64(n)
	}
}

// between tells whether the stream stands between two frames.
func (f *frames) between() bool { return f.left == 0 && f.have == 0 }

// joinWebSocket copies both ways as splice does. When the target leaves the table the client is sent a Close frame at
// the next end of a frame, hears nothing more of the target, and its answer to that ends the target's side as well.
func joinWebSocket(t *target, client net.Conn, up *net.TCPConn, clientHead, upHead []byte, alive func()) {
	if alive == nil {
		alive = func() {}
	}
	w := &webSocket{client: client, up: up, alive: alive}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		pour(up, client, clientHead, alive)
	}()
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-t.left:
			w.leave()
		case <-ended:
		}
	})
	w.listen(upHead)
	<-sent
	close(ended)
	watching.Wait()
}

type webSocket struct {
	client net.Conn
	up     *net.TCPConn
	frames frames
	alive  func() // called whenever something has come

	mu      sync.Mutex
	leaving bool
	parted  bool // the Close frame has been sent
}

// leave interrupts listen, so that it sends the Close frame also when the target is silent.
func (w *webSocket) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaving = true
	_ = w.up.SetReadDeadline(past)
}

// listen passes on what the target says.
func (w *webSocket) listen(head []byte) {
	var err error
	if len(head) > 0 {
		err = w.pass(head)
	}
	buf := make([]byte, smallBytes)
	for err == nil {
		if err = w.part(); err != nil {
			break
		}
		var n int
		n, err = w.up.Read(buf)
		if n > 0 {
			w.alive()
			if perr := w.pass(buf[:n]); perr != nil {
				err = perr
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && !w.parted {
			err = w.up.SetReadDeadline(time.Time{}) // it was leave
		}
	}
	finishPouring(w.client, w.up, err)
}

// pass writes what the target said, unless the client has been told that nothing more comes.
func (w *webSocket) pass(b []byte) error {
	if w.parted {
		return nil
	}
	w.frames.feed(b)
	_, err := w.client.Write(b)
	return err
}

// part sends the Close frame if it is time to, and gives both sides their time to end.
func (w *webSocket) part() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.leaving || w.parted || !w.frames.between() {
		return nil
	}
	w.parted = true
	if _, err := w.client.Write(closeGoingAway); err != nil {
		return err
	}
	end := time.Now().Add(farewellTime)
	return errors.Join(w.client.SetDeadline(end), w.up.SetDeadline(end))
}
