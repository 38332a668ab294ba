// Package fake is an agent.Runtime in memory: containers are goroutines that run a [Program]. It passes the same suite
// as the real one, and fails on purpose where a test asks for it. Time is the standard library's, so that it works inside
// testing/synctest. All methods are safe for concurrent use. Start at [New].
package fake

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/signal"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
)

// Process is what a [Program] has of its container.
type Process struct {
	Args    []string
	Env     []string // of an exec only; a container's is in Container.Spec
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan string // names, such as "SIGTERM"; SIGKILL ends the container without the program's doing
}

// Program stands for what runs in containers: it gives an exit code. It must return when ctx ends, which is when the
// container was killed.
type Program func(ctx context.Context, p Process) int

// Faults are errors to give; each is asked, where it is set, before the work is done. They are called without any lock
// held and may block.
type Faults struct {
	Pull   func(ref string) error
	Create func(c agent.Container) error
	Signal func(id, name string) error
	Remove func(id string) error
	List   func() error
}

// Runtime is the runtime.
type Runtime struct {
	program Program

	mu         sync.Mutex
	faults     Faults
	images     map[string]bool // known: true when pulled
	containers map[string]*container
	logs       map[string]*log
	watchers   map[chan agent.Exit]context.Context
	changed    chan struct{} // closed and replaced when a log grows or is closed
}

var _ agent.Runtime = (*Runtime)(nil)

type container struct {
	spec    agent.Container
	started time.Time
	signals chan string
	kill    context.CancelFunc
	dead    context.Context
	exit    *agent.Exit
}

type log struct {
	records []agent.LogRecord
	closed  bool
}

// New makes a runtime whose registries have the images. A nil program is [Shell].
func New(program Program, images ...string) *Runtime {
	if program == nil {
		program = Shell
	}
	r := &Runtime{
		program: program, images: map[string]bool{}, containers: map[string]*container{}, logs: map[string]*log{},
		watchers: map[chan agent.Exit]context.Context{}, changed: make(chan struct{}),
	}
	for _, ref := range images {
		r.images[ref] = false
	}
	return r
}

// SetFaults replaces the faults.
func (r *Runtime) SetFaults(f Faults) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = f
}

// AddImage makes an image known, so that it can be pulled.
func (r *Runtime) AddImage(ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.images[ref] {
		r.images[ref] = false
	}
}

// Exit ends a container's process with a code; it tells whether one ran.
func (r *Runtime) Exit(id string, code int) bool { return r.end(id, &code, false) }

// OOM ends a container's process as the memory limit does.
func (r *Runtime) OOM(id string) bool {
	code := 137
	return r.end(id, &code, true)
}

// Lose ends a container's process so that its exit code cannot be learnt.
func (r *Runtime) Lose(id string) bool { return r.end(id, nil, false) }

// Print writes a line to a container's log.
func (r *Runtime) Print(id, stream, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.print(id, stream, text)
}

// Spec gives what a container was made with.
func (r *Runtime) Spec(id string) (agent.Container, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return agent.Container{}, false
	}
	return c.spec, true
}

// Pull makes a known image present.
func (r *Runtime) Pull(ctx context.Context, ref string, progress func(done, total int64)) error {
	if f := r.fault().Pull; f != nil {
		if err := f(ref); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	_, known := r.images[ref]
	if known {
		r.images[ref] = true
	}
	r.mu.Unlock()
	if !known {
		return api.Errorf(api.NotFound, "pull image %s: no such image", ref)
	}
	if progress != nil {
		progress(1, 1)
	}
	return nil
}

// Create starts a container's program.
func (r *Runtime) Create(ctx context.Context, c agent.Container) error {
	if f := r.fault().Create; f != nil {
		if err := f(c); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.containers[c.ID]; ok {
		return nil
	}
	if !r.images[c.Image] {
		return api.Errorf(api.NotFound, "create container %s: image %s is not here", c.ID, c.Image)
	}
	dead, kill := context.WithCancel(context.Background())
	k := &container{spec: c, started: time.Now(), signals: make(chan string, 16), kill: kill, dead: dead}
	r.containers[c.ID] = k
	r.logs[c.ID] = &log{}
	args := slices.Concat(c.Spec.Entrypoint, c.Spec.Command)
	if c.Hold {
		args = nil // which waits for a signal
	}
	out, errs := r.writer(c.ID, "stdout"), r.writer(c.ID, "stderr")
	go func() {
		code := r.program(dead, Process{Args: args, Stdin: strings.NewReader(""), Stdout: out, Stderr: errs, Signals: k.signals})
		out.flush()
		errs.flush()
		r.finish(k, &code, false)
	}()
	return nil
}

// Signal sends a signal to a container's program.
func (r *Runtime) Signal(_ context.Context, id, name string) error {
	if f := r.fault().Signal; f != nil {
		if err := f(id, name); err != nil {
			return err
		}
	}
	s, err := signal.ParseSignal(name)
	if err != nil {
		return api.FieldError("signal", name, "the name or number of a signal, such as SIGTERM")
	}
	if s == signal.SignalMap["KILL"] {
		r.Exit(id, 137)
		return nil
	}
	r.mu.Lock()
	c, ok := r.containers[id]
	r.mu.Unlock()
	if !ok {
		return nil
	}
	for known, number := range signal.SignalMap {
		if number == s && !strings.HasPrefix(known, "RT") {
			select {
			case c.signals <- "SIG" + known:
			default: // a program that does not listen; the kernel drops signals that are pending already, too
			}
			return nil
		}
	}
	return nil
}

// Remove ends and forgets a container; its log stays.
func (r *Runtime) Remove(_ context.Context, id string) error {
	if f := r.fault().Remove; f != nil {
		if err := f(id); err != nil {
			return err
		}
	}
	r.Exit(id, 137)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, id)
	if l, ok := r.logs[id]; ok {
		l.closed = true
		r.wake()
	}
	return nil
}

// List gives every container, by ID.
func (r *Runtime) List(context.Context) ([]agent.ContainerState, error) {
	if f := r.fault().List; f != nil {
		if err := f(); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []agent.ContainerState
	for _, id := range slices.Sorted(maps.Keys(r.containers)) {
		c := r.containers[id]
		s := agent.ContainerState{ID: id, Labels: maps.Clone(c.spec.Labels), Running: c.exit == nil, StartedAt: c.started}
		if c.exit != nil && c.exit.Code != nil {
			e := *c.exit
			s.Exit = &e
		}
		all = append(all, s)
	}
	return all, nil
}

// Exits delivers exits, those of the past first.
func (r *Runtime) Exits(ctx context.Context) <-chan agent.Exit {
	r.mu.Lock()
	defer r.mu.Unlock()
	var past []agent.Exit
	for _, id := range slices.Sorted(maps.Keys(r.containers)) {
		if e := r.containers[id].exit; e != nil {
			past = append(past, *e)
		}
	}
	in, out := make(chan agent.Exit), make(chan agent.Exit)
	r.watchers[in] = ctx
	go r.relay(ctx, past, in, out)
	return out
}

// relay hands exits to a reader that may be slow.
func (r *Runtime) relay(ctx context.Context, queue []agent.Exit, in chan agent.Exit, out chan<- agent.Exit) {
	defer close(out)
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, in)
	}()
	for {
		var next chan<- agent.Exit
		var head agent.Exit
		if len(queue) > 0 {
			next, head = out, queue[0]
		}
		select {
		case <-ctx.Done():
			return
		case e := <-in:
			queue = append(queue, e)
		case next <- head:
			queue = queue[1:]
		}
	}
}

// Exec runs the program once more, beside a container's own.
func (r *Runtime) Exec(ctx context.Context, id string, x agent.Exec) (int, error) {
	r.mu.Lock()
	c, ok := r.containers[id]
	running := ok && c.exit == nil
	r.mu.Unlock()
	if !running {
		return 0, api.Errorf(api.NotFound, "run command in container %s: it does not run", id)
	}
	if x.Held {
		x.Args = slices.Concat(c.spec.Spec.Entrypoint, c.spec.Spec.Command)
	}
	p := Process{Args: x.Args, Env: x.Env, Stdin: x.Stdin, Stdout: x.Stdout, Stderr: x.Stderr, Signals: x.Signals}
	if p.Stdin == nil {
		p.Stdin = strings.NewReader("")
	}
	if p.Stdout == nil {
		p.Stdout = io.Discard
	}
	if p.Stderr == nil {
		p.Stderr = io.Discard
	}
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.dead, cancel)()
	code := r.program(run, p)
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("run command in container %s: %w", id, err)
	}
	return code, nil
}

func (r *Runtime) fault() Faults {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults
}

func (r *Runtime) end(id string, code *int, oom bool) bool {
	r.mu.Lock()
	c, ok := r.containers[id]
	r.mu.Unlock()
	return ok && r.finish(c, code, oom)
}

// finish sets a container's exit, once, and tells of it.
func (r *Runtime) finish(c *container, code *int, oom bool) bool {
	r.mu.Lock()
	if c.exit != nil {
		r.mu.Unlock()
		return false
	}
	e := agent.Exit{ID: c.spec.ID, Code: code, OOM: oom, At: time.Now()}
	c.exit = &e
	watchers := maps.Clone(r.watchers)
	r.mu.Unlock()
	c.kill()
	for w, ctx := range watchers {
		select {
		case w <- e:
		case <-ctx.Done():
		}
	}
	return true
}
