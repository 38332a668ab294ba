package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/ikada/ikada/api"
)

const (
	execHello    = 10 * time.Second // for the first message of the caller
	execMaxFrame = 1 << 20
	execChunk    = 32 << 10
)

// exec checks that the task runs and gives what serves the connection.
func (s *Server) exec(ctx context.Context, in *taskInput) (http.HandlerFunc, error) {
	if s.deps.Tasks == nil {
		return nil, missing("way to reach tasks")
	}
	view, err := s.getTask(ctx, in)
	if err != nil {
		return nil, err
	}
	switch view.State() {
	case api.TaskRunning, api.TaskReady, api.TaskDraining:
	default:
		return nil, api.Errorf(api.Conflict, "task %s of service %s does not run: it is %s", view.ID, view.Service, view.State())
	}
	return s.serveFrames(func(ctx context.Context, c *execConn, wg *sync.WaitGroup) api.ExecResult {
		req, err := c.hello(ctx, true)
		if err != nil {
			return api.ExecResult{Error: errorOf(err)}
		}
		result, _ := s.serveExec(ctx, c, view.ID, Exec{Request: req}, wg)
		return result
	}), nil
}

// serveFrames takes a connection over, has it served and sends the result as its last frame.
func (s *Server) serveFrames(serve func(ctx context.Context, c *execConn, wg *sync.WaitGroup) api.ExecResult) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // it has answered
		}
		defer func() { _ = conn.CloseNow() }()
		conn.SetReadLimit(execMaxFrame)
		// The connection outlives what runs over it: a context that ends closes it, and why it ends is still to be told.
		open, closeNow := context.WithCancel(context.WithoutCancel(r.Context()))
		ctx, cancel := s.guard(r)
		defer cancel()
		c := &execConn{conn: conn, open: open}
		var wg sync.WaitGroup
		defer wg.Wait()
		defer closeNow()
		result := serve(ctx, c, &wg)
		if err := barred(ctx); err != nil {
			result = api.ExecResult{Error: errorOf(err)}
		} else if ctx.Err() != nil {
			return
		}
		if c.exit(open, result) == nil {
			_ = conn.Close(websocket.StatusNormalClosure, "")
		}
	}
}

// serveExec runs one command for a connection and gives how it ended, and whether the caller had gone by then. What reads the connection goes on after it,
// until ctx ends: to stop reading would close the connection before the exit is sent.
func (s *Server) serveExec(ctx context.Context, c *execConn, task string, x Exec, wg *sync.WaitGroup) (result api.ExecResult, gone bool) {
	x.Request.Task = task
	req := x.Request
	running, stop := context.WithCancel(ctx)
	defer stop()
	in, feed := io.Pipe()
	defer func() { _ = in.Close() }() // unblocks what reads the connection
	resize, signals := make(chan api.Winsize, 4), make(chan string, 4)
	x.Resize, x.Signals = resize, signals
	x.Stdout, x.Stderr = frameWriter{c.open, c, api.FrameStdout}, frameWriter{c.open, c, api.FrameStderr}
	if req.Stdin {
		x.Stdin = in
	} else {
		_ = in.Close()
	}
	if req.TTY && req.Rows > 0 && req.Cols > 0 {
		resize <- api.Winsize{Rows: req.Rows, Cols: req.Cols}
	}
	wg.Go(func() {
		defer stop() // the caller has gone: so does the command
		_ = feed.CloseWithError(c.receive(c.open, running, feed, resize, signals))
	})
	code, err := s.deps.Tasks.Exec(running, task, x)
	gone = running.Err() != nil
	if err != nil {
		return api.ExecResult{Error: errorOf(err)}, gone
	}
	return api.ExecResult{Code: code}, gone
}

// execConn speaks the frames of an exec connection.
type execConn struct {
	conn *websocket.Conn
	open context.Context // until the connection is to be closed
	mu   sync.Mutex
}

// hello reads the caller's first message, which names a command where one is asked for.
func (c *execConn) hello(ctx context.Context, command bool) (api.ExecRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, execHello)
	defer cancel()
	var req api.ExecRequest
	kind, msg, err := c.conn.Read(ctx)
	if err != nil {
		return req, api.Errorf(api.Invalid, "read exec request: %w", err)
	}
	if kind != websocket.MessageText {
		return req, api.FieldError("message", "binary", "an ExecRequest as text first")
	}
	if err := json.Unmarshal(msg, &req); err != nil {
		return req, api.Errorf(api.Invalid, "decode exec request: %w", err)
	}
	if !command {
		return req, nil
	}
	if len(req.Command) == 0 || req.Command[0] == "" {
		return req, api.FieldError("command", "", "a program and its arguments")
	}
	return req, nil
}

// receive passes on what the caller sends while the command runs, and reads until the connection or ctx ends. Its
// error is for the reader of standard input: the connection's end is not the input's.
func (c *execConn) receive(ctx, running context.Context, stdin *io.PipeWriter, resize chan<- api.Winsize, signals chan<- string) error {
	for {
		_, msg, err := c.conn.Read(ctx)
		if err != nil {
			return io.ErrUnexpectedEOF
		}
		if len(msg) == 0 {
			continue
		}
		payload := msg[1:]
		switch api.ExecFrame(msg[0]) {
		case api.FrameStdin:
			if len(payload) == 0 {
				_ = stdin.Close()
				continue
			}
			_, _ = stdin.Write(payload) // a command that has closed its input is no error
		case api.FrameResize:
			var w api.Winsize
			if json.Unmarshal(payload, &w) == nil {
				select {
				case resize <- w:
				case <-running.Done():
				}
			}
		case api.FrameSignal:
			select {
			case signals <- string(payload):
			case <-running.Done():
			}
		}
	}
}

func (c *execConn) exit(ctx context.Context, r api.ExecResult) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.write(ctx, api.FrameExit, b)
}

// write sends one frame; a caller that does not take it in time is cut off.
func (c *execConn) write(ctx context.Context, frame api.ExecFrame, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageBinary, append([]byte{byte(frame)}, payload...))
}

// frameWriter sends what is written as frames.
type frameWriter struct {
	ctx   context.Context
	conn  *execConn
	frame api.ExecFrame
}

// Write sends p in pieces.
func (w frameWriter) Write(p []byte) (int, error) {
	for done := 0; done < len(p); done += execChunk {
		if err := w.conn.write(w.ctx, w.frame, p[done:min(done+execChunk, len(p))]); err != nil {
			return done, err
		}
	}
	return len(p), nil
}
