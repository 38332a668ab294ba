package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/network"
	"github.com/ikada/ikada/internal/runtime/containerd"
)

// lockPause is waited between two looks at a lock that is held.
const lockPause = 50 * time.Millisecond

// Reset removes everything that ikada made for a data directory: containers, containerd, network, cgroups, mounts,
// and what lies in the directory. Nothing else is touched. The node must not run.
func Reset(ctx context.Context, cfg Config) error {
	if err := stillThere(cfg); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	lock, err := lockDir(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	c := cfg.containerd()
	p, err := newProxy(cfg)
	if err != nil {
		return err
	}
	if err := p.Stop(ctx); err != nil {
		return fmt.Errorf("reset balancer: %w", err)
	}
	if err := containerd.Reset(ctx, c); err != nil {
		return err
	}
	n, err := network.New(network.Config{Instance: c.Instance(), StateDir: cfg.dir("network"), Log: cfg.Log})
	if err != nil {
		return err
	}
	if err := n.Reset(ctx); err != nil {
		return fmt.Errorf("reset network: %w", err)
	}
	// Only what ikada made: a directory that a user chose may hold other things.
	for _, name := range []string{"etcd", "network", "build", "proxy", "tasks", "secrets", "volumes", "audit", "tls", "ikada.sock", "secret.key", "secret.key.old", "receipt.key", "node", stoppedMark, "lock"} {
		// Never through a mount: a build that was killed leaves some, and a volume may be one.
		if err := containerd.UnmountBelow(cfg.dir(name)); err != nil {
			return fmt.Errorf("reset: %w", err)
		}
		if err := os.RemoveAll(cfg.dir(name)); err != nil {
			return fmt.Errorf("reset: %w", err)
		}
	}
	if err := os.Remove(filepath.Clean(cfg.DataDir)); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("reset: %w", err)
	}
	return nil
}

// stillThere makes the data directory again where somebody has removed it while what runs for it was left.
func stillThere(cfg Config) error {
	_, err := os.Stat(cfg.DataDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, left := os.Stat(cfg.containerd().RunDir()); left != nil {
		return err
	}
	return os.MkdirAll(cfg.DataDir, 0o711)
}

// Shutdown stops the tasks and the containerd that an ikada left running which does not run itself. One that is
// stopping just now is waited for.
func Shutdown(ctx context.Context, cfg Config) error {
	if _, err := os.Stat(cfg.DataDir); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	lock, err := lockDir(cfg)
	for api.IsKind(err, api.Conflict) && ctx.Err() == nil {
		time.Sleep(lockPause)
		lock, err = lockDir(cfg)
	}
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if _, err := os.Stat(cfg.dir(stoppedMark)); err == nil {
		return nil
	}
	n := &node{cfg: cfg}
	defer n.close()
	if n.proxy, err = newProxy(cfg); err != nil {
		return err
	}
	if _, err := n.startRuntime(ctx); err != nil {
		return err
	}
	if _, err := n.startNetwork(ctx); err != nil {
		return err
	}
	n.makeAgent()
	return n.stopTasks()
}
