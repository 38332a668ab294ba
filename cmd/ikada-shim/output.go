//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/cgroups/v3"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/runtime/shimexit"
	"github.com/ikada/ikada/internal/runtime/shimlog"
)

const (
	// pipeSize is how far a container may run ahead of a slow disk before its writes block, for each stream.
	pipeSize = 256 << 10
	// drainWait is how long the record of an exit waits for the last output to reach the log.
	drainWait = time.Second
)

// newOutput starts to take a container's output.
func newOutput(to shimexit.Output, terminal bool) (*output, error) {
	o := &output{to: to, done: make(chan struct{})}
	if to.LogDir == "" {
		close(o.done)
	} else if err := o.start(terminal); err != nil {
		return nil, err
	}
	return o, nil
}

// output takes one container's output to its log.
type output struct {
	to     shimexit.Output
	stdout *os.File // the writing ends, until release
	stderr *os.File
	done   chan struct{} // closed when both streams have ended and are written

	mu     sync.Mutex
	oom    bool   // containerd's watcher saw a kill
	memory string // file that counts the kills of the container's memory cgroup
}

func (o *output) start(terminal bool) error {
	w, err := shimlog.Create(o.to.LogDir, o.to.MaxSize, o.to.MaxFiles)
	if err != nil {
		return err
	}
	var copies sync.WaitGroup
	take := func(stream string) (*os.File, error) {
		pr, pw, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		_, _ = unix.FcntlInt(pw.Fd(), unix.F_SETPIPE_SZ, pipeSize) // a smaller one works too
		copies.Go(func() {
			defer pr.Close()
			_ = w.Copy(stream, pr)
		})
		return pw, nil
	}
	if o.stdout, err = take(shimlog.Stdout); err == nil && !terminal {
		o.stderr, err = take(shimlog.Stderr)
	}
	if err != nil {
		o.release()
	}
	go func() {
		copies.Wait()
		w.Close()
		close(o.done)
	}()
	return err
}

// paths gives the names under which the task service opens the pipes; empty ones stand for /dev/null.
func (o *output) paths() (stdout, stderr string) {
	name := func(f *os.File) string {
		if f == nil {
			return ""
		}
		return "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	}
	return name(o.stdout), name(o.stderr)
}

// release closes this side's writing ends, so that the streams end with the container.
func (o *output) release() {
	for _, f := range []*os.File{o.stdout, o.stderr} {
		if f != nil {
			f.Close()
		}
	}
	o.stdout, o.stderr = nil, nil
}

// drained waits until all output is written, at most for d.
func (o *output) drained(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-o.done:
		return true
	case <-t.C:
		return false
	}
}

// findCgroup notes where the kernel counts the container's OOM kills. It is called while pid still exists.
func (o *output) findCgroup(pid int) {
	v1, unified, err := cgroups.ParseCgroupFileUnified(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if path, ok := v1["memory"]; ok {
		o.memory = filepath.Join("/sys/fs/cgroup/memory", path, "memory.oom_control")
	} else if unified != "" {
		o.memory = filepath.Join("/sys/fs/cgroup", unified, "memory.events")
	}
}

func (o *output) noteOOM() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.oom = true
}

// killedForMemory tells whether the memory limit killed a process. The kernel's counter is there before the kill's
// notification, which may come after the exit.
func (o *output) killedForMemory() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.oom || o.memory == "" {
		return o.oom
	}
	b, err := os.ReadFile(o.memory)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		if n, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			return string(bytes.TrimSpace(n)) != "0"
		}
	}
	return false
}
