//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// phase is how far a container has come.
type phase int

const (
	making phase = iota // runc is at work on it
	made                // its first process waits to be told to begin
	begun               // it was told, or is being told
	over                // it has ended
)

// containers holds what the shim knows of its containers. Safe for concurrent use.
type containers struct {
	mu sync.Mutex
	m  map[string]*container
}

func newContainers() *containers { return &containers{m: map[string]*container{}} }

// get gives nil for one that is not there.
func (s *containers) get(id string) *container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[id]
}

func (s *containers) add(r *taskapi.CreateTaskRequest, o *output) *container {
	c := &container{id: r.ID, bundle: r.Bundle, stdin: r.Stdin, stdout: r.Stdout, stderr: r.Stderr, terminal: r.Terminal,
		output: o, ended: make(chan struct{}), pidfd: -1}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[r.ID] = c
	return c
}

func (s *containers) drop(id string) {
	s.mu.Lock()
	c := s.m[id]
	delete(s.m, id)
	s.mu.Unlock()
	if c != nil {
		c.release()
	}
}

// container is what the shim knows of a container by itself. containerd's task service knows it too, but tells nothing of
// it while a runc is at work on it, and a containerd that starts then would take it for lost.
type container struct {
	id, bundle            string
	stdin, stdout, stderr string // as they were asked for
	terminal              bool
	output                *output       // nil when the output is not ours to keep
	ended                 chan struct{} // closed when it is over

	mu    sync.Mutex
	phase phase
	pid   int
	pidfd int // of its first process; -1 when that is not there
	exit  *eventtypes.TaskExit
}

// isMade notes the first process, which waits to be told to begin, unless it has ended meanwhile.
func (c *container) isMade(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
	if c.phase == over {
		return
	}
	c.phase = made
	if fd, err := unix.PidfdOpen(pid, 0); err == nil { // else it has ended, and its end will be told
		c.pidfd = fd
	}
}

// begins notes that the first process is being told to begin: from now on its end is the container's.
func (c *container) begins() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == made {
		c.phase = begun
	}
}

// ends notes the end of the first process, and tells whether it had begun.
func (c *container) ends(e *eventtypes.TaskExit) (had bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	had = c.phase == begun
	if c.phase != over {
		c.phase, c.exit = over, e
		close(c.ended)
	}
	return had
}

func (c *container) isWaiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase == made
}

// signal sends a signal to the first process. The error is of errdefs' kind not found when that has ended.
func (c *container) signal(s unix.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pidfd >= 0 && c.phase != over {
		if err := unix.PidfdSendSignal(c.pidfd, s, nil, 0); !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return fmt.Errorf("process %d: %w", c.pid, errdefs.ErrNotFound)
}

// wait waits for the container's end, at most for d.
func (c *container) wait(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// state gives the container's state in the words of containerd's protocol; nil while it is being made. ikada pauses no
// container.
func (c *container) state() *taskapi.StateResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := &taskapi.StateResponse{ID: c.id, Bundle: c.bundle, Pid: uint32(c.pid), Stdin: c.stdin, Stdout: c.stdout,
		Stderr: c.stderr, Terminal: c.terminal, ExitedAt: timestamppb.New(time.Time{})}
	switch c.phase {
	case making:
		return nil
	case made:
		st.Status = tasktypes.Status_CREATED
	case begun:
		st.Status = tasktypes.Status_RUNNING
	case over:
		st.Status, st.ExitStatus, st.ExitedAt = tasktypes.Status_STOPPED, c.exit.ExitStatus, c.exit.ExitedAt
	}
	return st
}

func (c *container) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pidfd >= 0 {
		_ = unix.Close(c.pidfd)
		c.pidfd = -1
	}
}
