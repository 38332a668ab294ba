package containerd

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/moby/sys/signal"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/shimenv"
)

// execCleanup bounds the removal of what a command leaves behind, also when its caller has gone.
const execCleanup = 10 * time.Second

// Exec runs a command inside a running container and gives its exit code.
func (r *Runtime) Exec(ctx context.Context, id string, x agent.Exec) (int, error) {
	if x.Held {
		x.Args = []string{initTarget, "held"}
	}
	if len(x.Args) == 0 {
		return 0, api.FieldError("command", "", "a command")
	}
	ctx = inNamespace(ctx)
	code, err := r.exec(ctx, id, x)
	return code, convert(err, "run command in container %s", id)
}

func (r *Runtime) exec(ctx context.Context, id string, x agent.Exec) (int, error) {
	container, err := r.client.LoadContainer(ctx, id)
	if err != nil {
		return 0, err
	}
	spec, err := container.Spec(ctx)
	if err != nil {
		return 0, err
	}
	task, err := container.Task(ctx, nil)
	if err != nil {
		return 0, err
	}
	process, err := execProcess(spec, x, task.Pid())
	if err != nil {
		return 0, err
	}
	stdin, passed := newStdin(x.Stdin), &flow{}
	x.Stdout, x.Stderr = passed.through(x.Stdout), passed.through(x.Stderr)
	p, err := task.Exec(ctx, "exec-"+rand.Text()[:12], process, r.execIO(x, stdin))
	if err != nil {
		return 0, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execCleanup)
		defer cancel()
		if _, err := p.Delete(ctx, client.WithProcessKill); err != nil && !gone(err) {
			r.cfg.log().Warn("command is left behind", "task", id, "error", err)
		}
	}()
	exited, err := p.Wait(ctx)
	if err != nil {
		return 0, err
	}
	if err := p.Start(ctx); err != nil {
		return 0, startError(err)
	}
	stdin.started(func() { _ = p.CloseIO(ctx, client.WithStdinCloser) })
	return r.attend(ctx, p, x, exited, passed)
}

// attend passes sizes and signals on until the command ends.
func (r *Runtime) attend(ctx context.Context, p client.Process, x agent.Exec, exited <-chan client.ExitStatus, passed *flow) (int, error) {
	resize, signals := x.Resize, x.Signals
	for {
		select {
		case s := <-exited:
			code, _, err := s.Result()
			if err != nil {
				if ctx.Err() != nil {
					return 0, ctx.Err()
				}
				return 0, native(err)
			}
			waitIO(ctx, p.IO(), passed)
			return int(code), nil
		case <-ctx.Done():
			return 0, ctx.Err()
		case size, ok := <-resize:
			if !ok {
				resize = nil
			} else if x.TTY {
				_ = p.Resize(ctx, uint32(size.Cols), uint32(size.Rows)) // the command may just have ended
			}
		case name, ok := <-signals:
			if !ok {
				signals = nil
			} else if s, err := signal.ParseSignal(name); err == nil {
				_ = p.Kill(ctx, s)
			}
		}
	}
}

// The rest of a command's output is in pipes when it ends. They end too, unless a child of it holds them open: then they
// are left after restQuiet in which nothing came, or restBytes, which is more than they hold.
const (
	restQuiet = time.Second
	restBytes = 4 << 20
)

// waitIO waits for the rest of the output of a command that has ended, for as long as its caller takes to read that.
func waitIO(ctx context.Context, streams cio.IO, passed *flow) {
	done := make(chan struct{})
	go func() {
		streams.Wait()
		close(done)
	}()
	t := time.NewTimer(restQuiet)
	defer t.Stop()
	passed.rest()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
		case <-t.C:
			if quiet, bytes := passed.since(); quiet < restQuiet && bytes < restBytes {
				t.Reset(restQuiet - quiet)
				continue
			}
		}
		streams.Cancel()
		_ = streams.Close()
		return
	}
}

// flow knows how output passes.
type flow struct {
	mu      sync.Mutex
	writing int       // calls that wait for the reader
	last    time.Time // when one ended, or the rest began
	bytes   int64     // since the rest began
}

// through gives a writer whose bytes are counted; nil stays nil.
func (f *flow) through(w io.Writer) io.Writer {
	if w == nil {
		return nil
	}
	return passage{f, w}
}

// rest counts from now on.
func (f *flow) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last, f.bytes = time.Now(), 0
}

// since gives for how long nothing has passed, 0 while something does, and how much has since the rest began.
func (f *flow) since() (quiet time.Duration, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.writing > 0 {
		return 0, f.bytes
	}
	return time.Since(f.last), f.bytes
}

func (f *flow) note(calls, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writing += calls
	f.last = time.Now()
	f.bytes += int64(n)
}

type passage struct {
	flow *flow
	w    io.Writer
}

func (p passage) Write(b []byte) (int, error) {
	p.flow.note(1, 0)
	n, err := p.w.Write(b)
	p.flow.note(-1, n)
	return n, err
}

func (r *Runtime) execIO(x agent.Exec, stdin *stdin) cio.Creator {
	discard := func(w io.Writer) io.Writer {
		if w == nil {
			return io.Discard
		}
		return w
	}
	var in io.Reader // an interface that is nil, not one that holds a nil pointer
	if stdin != nil {
		in = stdin
	}
	opts := []cio.Opt{cio.WithFIFODir(r.cfg.fifoDir())}
	if x.TTY {
		return cio.NewCreator(append(opts, cio.WithStreams(in, discard(x.Stdout), nil), cio.WithTerminal)...)
	}
	return cio.NewCreator(append(opts, cio.WithStreams(in, discard(x.Stdout), discard(x.Stderr)))...)
}

// execProcess derives a command's process from the container's own.
func execProcess(spec *specs.Spec, x agent.Exec, pid uint32) (*specs.Process, error) {
	p := *spec.Process
	p.Args = x.Args
	p.Terminal = x.TTY
	p.OOMScoreAdj = nil
	env := p.Env
	if x.TTY {
		env = append([]string{"TERM=xterm"}, env...)
	}
	secret, err := shimenv.Read(spec.Annotations)
	if err != nil {
		return nil, err
	}
	p.Env = slices.Concat(env, secret, x.Env)
	p.Cwd = cmp.Or(x.Dir, p.Cwd)
	if x.User != "" {
		// The container's root as the kernel shows it: what the image has and what was changed since.
		root, err := os.OpenRoot("/proc/" + strconv.Itoa(int(pid)) + "/root")
		if err != nil {
			return nil, fmt.Errorf("read users of the container: %w", err)
		}
		defer root.Close()
		if p.User, err = findUser(x.User, nil, readAccounts(root)); err != nil {
			return nil, err
		}
		caps := *spec.Process.Capabilities
		caps.Permitted, caps.Effective = nil, nil
		if p.User.UID == 0 {
			caps.Permitted, caps.Effective = caps.Bounding, caps.Bounding
		}
		p.Capabilities = &caps
	}
	return &p, nil
}

// stdin passes a reader on and, when it has ended, has the command's standard input closed: containerd's copy of the
// pipe would otherwise keep it open.
type stdin struct {
	r     io.Reader
	ended chan struct{}
	once  bool
}

func newStdin(r io.Reader) *stdin {
	if r == nil {
		return nil
	}
	return &stdin{r: r, ended: make(chan struct{})}
}

// Read is called by one goroutine.
func (s *stdin) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && !s.once {
		s.once = true
		close(s.ended)
	}
	return n, err
}

// started has closeInput called when the reader has ended. The goroutine ends with the reader.
func (s *stdin) started(closeInput func()) {
	if s == nil {
		return
	}
	go func() {
		<-s.ended
		closeInput()
	}()
}
