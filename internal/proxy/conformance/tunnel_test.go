package conformance

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/internal/proxy"
)

const (
	upgradeRequest = "GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: noise\r\n\r\n"
	upgradeAnswer  = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: noise\r\n\r\n"
)

// upgraded is a connection that has switched protocols through a balancer to a task, which serve handles then.
func upgraded(t *testing.T, serve func(*net.TCPConn, *bufio.Reader)) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	return upgradedWith(t, "", "", serve)
}

// upgradedWith has the client send early right behind its request, and the task send first right behind its answer.
func upgradedWith(t *testing.T, early, first string, serve func(*net.TCPConn, *bufio.Reader)) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c := dial(t, balance(t, proxy.Config{}, rawTask(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil {
			t.Error(err)
			return
		}
		if req.Header.Get("Upgrade") != "noise" || !strings.EqualFold(req.Header.Get("Connection"), "upgrade") {
			t.Errorf("the task is asked with %v", req.Header)
		}
		if _, err := io.WriteString(c, upgradeAnswer+first); err != nil {
			t.Error(err)
			return
		}
		serve(c.(*net.TCPConn), br)
	})))
	write(t, c, upgradeRequest+early)
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "noise" {
		t.Fatalf("%s %v", res.Status, res.Header)
	}
	return c, br
}

// TestTunnelCarriesBytes sends 8 MB of noise each way at the same time: what the balancer carries after a switch of
// protocols is not its to read.
func TestTunnelCarriesBytes(t *testing.T) {
	t.Parallel()
	there, back := noise(8<<20), noise(8<<20+1)
	got := make(chan []byte, 1)
	send := func(c *net.TCPConn, b []byte) {
		if _, err := c.Write(b); err != nil {
			t.Error(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
	}
	c, br := upgraded(t, func(c *net.TCPConn, br *bufio.Reader) {
		sent := make(chan struct{})
		go func() { defer close(sent); send(c, back) }()
		b, err := io.ReadAll(br)
		if err != nil {
			t.Error(err)
		}
		got <- b
		<-sent
	})
	go send(c, there)
	b, err := io.ReadAll(br)
	if err != nil || !bytes.Equal(b, back) {
		t.Errorf("the client gets %d bytes, %v", len(b), err)
	}
	if b := <-got; !bytes.Equal(b, there) {
		t.Errorf("the task gets %d bytes", len(b))
	}
}

// TestTunnelHalfClose ends one direction: the other goes on until it ends too.
func TestTunnelHalfClose(t *testing.T) {
	t.Parallel()
	t.Run("client first", func(t *testing.T) {
		t.Parallel()
		c, br := upgraded(t, func(c *net.TCPConn, br *bufio.Reader) {
			b, err := io.ReadAll(br)
			if err != nil || string(b) != "all I have" {
				t.Errorf("the task reads %q, %v", b, err)
			}
			_, _ = io.WriteString(c, "and so I know all")
		})
		write(t, c, "all I have")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(br); err != nil || string(b) != "and so I know all" {
			t.Errorf("the client reads %q, %v", b, err)
		}
	})
	t.Run("task first", func(t *testing.T) {
		t.Parallel()
		got := make(chan string, 1)
		c, br := upgraded(t, func(c *net.TCPConn, br *bufio.Reader) {
			_, _ = io.WriteString(c, "all I have")
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			b, _ := io.ReadAll(br)
			got <- string(b)
		})
		if b, err := io.ReadAll(br); err != nil || string(b) != "all I have" {
			t.Errorf("the client reads %q, %v", b, err)
		}
		write(t, c, "and so I know all")
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		select {
		case s := <-got:
			if s != "and so I know all" {
				t.Errorf("the task reads %q", s)
			}
		case <-time.After(patience):
			t.Error("the task does not see the end")
		}
	})
}

// TestTunnelFirstBytes has what either side says first arrive in the same segment as its head.
func TestTunnelFirstBytes(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	c, br := upgradedWith(t, "early from the client", "first from the task", func(c *net.TCPConn, br *bufio.Reader) {
		b, _ := io.ReadAll(br)
		got <- string(b)
	})
	b := make([]byte, len("first from the task"))
	if _, err := io.ReadFull(br, b); err != nil || string(b) != "first from the task" {
		t.Fatalf("the client reads %q, %v", b, err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "early from the client" {
		t.Errorf("the task reads %q", s)
	}
}

// TestTunnelEachByteAtOnce sends single bytes back and forth: nothing waits for more to come.
func TestTunnelEachByteAtOnce(t *testing.T) {
	t.Parallel()
	c, br := upgraded(t, func(c *net.TCPConn, br *bufio.Reader) {
		for {
			b, err := br.ReadByte()
			if err != nil {
				return
			}
			if _, err := c.Write([]byte{b + 1}); err != nil {
				return
			}
		}
	})
	for i := range 200 {
		write(t, c, string([]byte{byte(i)}))
		if b, err := br.ReadByte(); err != nil || b != byte(i+1) {
			t.Fatalf("%d comes back for %d, %v", b, i, err)
		}
	}
}
