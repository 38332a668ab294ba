package containerd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// process is a process that need not be a child: the pidfd tells of its end and never means another process.
type process struct {
	pid   int
	start string        // tells a process from a later one of the same ID
	ended chan struct{} // closed when it has ended

	mu    sync.Mutex
	pidfd int // -1 when it has ended
}

func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	start, err := startTime(pid)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &process{pid: pid, start: start, ended: make(chan struct{}), pidfd: fd}
	go func() {
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if err != unix.EINTR {
				break
			}
		}
		p.mu.Lock()
		unix.Close(fd)
		p.pidfd = -1
		p.mu.Unlock()
		close(p.ended)
	}()
	return p, nil
}

// wait blocks until the process has ended; an error says that ctx ended first.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends the process and waits for its end.
func (p *process) stop(ctx context.Context) error {
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := p.signal(s); err != nil {
			return fmt.Errorf("signal process %d: %w", p.pid, err)
		}
		wait, cancel := context.WithTimeout(ctx, stopTimeout)
		err := p.wait(wait)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return api.Errorf(api.Timeout, "process %d does not end", p.pid)
}

// signal sends a signal; a process that has ended is no error.
func (p *process) signal(s unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return nil
	}
	if err := unix.PidfdSendSignal(p.pidfd, s, nil, 0); err != nil && err != unix.ESRCH {
		return err
	}
	return nil
}

// write notes the process for whoever comes after.
func (p *process) write(path string) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, fmt.Appendf(nil, "%d %s\n", p.pid, p.start), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// startTime gives a process's start in clock ticks since boot, field 22 of proc(5)'s stat, with the boot's ID.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", err
	}
	// The second field is a name in parentheses that may itself hold any character.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("read start of process %d: unknown format", pid)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return fields[19] + "-" + strings.TrimSpace(string(boot)), nil
}
