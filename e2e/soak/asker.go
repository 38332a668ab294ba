package soak

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Kind is how a client uses its connections.
type Kind int

// The kinds.
const (
	Kept  Kind = iota // HTTP/1.1, one connection for as long as the server wants it
	Fresh             // HTTP/1.1, a new connection for each request
	H2C               // HTTP/2 without TLS, one connection for as long as the server wants it
)

// asker is one client.
type asker interface {
	// ask gives the body of a reply with status 200.
	ask(*Question) ([]byte, error)
	close()
}

func newAsker(k Kind, addr string) asker {
	if k == H2C {
		return newMultiplexed(addr)
	}
	return &wire{addr: addr, fresh: k == Fresh}
}

// wire is a client of HTTP/1.1 with at most one connection, which writes requests by itself and tries none again.
type wire struct {
	addr  string
	fresh bool
	conn  net.Conn
	out   []byte
}

func (w *wire) dial() (err error) {
	w.conn, err = net.DialTimeout("tcp", w.addr, timeLimit)
	return err
}

func (w *wire) ask(q *Question) ([]byte, error) {
	if w.conn == nil {
		if err := w.dial(); err != nil {
			return nil, err
		}
	}
	reply, last, err := w.exchange(q, bufio.NewReader(w.conn))
	if err != nil || last || w.fresh {
		w.close()
	}
	return reply, err
}

// exchange sends one request and gives the body of the reply; last says that the server closes the connection behind it. The
// reader is only for the time of the call.
func (w *wire) exchange(q *Question, r *bufio.Reader) (reply []byte, last bool, err error) {
	r.Reset(w.conn)
	if err := w.conn.SetDeadline(time.Now().Add(timeLimit)); err != nil {
		return nil, false, err
	}
	if _, err := w.conn.Write(w.request(q)); err != nil {
		return nil, false, fmt.Errorf("send: %w", err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, false, fmt.Errorf("read head: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err = io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("read body: %w", err)
	case resp.StatusCode != http.StatusOK:
		return nil, false, fmt.Errorf("%s: %.300s", resp.Status, bytes.TrimSpace(reply))
	case r.Buffered() > 0:
		return nil, false, errors.New("bytes came behind the reply")
	}
	return reply, resp.Close, nil
}

// request makes the bytes of a request.
func (w *wire) request(q *Question) []byte {
	method := "GET "
	if q.Body != nil {
		method = "POST "
	}
	b := append(append(append(w.out[:0], method...), q.Path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, q.Host...), "\r\n"...)
	if w.fresh {
		b = append(b, "Connection: close\r\n"...)
	}
	switch {
	case q.Body == nil:
		b = append(b, "\r\n"...)
	case q.Chunk == 0:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(len(q.Body)), 10), "\r\n\r\n"...)
		b = append(b, q.Body...)
	default:
		b = append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
		for rest := q.Body; len(rest) > 0; {
			n := min(q.Chunk, len(rest))
			b = append(strconv.AppendInt(b, int64(n), 16), "\r\n"...)
			b = append(append(b, rest[:n]...), "\r\n"...)
			rest = rest[n:]
		}
		b = append(b, "0\r\n\r\n"...)
	}
	w.out = b
	return b
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

// multiplexed is a client of HTTP/2.
type multiplexed struct {
	addr      string
	transport *http.Transport
	client    *http.Client
}

func newMultiplexed(addr string) *multiplexed {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	t := &http.Transport{Protocols: protocols, DisableCompression: true}
	return &multiplexed{addr: addr, transport: t, client: &http.Client{Transport: t, Timeout: timeLimit}}
}

func (m *multiplexed) ask(q *Question) ([]byte, error) {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if q.Body != nil {
		method, body = http.MethodPost, bytes.NewReader(q.Body)
	}
	req, err := http.NewRequest(method, "http://"+m.addr+q.Path, body)
	if err != nil {
		return nil, err
	}
	req.Host = q.Host
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.ProtoMajor != 2:
		return nil, fmt.Errorf("the reply is %s", resp.Proto)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %.300s", resp.Status, bytes.TrimSpace(reply))
	}
	return reply, nil
}

func (m *multiplexed) close() { m.transport.CloseIdleConnections() }
