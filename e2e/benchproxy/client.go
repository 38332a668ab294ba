package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// repeat has n workers call once again and again for the duration of a measurement. once gives how long what it
// measures took. The first error ends all.
func (b *bench) repeat(ctx context.Context, n int, once func(ctx context.Context, worker int) (time.Duration, error)) (outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waits := make([][]time.Duration, n)
	var workers sync.WaitGroup
	began := time.Now()
	for i := range n {
		workers.Go(func() {
			for time.Since(began) < b.duration && ctx.Err() == nil {
				took, err := once(ctx, i)
				if err != nil {
					cancel(err)
					return
				}
				waits[i] = append(waits[i], took)
			}
		})
	}
	workers.Wait()
	took := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return outcome{}, err
	}
	var all []time.Duration
	for _, w := range waits {
		all = append(all, w...)
	}
	return summarize(all, took)
}

// handshakes makes a TLS connection for each request. Sessions are not resumed, so that every handshake is a full one.
func (b *bench) handshakes(ctx context.Context, p *peer, conns int) (outcome, error) {
	config := clientTLS()
	config.NextProtos = []string{"http/1.1"}
	config.SessionTicketsDisabled = true
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", smallReply.path, certHost)
	want := smallReply.body()
	dialer := &net.Dialer{Timeout: askTimeout}
	return b.repeat(ctx, conns, func(ctx context.Context, _ int) (time.Duration, error) {
		began := time.Now()
		raw, err := dialer.DialContext(ctx, "tcp", p.https)
		if err != nil {
			return 0, err
		}
		defer raw.Close()
		_ = raw.SetDeadline(began.Add(askTimeout)) // a connection that fails says so when it is used
		c := tls.Client(raw, config)
		if _, err := c.Write(request); err != nil {
			return 0, err
		}
		got, err := io.ReadAll(c)
		if err != nil {
			return 0, err
		}
		if !bytes.HasPrefix(got, []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(got, want) {
			return 0, fmt.Errorf("the answer is %.100q", got)
		}
		if c.ConnectionState().DidResume {
			return 0, errors.New("a session was resumed")
		}
		return time.Since(began), nil
	})
}

// echoMessage is what goes to and fro over WebSockets, in bytes: a chat's message.
const echoMessage = 125

// webSockets sends a message on each of the connections and waits for its echo before it sends the next.
func (b *bench) webSockets(ctx context.Context, addr string, conns int) (outcome, error) {
	message := bytes.Repeat([]byte("m"), echoMessage)
	clients := make([]*websocket.Conn, conns)
	for i := range clients {
		c, _, err := websocket.Dial(ctx, "ws://"+addr+"/echo", nil)
		if err != nil {
			return outcome{}, fmt.Errorf("open WebSocket: %w", err)
		}
		defer func() { _ = c.CloseNow() }()
		clients[i] = c
	}
	return b.repeat(ctx, conns, func(ctx context.Context, worker int) (time.Duration, error) {
		began := time.Now()
		err := echo(ctx, clients[worker], message)
		return time.Since(began), err
	})
}

// asker is one connection on which requests follow each other.
type asker struct {
	net.Conn
	answers *bufio.Reader
}

// ask sends a request and reads its answer to the end.
func (a *asker) ask() error {
	_ = a.SetDeadline(time.Now().Add(askTimeout)) // a connection that fails says so when it is used
	if _, err := fmt.Fprintf(a, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", smallReply.path); err != nil {
		return err
	}
	resp, err := http.ReadResponse(a.answers, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.Close || !bytes.Equal(body, smallReply.body()) {
		return fmt.Errorf("status %s, close %t, %d bytes", resp.Status, resp.Close, len(body))
	}
	return nil
}
