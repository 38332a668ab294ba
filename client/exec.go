package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/coder/websocket"

	"github.com/ikada/ikada/api"
)

// ExecStreams is what an exec reads, writes and listens to. Nil members are left out.
type ExecStreams struct {
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer // unused with a terminal
	Resize  <-chan api.Winsize
	Signals <-chan string // names, "SIGINT"
}

const (
	execChunk    = 32 << 10
	execMaxFrame = 1 << 20
)

// Exec runs a command in a task and gives its exit code. An error means that it could not be run, or that the
// connection broke; when ctx ends the command is killed. A read of s.Stdin that is under way when Exec returns goes
// on: nothing can interrupt it.
func (c *Client) Exec(ctx context.Context, req api.ExecRequest, s ExecStreams) (int, error) {
	return c.runFrames(ctx, path("tasks", req.Task, "exec"), req, s)
}

// runFrames opens a connection of frames and serves it until the command's exit.
func (c *Client) runFrames(ctx context.Context, at string, req api.ExecRequest, s ExecStreams) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	header := http.Header{}
	c.authorize(header)
	conn, resp, err := websocket.Dial(ctx, c.url(at, nil), &websocket.DialOptions{ //nolint:bodyclose // the connection closes it
		HTTPClient: c.http, HTTPHeader: header,
	})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return 0, readError(resp)
		}
		return 0, c.unreachable(ctx, err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(execMaxFrame)
	req.Stdin = s.Stdin != nil
	first, err := json.Marshal(req)
	if err != nil {
		return 0, api.Errorf(api.Invalid, "encode request: %w", err)
	}
	if err := conn.Write(ctx, websocket.MessageText, first); err != nil {
		return 0, c.unreachable(ctx, err)
	}
	if s.Stdin != nil {
		go sendStdin(ctx, conn, s.Stdin)
	}
	var wg sync.WaitGroup
	wg.Go(func() { sendControl(ctx, conn, s) })
	code, err := c.receive(ctx, conn, s)
	cancel()
	wg.Wait()
	return code, err
}

// receive writes the command's output until its exit comes.
func (c *Client) receive(ctx context.Context, conn *websocket.Conn, s ExecStreams) (int, error) {
	for {
		_, msg, err := conn.Read(ctx)
		if err != nil {
			return 0, c.unreachable(ctx, err)
		}
		if len(msg) == 0 {
			continue
		}
		var w io.Writer
		switch api.ExecFrame(msg[0]) {
		case api.FrameStdout:
			w = s.Stdout
		case api.FrameStderr:
			w = s.Stderr
		case api.FrameExit:
			var r api.ExecResult
			if err := json.Unmarshal(msg[1:], &r); err != nil {
				return 0, api.Errorf(api.Internal, "read exit of exec: %w", err)
			}
			_ = conn.Close(websocket.StatusNormalClosure, "")
			if r.Error != nil {
				return 0, r.Error
			}
			return r.Code, nil
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(msg[1:]); err != nil {
			return 0, err
		}
	}
}

// sendStdin sends what in gives, then the end of input. It ends when in does or the connection is closed.
func sendStdin(ctx context.Context, conn *websocket.Conn, in io.Reader) {
	buf := make([]byte, 1+execChunk)
	buf[0] = byte(api.FrameStdin)
	for {
		n, err := in.Read(buf[1:])
		if n > 0 && conn.Write(ctx, websocket.MessageBinary, buf[:1+n]) != nil {
			return
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				_ = conn.Write(ctx, websocket.MessageBinary, buf[:1])
			}
			return
		}
	}
}

// sendControl passes sizes and signals on until ctx ends.
func sendControl(ctx context.Context, conn *websocket.Conn, s ExecStreams) {
	resize, signals := s.Resize, s.Signals
	for resize != nil || signals != nil {
		var frame []byte
		select {
		case <-ctx.Done():
			return
		case w, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			b, _ := json.Marshal(w) // two numbers always encode
			frame = append([]byte{byte(api.FrameResize)}, b...)
		case name, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			frame = append([]byte{byte(api.FrameSignal)}, name...)
		}
		if conn.Write(ctx, websocket.MessageBinary, frame) != nil {
			return
		}
	}
}
