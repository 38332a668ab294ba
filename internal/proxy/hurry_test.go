package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestHurryThatComesLate has the balancer take connections for idle, to close them, at the very moment that a request with a
// body begins on them: the request goes on.
func TestHurryThatComesLate(t *testing.T) {
	p := run(t, Config{})
	began := make(chan struct{})
	p.route("a=" + backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 1)
		_, _ = io.ReadFull(r.Body, first)
		began <- struct{}{}
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "got %d, %v", n+1, err)
	})))
	c, err := net.Dial("tcp", p.HTTPAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	send := func(text string) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello")
	<-began
	p.registry.each(func(c *conn) { _ = c.SetReadDeadline(past) }) // as hurry does
	send(" there")
	reply := make([]byte, 4<<10)
	n, err := c.Read(reply)
	if err != nil || !strings.Contains(string(reply[:n]), "got 11, <nil>") {
		t.Errorf("%q, %v", reply[:n], err)
	}
}
