package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestClientThatSendsNoMoreIsClosed has clients end their sending together with their last request: the end comes with
// the request's bytes, so that nothing tells of it any more once they are read.
func TestClientThatSendsNoMoreIsClosed(t *testing.T) {
	p := run(t, Config{})
	p.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "got %d", n)
	})))
	for name, request := range map[string]string{
		"GET":      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"two":      strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 2),
		"POST":     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"long":     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000),
		"chunks":   "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.0": "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", p.HTTPAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			if err := holdBack(c.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			reply, err := io.ReadAll(c)
			if err != nil || !strings.Contains(string(reply), "got ") {
				t.Errorf("%q, %v; expected a reply and the connection's end", reply, err)
			}
		})
	}
}

// holdBack has the kernel keep what is written until the end is there too, so that they go in one segment.
func holdBack(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	err = raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 1) })
	return errors.Join(err, optErr)
}
