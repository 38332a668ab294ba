package containerd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/ikada/ikada/internal/process"
	"github.com/ikada/ikada/internal/runtime"
)

// Daemon keeps the instance's containerd running. The process outlives it: only [Daemon.Stop] ends it.
type Daemon struct {
	cfg        Config
	supervisor *process.Supervisor
}

// NewDaemon makes a daemon; nothing is started yet.
func NewDaemon(cfg Config) (*Daemon, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	command := cfg.Command
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		command = []string{self, "containerd", "--config"}
	}
	return &Daemon{cfg: cfg, supervisor: process.NewSupervisor(process.Config{
		Name: "containerd", Command: append(slices.Clip(command), cfg.configPath()),
		PIDPath: cfg.pidPath(), LogPath: cfg.logPath(), Prepare: cfg.tidy, Ready: cfg.answers, Log: cfg.log(),
	})}, nil
}

// answers tells whether containerd takes connections. It opens its sockets last, when it can serve.
func (c Config) answers(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.Address())
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// Start returns once containerd answers: the one that runs already, else a new one. Errors are of kind Unavailable.
func (d *Daemon) Start(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	return d.supervisor.Start(ctx)
}

// Run keeps containerd running until ctx ends, and leaves it running then. Start must have succeeded.
func (d *Daemon) Run(ctx context.Context) error { return d.supervisor.Run(ctx) }

// Stop ends containerd; containers go on. Run must have returned, else it starts containerd again.
func (d *Daemon) Stop(ctx context.Context) error { return d.supervisor.Stop(ctx) }

// PID gives the process ID of the containerd that runs, or ran last; 0 when none was started.
func (d *Daemon) PID() int { return d.supervisor.PID() }

// Problem says why containerd is down, "" while it runs.
func (d *Daemon) Problem() string { return d.supervisor.Problem() }

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
	if old, err := os.ReadFile(d.cfg.configPath()); err == nil && bytes.Equal(old, b) {
		return nil // what need not be written cannot fail on a full disk
	}
	return os.WriteFile(d.cfg.configPath(), b, 0o600)
}
