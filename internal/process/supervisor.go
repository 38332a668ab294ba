// Package process runs the programs that a node starts and that outlive it: it starts one in a session of its own,
// finds it again after a restart, and starts it anew when it dies.
//
// It knows nothing of what the programs do. A [Supervisor] is safe for concurrent use. Start at [Supervisor.Start].
package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	startTimeout = 20 * time.Second // until a started process must answer
	stopTimeout  = 10 * time.Second // between SIGTERM and SIGKILL
	pollReady    = 5 * time.Millisecond
	minBackoff   = 20 * time.Millisecond // before it is started again
	maxBackoff   = 5 * time.Second
	steadyAfter  = 10 * time.Second // one that ran this long starts the backoff anew
	maxLog       = 4 << 20          // bytes of its own log before that is put aside
	logEvery     = time.Minute      // how often the log's length is looked at
)

// Config is what a supervisor is told of its program.
type Config struct {
	Name    string   // for messages: "containerd"
	Command []string // absolute path and arguments
	PIDPath string   // file in which the process is noted
	LogPath string   // its standard output and error are appended there
	// Prepare, which may be nil, is called before each start, while the program does not run.
	Prepare func() error
	// Ready gives nil once the program answers; it is asked again and again.
	Ready func(ctx context.Context) error
	Log   *slog.Logger
}

// Supervisor keeps one program running. The process outlives it: only Stop ends it.
type Supervisor struct {
	cfg Config

	mu      sync.Mutex
	process *Process // the one that runs, or the last one
	problem string   // why it does not run
}

// NewSupervisor makes a supervisor; nothing is started yet.
func NewSupervisor(cfg Config) *Supervisor { return &Supervisor{cfg: cfg} }

// Start returns once the program answers: the process that runs already, else a new one. Errors are of kind
// Unavailable.
func (s *Supervisor) Start(ctx context.Context) error {
	p, err := Adopt(s.cfg.PIDPath)
	if err != nil {
		return fmt.Errorf("adopt %s: %w", s.cfg.Name, err)
	}
	if p != nil && s.ready(ctx, p) == nil {
		s.set(p)
		s.cfg.Log.Info(s.cfg.Name+" adopted", "pid", p.pid)
		return nil
	}
	if p != nil { // it is there and does not answer: it cannot be used, and must not be there twice
		if err := p.Stop(ctx); err != nil {
			return fmt.Errorf("replace %s that does not answer: %w", s.cfg.Name, err)
		}
	}
	return s.Spawn(ctx)
}

// Run keeps the program running until ctx ends, and leaves it running then. Start must have succeeded.
func (s *Supervisor) Run(ctx context.Context) error {
	backoff, since := minBackoff, time.Now()
	for {
		p := s.Current()
		if p == nil {
			return api.Errorf(api.Internal, "run %s: it was not started", s.cfg.Name)
		}
		if err := s.tend(ctx, p); err != nil {
			return nil //nolint:nilerr // ctx has ended
		}
		if s.Current() != p {
			continue // it was replaced on purpose
		}
		s.cfg.Log.Warn(s.cfg.Name+" ended, starting it again", "pid", p.pid)
		if time.Since(since) > steadyAfter {
			backoff = minBackoff
		}
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(backoff):
			}
			backoff = min(backoff*2, maxBackoff)
			since = time.Now()
			err := s.Spawn(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it fails because of that
			}
			s.cfg.Log.Error(s.cfg.Name+" does not start", "error", err)
			s.mu.Lock()
			s.problem = fmt.Sprintf("%s is down: %v", s.cfg.Name, err)
			s.mu.Unlock()
		}
	}
}

// tend waits for the process's end and keeps its log short meanwhile; an error says that ctx ended first.
func (s *Supervisor) tend(ctx context.Context, p *Process) error {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := s.rotateLog(); err != nil {
				s.cfg.Log.Error("log of "+s.cfg.Name+" cannot be rotated", "error", err)
			}
		}
	}
}

// Stop ends the program. Run must have returned, else it starts it again.
func (s *Supervisor) Stop(ctx context.Context) error {
	p, err := Adopt(s.cfg.PIDPath)
	if err == nil && p != nil {
		err = p.Stop(ctx)
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", s.cfg.Name, err)
	}
	_ = os.Remove(s.cfg.PIDPath)
	return nil
}

// PID gives the ID of the process that runs, or ran last; 0 when there was none.
func (s *Supervisor) PID() int {
	if p := s.Current(); p != nil {
		return p.pid
	}
	return 0
}

// Current gives the process that runs, or ran last; nil when there was none.
func (s *Supervisor) Current() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

func (s *Supervisor) set(p *Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process, s.problem = p, ""
}

// Problem says why the program is down that Run keeps trying to start, "" when it runs.
func (s *Supervisor) Problem() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// Spawn starts a process in a session of its own and waits until it answers; from then on it is the current one.
func (s *Supervisor) Spawn(ctx context.Context) error {
	began := time.Now()
	p, logged, err := s.launch(ctx)
	if err != nil {
		return api.Errorf(api.Unavailable, "start %s: %w", s.cfg.Name, err)
	}
	if err := s.ready(ctx, p); err != nil {
		_ = p.Stop(context.WithoutCancel(ctx))
		if why := words(s.cfg.LogPath, logged); why != "" {
			err = fmt.Errorf("%w: %q", err, why)
		}
		return api.Errorf(api.Unavailable, "start %s: %w; its log is %s", s.cfg.Name, err, s.cfg.LogPath)
	}
	s.set(p)
	s.cfg.Log.Info(s.cfg.Name+" started", "pid", p.pid, "took", time.Since(began))
	return nil
}

// launch starts a process; what it writes begins at logged, an offset in its log.
func (s *Supervisor) launch(ctx context.Context) (p *Process, logged int64, err error) {
	if err := s.rotateLog(); err != nil {
		return nil, 0, err
	}
	if s.cfg.Prepare != nil {
		if err := s.cfg.Prepare(); err != nil {
			return nil, 0, err
		}
	}
	out, err := os.OpenFile(s.cfg.LogPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = out.Close() }()
	if fi, err := out.Stat(); err == nil {
		logged = fi.Size()
	}
	cmd := exec.Command(s.cfg.Command[0], s.cfg.Command[1:]...) //nolint:noctx // not ended with ctx: it outlives this process
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.Env = environment() // its children inherit it: nothing of ikada's own belongs there
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	if p, err = Open(cmd.Process.Pid); err != nil {
		return nil, 0, err
	}
	go func() { _ = cmd.Wait() }() // reaps it; its end is seen through p
	if err := p.Note(s.cfg.PIDPath); err != nil {
		_ = p.Stop(ctx)
		return nil, 0, err
	}
	return p, logged, nil
}

func environment() []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return []string{"PATH=" + path, "TMPDIR=" + os.TempDir()}
}

// ready waits until the program answers.
func (s *Supervisor) ready(ctx context.Context, p *Process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollReady)
	defer tick.Stop()
	for {
		err := s.cfg.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// rotateLog copies a log that has grown too long aside and empties it: its writer appends, and goes on at the new end.
func (s *Supervisor) rotateLog() error {
	fi, err := os.Stat(s.cfg.LogPath)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil || fi.Size() < maxLog {
		return err
	}
	b, err := os.ReadFile(s.cfg.LogPath)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.cfg.LogPath+".1", b, 0o600); err != nil {
		return err
	}
	return os.Truncate(s.cfg.LogPath, 0)
}
