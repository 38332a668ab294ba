package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// serveEcho is a WebSocket server that sends every message back. It takes its address.
func serveEcho(args []string) error {
	if len(args) != 1 {
		return errors.New("echo takes one argument")
	}
	s := &http.Server{Addr: args[0], ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil {
				return // the client has gone
			}
			if err := c.Write(r.Context(), kind, message); err != nil {
				return
			}
		}
	})}
	return s.ListenAndServe()
}

// checkEcho sends one message to an address and compares what comes back.
func checkEcho(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+addr+"/echo", nil)
	if err != nil {
		return err
	}
	defer func() { _ = c.CloseNow() }()
	return echo(ctx, c, []byte("hello"))
}

// echo sends a message and waits until it has come back.
func echo(ctx context.Context, c *websocket.Conn, message []byte) error {
	if err := c.Write(ctx, websocket.MessageBinary, message); err != nil {
		return err
	}
	kind, got, err := c.Read(ctx)
	if err != nil {
		return err
	}
	if kind != websocket.MessageBinary || !bytes.Equal(got, message) {
		return fmt.Errorf("the echo is %d bytes that are not the message's", len(got))
	}
	return nil
}
