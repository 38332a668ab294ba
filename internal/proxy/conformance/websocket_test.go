package conformance

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"

	"github.com/ikada/ikada/internal/proxy"
)

const largeMessage = 10 << 20

// upgrader takes every WebSocket; what it has to choose from is the client's.
func upgrader() *gorilla.Upgrader {
	return &gorilla.Upgrader{
		CheckOrigin: func(*http.Request) bool { return true }, EnableCompression: true,
		Subprotocols: []string{"chat.v2", "chat.v1"},
	}
}

// socket is a task whose every request is a WebSocket that serve handles, behind a balancer. It gives its URL.
func socket(t *testing.T, serve func(*gorilla.Conn)) string {
	return "ws://" + balance(t, proxy.Config{}, task(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader().Upgrade(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer c.Close()
		serve(c)
	})))
}

func echo(c *gorilla.Conn) {
	for {
		kind, message, err := c.ReadMessage()
		if err != nil || c.WriteMessage(kind, message) != nil {
			return
		}
	}
}

func dialGorilla(t *testing.T, d gorilla.Dialer, url string) (*gorilla.Conn, *http.Response) {
	t.Helper()
	d.HandshakeTimeout = patience
	c, res, err := d.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	deadline := time.Now().Add(patience)
	if err := errors.Join(c.SetReadDeadline(deadline), c.SetWriteDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	return c, res
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b) // it gives no error
	return b
}

// TestWebSocketMessages sends messages of every length class of RFC 6455, section 5.2, and of 10 MB, each way, with two
// client libraries.
func TestWebSocketMessages(t *testing.T) {
	t.Parallel()
	url := socket(t, echo)
	messages := [][]byte{{}, []byte("x")}
	for _, n := range []int{125, 126, 4096, 65535, 65536, 1 << 20, largeMessage} {
		messages = append(messages, noise(n))
	}
	text := []byte(strings.Repeat("いかだ ", 5000))
	t.Run("gorilla", func(t *testing.T) {
		t.Parallel()
		c, _ := dialGorilla(t, gorilla.Dialer{}, url)
		both := func(kind int, m []byte) {
			if err := c.WriteMessage(kind, m); err != nil {
				t.Fatal(err)
			}
			if k, got, err := c.ReadMessage(); err != nil || k != kind || !bytes.Equal(got, m) {
				t.Fatalf("%d bytes: kind %d, %d bytes back, %v", len(m), k, len(got), err)
			}
		}
		for _, m := range messages {
			both(gorilla.BinaryMessage, m)
		}
		both(gorilla.TextMessage, text)
	})
	t.Run("coder", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, _, err := coder.Dial(ctx, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		c.SetReadLimit(largeMessage + 1)
		both := func(kind coder.MessageType, m []byte) {
			// Side by side: an echo of 10 MB fills both directions before the message is whole.
			sent := make(chan error, 1)
			go func() { sent <- c.Write(ctx, kind, m) }()
			if k, got, err := c.Read(ctx); err != nil || k != kind || !bytes.Equal(got, m) {
				t.Fatalf("%d bytes: kind %v, %d bytes back, %v", len(m), k, len(got), err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range messages {
			both(coder.MessageBinary, m)
		}
		both(coder.MessageText, text)
		if err := c.Close(coder.StatusNormalClosure, ""); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// TestWebSocketFragments sends a message in 1000 frames with pings between them.
func TestWebSocketFragments(t *testing.T) {
	t.Parallel()
	c, _ := dialGorilla(t, gorilla.Dialer{WriteBufferSize: 64}, socket(t, echo))
	pongs := 0
	c.SetPongHandler(func(string) error { pongs++; return nil })
	whole := noise(64 * 1000)
	w, err := c.NextWriter(gorilla.BinaryMessage)
	if err != nil {
		t.Fatal(err)
	}
	for i, piece := 0, whole; len(piece) > 0; i, piece = i+1, piece[64:] {
		if _, err := w.Write(piece[:64]); err != nil {
			t.Fatal(err)
		}
		if i%100 == 50 {
			if err := c.WriteControl(gorilla.PingMessage, []byte{byte(i)}, time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.ReadMessage(); err != nil || !bytes.Equal(got, whole) {
		t.Fatalf("%d bytes back, %v", len(got), err)
	}
	if pongs != 10 {
		t.Errorf("%d pongs to 10 pings", pongs)
	}
}

func TestWebSocketPings(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	url := socket(t, func(c *gorilla.Conn) {
		c.SetPongHandler(func(s string) error { asked <- s; return nil })
		if c.WriteControl(gorilla.PingMessage, []byte("from the task"), time.Now().Add(patience)) == nil {
			echo(c)
		}
	})
	c, _ := dialGorilla(t, gorilla.Dialer{}, url)
	answered := ""
	c.SetPongHandler(func(s string) error { answered = s; return nil })
	if err := c.WriteControl(gorilla.PingMessage, []byte("from the client"), time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteMessage(gorilla.TextMessage, []byte("after")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadMessage(); err != nil { // answers the task's ping on the way
		t.Fatal(err)
	}
	if answered != "from the client" {
		t.Errorf("the client's pong says %q", answered)
	}
	select {
	case s := <-asked:
		if s != "from the task" {
			t.Errorf("the task's pong says %q", s)
		}
	case <-time.After(patience):
		t.Error("the task gets no pong")
	}
}

// TestWebSocketCloseCodes has either side close with each code of RFC 6455, section 7.4, that may be sent.
func TestWebSocketCloseCodes(t *testing.T) {
	t.Parallel()
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4000, 4999} {
		reason := fmt.Sprintf("because of %d", code)
		farewell := gorilla.FormatCloseMessage(code, reason)
		check := func(t *testing.T, who string, err error) {
			t.Helper()
			if e := (*gorilla.CloseError)(nil); !errors.As(err, &e) || e.Code != code || e.Text != reason {
				t.Errorf("%s sees %v", who, err)
			}
		}
		t.Run(fmt.Sprintf("client %d", code), func(t *testing.T) {
			t.Parallel()
			seen := make(chan error, 1)
			c, _ := dialGorilla(t, gorilla.Dialer{}, socket(t, func(c *gorilla.Conn) {
				_, _, err := c.ReadMessage()
				seen <- err
			}))
			if err := c.WriteControl(gorilla.CloseMessage, farewell, time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			_, _, err := c.ReadMessage() // the task's library sends the code back
			if e := (*gorilla.CloseError)(nil); !errors.As(err, &e) || e.Code != code {
				t.Errorf("the client sees %v", err)
			}
			check(t, "the task", <-seen)
		})
		t.Run(fmt.Sprintf("task %d", code), func(t *testing.T) {
			t.Parallel()
			c, _ := dialGorilla(t, gorilla.Dialer{}, socket(t, func(c *gorilla.Conn) {
				if c.WriteControl(gorilla.CloseMessage, farewell, time.Now().Add(patience)) == nil {
					_, _, _ = c.ReadMessage() // until the client has answered
				}
			}))
			_, _, err := c.ReadMessage()
			check(t, "the client", err)
		})
	}
}

// TestWebSocketsAtOnce has 300 of them echo side by side.
func TestWebSocketsAtOnce(t *testing.T) {
	t.Parallel()
	url := socket(t, echo)
	var clients errgroup.Group
	opened := make(chan struct{})
	var opening errgroup.Group
	for i := range 300 {
		c := make(chan *gorilla.Conn, 1)
		opening.Go(func() error {
			conn, _, err := gorilla.DefaultDialer.Dial(url, nil)
			c <- conn
			return err
		})
		clients.Go(func() error {
			conn := <-c
			if conn == nil {
				return nil // told by opening
			}
			defer conn.Close()
			<-opened // all are open at once before the first goes on
			for n := range 10 {
				m := fmt.Appendf(nil, "%d of %d %s", n, i, strings.Repeat("x", i))
				if err := conn.WriteMessage(gorilla.TextMessage, m); err != nil {
					return err
				}
				if _, got, err := conn.ReadMessage(); err != nil || !bytes.Equal(got, m) {
					return fmt.Errorf("%q back for %q, %w", got, m, err)
				}
			}
			return nil
		})
	}
	err := opening.Wait()
	close(opened)
	if err := errors.Join(err, clients.Wait()); err != nil {
		t.Fatal(err)
	}
}

// TestWebSocketNegotiation has the task and the client agree on a subprotocol and on compression.
func TestWebSocketNegotiation(t *testing.T) {
	t.Parallel()
	url := socket(t, func(c *gorilla.Conn) {
		_ = c.SetCompressionLevel(flate.BestSpeed) // the level is valid
		echo(c)
	})
	t.Run("compressed", func(t *testing.T) {
		t.Parallel()
		c, res := dialGorilla(t, gorilla.Dialer{Subprotocols: []string{"mqtt", "chat.v1"}, EnableCompression: true}, url)
		if c.Subprotocol() != "chat.v1" {
			t.Errorf("subprotocol %q", c.Subprotocol())
		}
		if ext := res.Header.Get("Sec-Websocket-Extensions"); !strings.HasPrefix(ext, "permessage-deflate") {
			t.Errorf("extensions %q", ext)
		}
		m := bytes.Repeat([]byte("compresses well "), 1<<16)
		if err := c.WriteMessage(gorilla.TextMessage, m); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.ReadMessage(); err != nil || !bytes.Equal(got, m) {
			t.Errorf("%d bytes back, %v", len(got), err)
		}
	})
	t.Run("neither", func(t *testing.T) {
		t.Parallel()
		c, res := dialGorilla(t, gorilla.Dialer{}, url)
		if ext := res.Header.Get("Sec-Websocket-Extensions"); c.Subprotocol() != "" || ext != "" {
			t.Errorf("subprotocol %q, extensions %q", c.Subprotocol(), ext)
		}
	})
}

// TestWebSocketRefused has a task refuse: its answer reaches the client.
func TestWebSocketRefused(t *testing.T) {
	t.Parallel()
	url := "ws://" + balance(t, proxy.Config{}, task(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Why", "members only")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "not you")
	})))
	c, res, err := gorilla.DefaultDialer.Dial(url, nil)
	if err == nil {
		c.Close()
		t.Fatal("it was opened")
	}
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusForbidden || res.Header.Get("X-Why") != "members only" || string(body) != "not you" {
		t.Errorf("%d %v %q", res.StatusCode, res.Header, body)
	}
}

// TestWebSocketCut ends either side's connection without a word, in order or with a reset: the other side notices.
func TestWebSocketCut(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(net.Conn) error{
		"in order": net.Conn.Close,
		"by reset": func(c net.Conn) error { return errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()) },
	} {
		t.Run("client "+name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan error, 1)
			c, _ := dialGorilla(t, gorilla.Dialer{}, socket(t, func(c *gorilla.Conn) {
				_, _, err := c.ReadMessage()
				seen <- err
			}))
			if err := cut(c.NetConn()); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-seen:
				if err == nil {
					t.Error("the task reads a message")
				}
			case <-time.After(patience):
				t.Error("the task does not notice")
			}
		})
		t.Run("task "+name, func(t *testing.T) {
			t.Parallel()
			c, _ := dialGorilla(t, gorilla.Dialer{}, socket(t, func(c *gorilla.Conn) { _ = cut(c.NetConn()) }))
			_, _, err := c.ReadMessage()
			if timeout := net.Error(nil); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("the client sees %v", err)
			}
		})
	}
}
