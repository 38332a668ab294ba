package conformance

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// outcome is what became of an attack at one proxy.
type outcome struct {
	seen    []*record // at the task, without the sentinel
	answers []reply   // at the client, without the sentinel's
	served  bool      // the sentinel, sent behind the attack on the same connection, was answered by the task
}

// reply is one answer as the client got it.
type reply struct {
	status int    // 0: of HTTP/2, a reset or a GOAWAY
	saw    string // "METHOD target" of the request that the task answered; "" when the answer is the proxy's own
}

// The sentinel follows each attack on its connection: it is answered as itself unless the connection is closed, or the
// proxy takes it for a part of the attack.
const sentinel = "GET /sentinel HTTP/1.1\r\nHost: sentinel\r\nConnection: close\r\n\r\n"

// entrance is where a proxy takes requests, and the task behind it.
type entrance struct {
	name  string
	h1    string // addresses
	h2    string
	task  *recorder
	stop  func()         // ends the proxy and its connections; nil: it goes on
	piece int            // bytes that are sent at a time; 0: all
	roots *x509.CertPool // of TLS; nil: there is none
}

// client is a connection that can be ended in one direction.
type client interface {
	net.Conn
	CloseWrite() error
}

// dial connects to addr in the entrance's way.
func (e *entrance) dial(t *testing.T, addr, protocol string) client {
	t.Helper()
	c := dial(t, addr)
	if e.roots == nil {
		return c
	}
	secure := tls.Client(c, &tls.Config{RootCAs: e.roots, ServerName: "127.0.0.1", NextProtos: []string{protocol}})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	return secure
}

// play sends the attack and gives what came of it. A fresh connection afterwards must get its own answer: else the
// attack has poisoned the proxy's connections to the task. Then the proxy is stopped, if it can be, so that nothing
// is still on its way to the task.
func (e *entrance) play(t *testing.T, a attack) outcome {
	t.Helper()
	e.task.take()
	var o outcome
	if a.h2 {
		o = e.playFrames(t, a)
	} else {
		o = e.playBytes(t, a)
	}
	c := e.dial(t, e.h1, "http/1.1")
	write(t, c, strings.Replace(sentinel, "/sentinel", "/fresh", 1))
	if r, err := readReply(bufio.NewReader(c), "GET"); err != nil || r.saw != "GET /fresh" {
		t.Errorf("%s: a connection after the attack gets %+v, %v", e.name, r, err)
	}
	c.Close()
	if e.stop != nil {
		e.stop()
		e.task.drain(t)
	}
	for _, g := range e.task.take() {
		if g.target != "/fresh" && g.target != "/sentinel" && g.target != "/drained" {
			o.seen = append(o.seen, g)
		}
	}
	return o
}

// quiet is how long a proxy is given to answer what it may be unable to: it may wait for bytes that do not come.
const quiet = 300 * time.Millisecond

func (e *entrance) playBytes(t *testing.T, a attack) outcome {
	t.Helper()
	c := e.dial(t, e.h1, "http/1.1")
	defer c.Close()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		piece := cmp.Or(e.piece, len(a.bytes))
		piece = max(piece, len(a.bytes)/2000) // the longest are no better for taking longer
		for b := range slices.Chunk(a.bytes, piece) {
			if _, err := c.Write(b); err != nil {
				return // the proxy may have had enough before the end
			}
		}
	}()
	var o outcome
	br := bufio.NewReader(c)
	ended := false
	next := func() bool {
		method := "GET"
		if i := len(o.answers); i < len(a.means) {
			method = a.means[i].method
		}
		r, err := readReply(br, method)
		switch {
		case err == nil && r.saw == "GET /sentinel":
			o.served = true
		case err == nil:
			o.answers = append(o.answers, r)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			ended = true
		}
		return err == nil
	}
	for len(o.answers) < len(a.means) || len(a.means) == 0 && !a.open {
		_ = c.SetReadDeadline(time.Now().Add(quiet)) // no error on an open connection
		if !next() || o.answers[len(o.answers)-1].saw == "" {
			break
		}
	}
	<-sent
	if !ended && !a.open {
		_, _ = io.WriteString(c, sentinel)
		_ = c.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
		for !o.served && next() {
		}
	}
	if !ended {
		_ = c.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		for next() {
		}
	}
	return o
}

// readReply reads one final answer.
func readReply(br *bufio.Reader, method string) (reply, error) {
	for {
		if _, err := br.Peek(1); err != nil {
			return reply{}, err
		}
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return reply{}, err
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return reply{}, err
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return newReply(res.StatusCode, res.Header.Get("X-Saw")), nil
		}
	}
}

func newReply(status int, saw string) reply {
	if s, err := strconv.Unquote(saw); err == nil {
		saw = s
	}
	return reply{status, saw}
}

// frames is a client's side of an HTTP/2 connection that sends whatever it is told to.
type frames struct {
	*http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	decoder *hpack.Decoder
	replies map[uint32]reply // by stream
}

func (e *entrance) playFrames(t *testing.T, a attack) outcome {
	t.Helper()
	c := e.dial(t, e.h2, "h2")
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second)) // no error on an open connection
	f := &frames{Framer: http2.NewFramer(c, c), replies: map[uint32]reply{}}
	f.AllowIllegalWrites = true
	f.encoder, f.decoder = hpack.NewEncoder(&f.block), hpack.NewDecoder(4096, nil)

	write(t, c, http2.ClientPreface)
	err := errors.Join(f.WriteSettings(), f.headers(1, a.fields, len(a.data) == 0))
	for i, d := range a.data {
		err = errors.Join(err, f.WriteData(1, i == len(a.data)-1 && len(a.trailers) == 0, d))
	}
	if len(a.trailers) > 0 {
		err = errors.Join(err, f.headers(1, a.trailers, true))
	}
	var o outcome
	if err == nil && f.readUntil(1) {
		_ = f.headers(3, []field{
			{":method", "GET"}, {":scheme", "http"}, {":authority", "sentinel"}, {":path", "/sentinel"},
		}, true) // when it cannot be sent, it is not answered
		f.readUntil(3)
	}
	if r, ok := f.replies[1]; ok {
		o.answers = []reply{r}
	}
	o.served = f.replies[3].saw == "GET /sentinel"
	return o
}

func (f *frames) headers(stream uint32, fields []field, end bool) error {
	f.block.Reset()
	for _, h := range fields {
		if err := f.encoder.WriteField(hpack.HeaderField{Name: h.name, Value: h.value}); err != nil {
			return err
		}
	}
	block := bytes.Clone(f.block.Bytes())
	const most = 16 << 10
	first, rest := block[:min(len(block), most)], block[min(len(block), most):]
	err := f.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: len(rest) == 0,
	})
	for piece := range slices.Chunk(rest, most) {
		rest = rest[len(piece):]
		err = errors.Join(err, f.WriteContinuation(stream, len(rest) == 0, piece))
	}
	return err
}

// readUntil reads until the stream has ended; false when the connection did instead.
func (f *frames) readUntil(stream uint32) bool {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			if _, answered := f.replies[stream]; !answered && !isTimeout(err) {
				f.replies[stream] = reply{}
			}
			return false
		}
		ended := false
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck() // the read after it fails
			}
		case *http2.GoAwayFrame:
			if frame.ErrCode != http2.ErrCodeNo {
				f.replies[stream] = reply{}
				return false
			}
		case *http2.RSTStreamFrame:
			ended = frame.StreamID == stream
			if _, answered := f.replies[stream]; ended && !answered {
				f.replies[stream] = reply{}
			}
		case *http2.HeadersFrame:
			f.note(frame)
			ended = frame.StreamEnded() && frame.StreamID == stream
		case *http2.DataFrame:
			ended = frame.StreamEnded() && frame.StreamID == stream
		}
		if ended {
			return true
		}
	}
}

// note keeps what a HEADERS frame says of an answer; those of the tests are never split.
func (f *frames) note(frame *http2.HeadersFrame) {
	fields, err := f.decoder.DecodeFull(frame.HeaderBlockFragment())
	if err != nil {
		return
	}
	status, saw := 0, ""
	for _, h := range fields {
		switch h.Name {
		case ":status":
			status, _ = strconv.Atoi(h.Value)
		case "x-saw":
			saw = h.Value
		}
	}
	if status >= 200 {
		f.replies[frame.StreamID] = newReply(status, saw)
	}
}

func isTimeout(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}
