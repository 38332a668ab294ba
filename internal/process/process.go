package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// Process is a process that need not be a child: the pidfd tells of its end and never means another process.
type Process struct {
	pid   int
	start string        // tells a process from a later one of the same ID
	ended chan struct{} // closed when it has ended

	mu    sync.Mutex
	pidfd int // -1 when it has ended
}

// Open gives the process of an ID.
func Open(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	start, err := startTime(pid)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &Process{pid: pid, start: start, ended: make(chan struct{}), pidfd: fd}
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

// Wait blocks until the process has ended; an error says that ctx ended first.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop ends the process and waits for its end: SIGTERM, and after ten seconds SIGKILL.
func (p *Process) Stop(ctx context.Context) error {
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := p.Signal(s); err != nil {
			return fmt.Errorf("signal process %d: %w", p.pid, err)
		}
		wait, cancel := context.WithTimeout(ctx, stopTimeout)
		err := p.Wait(wait)
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

// Signal sends a signal; a process that has ended is no error.
func (p *Process) Signal(s unix.Signal) error {
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

// Note writes the process down for whoever comes after.
func (p *Process) Note(path string) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, fmt.Appendf(nil, "%d %s\n", p.pid, p.start), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// PID gives the process's ID.
func (p *Process) PID() int { return p.pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Adopt gives the process that Note wrote down, nil when it is gone or none was.
func Adopt(path string) (*Process, error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pidText, started, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return nil, nil //nolint:nilerr // a file that was not finished: whoever wrote it died before its process answered
	}
	if now, err := startTime(pid); err != nil || now != started {
		return nil, nil //nolint:nilerr // it has ended
	}
	p, err := Open(pid)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it has just ended
	}
	return p, err
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
