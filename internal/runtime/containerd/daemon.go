package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/runtime"
)

const (
	startTimeout = 20 * time.Second // until a started containerd must answer
	stopTimeout  = 10 * time.Second // between SIGTERM and SIGKILL
	pollReady    = 5 * time.Millisecond
	minBackoff   = 20 * time.Millisecond // before containerd is started again
	maxBackoff   = 5 * time.Second
	steadyAfter  = 10 * time.Second // a containerd that ran this long starts the backoff anew
	maxDaemonLog = 4 << 20          // bytes of containerd's own log before it is put aside
	logEvery     = time.Minute      // how often the log's length is looked at
)

// Daemon keeps the instance's containerd running. The process outlives it: only [Daemon.Stop] ends it.
type Daemon struct {
	cfg Config

	mu      sync.Mutex
	process *process // the one that runs, or the last one
}

// NewDaemon makes a daemon; nothing is started yet.
func NewDaemon(cfg Config) (*Daemon, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Daemon{cfg: cfg}, nil
}

// Start returns once containerd answers: the one that runs already, else a new one. Errors are of kind Unavailable.
func (d *Daemon) Start(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	p, err := d.adopt()
	if err != nil {
		return fmt.Errorf("adopt containerd: %w", err)
	}
	if p != nil && d.ready(ctx, p) == nil {
		d.set(p)
		d.cfg.log().Info("containerd adopted", "pid", p.pid)
		return nil
	}
	if p != nil { // it is there and does not answer: it cannot be used, and must not be there twice
		if err := p.stop(ctx); err != nil {
			return fmt.Errorf("replace containerd that does not answer: %w", err)
		}
	}
	return d.spawn(ctx)
}

// Run keeps containerd running until ctx ends, and leaves it running then. Start must have succeeded.
func (d *Daemon) Run(ctx context.Context) error {
	backoff, since := minBackoff, time.Now()
	for {
		p := d.current()
		if p == nil {
			return api.Errorf(api.Internal, "run containerd: it was not started")
		}
		if err := d.tend(ctx, p); err != nil {
			return nil
		}
		d.cfg.log().Warn("containerd ended, starting it again", "pid", p.pid)
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
			err := d.spawn(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			d.cfg.log().Error("containerd does not start", "error", err)
		}
	}
}

// tend waits for the process's end and keeps its log short meanwhile; an error says that ctx ended first.
func (d *Daemon) tend(ctx context.Context, p *process) error {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := d.rotateLog(); err != nil {
				d.cfg.log().Error("containerd's log cannot be rotated", "error", err)
			}
		}
	}
}

// Stop ends containerd; containers go on. Run must have returned, else it starts containerd again.
func (d *Daemon) Stop(ctx context.Context) error {
	p, err := d.adopt()
	if err != nil {
		return fmt.Errorf("stop containerd: %w", err)
	}
	if p == nil {
		return nil
	}
	if err := p.stop(ctx); err != nil {
		return fmt.Errorf("stop containerd: %w", err)
	}
	os.Remove(d.cfg.pidPath())
	return nil
}

// PID gives the process ID of the containerd that runs, or ran last; 0 when none was started.
func (d *Daemon) PID() int {
	if p := d.current(); p != nil {
		return p.pid
	}
	return 0
}

func (d *Daemon) current() *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process
}

func (d *Daemon) set(p *process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process = p
}

// prepare makes the directories, the programs and the configuration that containerd needs.
func (d *Daemon) prepare() error {
	for _, dir := range []string{d.cfg.rootDir(), d.cfg.stateDir(), d.cfg.exitDir(), d.cfg.fifoDir()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	if err := runtime.Unpack(d.cfg.BinDir()); err != nil {
		return err
	}
	b, err := json.Marshal(serveConfig{
		Root:      d.cfg.rootDir(),
		State:     d.cfg.containerd(),
		Address:   d.cfg.Address(),
		TTRPC:     d.cfg.ttrpcAddress(),
		SocketDir: d.cfg.socketDir(),
	})
	if err != nil {
		return err
	}
	return os.WriteFile(d.cfg.configPath(), b, 0o600)
}

// spawn starts a containerd of its own session and waits until it answers.
func (d *Daemon) spawn(ctx context.Context) error {
	began := time.Now()
	if err := d.rotateLog(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	out, err := os.OpenFile(d.cfg.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	defer out.Close()
	command := d.cfg.Command
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("start containerd: %w", err)
		}
		command = []string{self, "containerd", "--config"}
	}
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], d.cfg.configPath())...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.Env = daemonEnv() // shims inherit it: nothing of ikada's own belongs there
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return api.Errorf(api.Unavailable, "start containerd: %w", err)
	}
	p, err := openProcess(cmd.Process.Pid)
	if err != nil {
		return api.Errorf(api.Unavailable, "start containerd: %w", err)
	}
	go cmd.Wait() // reaps it; its end is seen through p
	if err := p.write(d.cfg.pidPath()); err != nil {
		_ = p.stop(ctx)
		return fmt.Errorf("start containerd: %w", err)
	}
	if err := d.ready(ctx, p); err != nil {
		_ = p.stop(context.WithoutCancel(ctx))
		return api.Errorf(api.Unavailable, "start containerd: %w; its log is %s", err, d.cfg.logPath())
	}
	d.set(p)
	d.cfg.log().Info("containerd started", "pid", p.pid, "took", time.Since(began))
	return nil
}

func daemonEnv() []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return []string{"PATH=" + path, "TMPDIR=" + os.TempDir()}
}

// ready waits until containerd takes connections. It opens its sockets last, when it can serve.
func (d *Daemon) ready(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollReady)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", d.cfg.Address())
		if err == nil {
			conn.Close()
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
func (d *Daemon) rotateLog() error {
	fi, err := os.Stat(d.cfg.logPath())
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil || fi.Size() < maxDaemonLog {
		return err
	}
	b, err := os.ReadFile(d.cfg.logPath())
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.cfg.logPath()+".1", b, 0o600); err != nil {
		return err
	}
	return os.Truncate(d.cfg.logPath(), 0)
}

// adopt gives the containerd that an earlier ikada started, nil when there is none.
func (d *Daemon) adopt() (*process, error) {
	b, err := os.ReadFile(d.cfg.pidPath())
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pidText, started, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return nil, nil // a file that was not finished: whoever wrote it died before its containerd answered
	}
	if now, err := startTime(pid); err != nil || now != started {
		return nil, nil
	}
	return openProcess(pid)
}
