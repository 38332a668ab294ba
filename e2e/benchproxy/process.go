package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// instance is a balancer or backend that runs.
type instance interface {
	pids() ([]int, error) // of all its processes
	stop() error
}

// process is an instance that is a child of this one, with its own children if it has any.
type process struct {
	cmd  *exec.Cmd
	log  string // path
	done chan struct{}
}

// startProcess starts a program in a session of its own, as ikada starts its balancer: the kernel shares the CPU out
// among sessions first (sched_autogroup), so that a program in this one would have to share with the load. What it says
// goes into dir/name.log.
func startProcess(dir, name, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended stands in ended
	}()
	return p, nil
}

// ended gives the reason when the process has ended, with what it said.
func (p *process) ended() error {
	select {
	case <-p.done:
		said, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s ended, %s: %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState, strings.TrimSpace(string(said)))
	default:
		return nil
	}
}

func (p *process) pids() ([]int, error) {
	if err := p.ended(); err != nil {
		return nil, err
	}
	return group(p.cmd.Process.Pid)
}

// stop ends the process and, if that takes long, its group.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
		return nil
	case <-time.After(5 * time.Second):
	}
	if err := unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", filepath.Base(p.cmd.Path), err)
	}
	<-p.done
	return nil
}

// group gives the processes of a process group.
func group(pgid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if of, err := unix.Getpgid(pid); err == nil && of == pgid {
			out = append(out, pid)
		}
	}
	return out, nil
}

// prefer gives a process's session more of the CPU, as nice does for a process among those of its session; 0 is no
// preference.
func prefer(pid, nice int) error {
	path := fmt.Sprintf("/proc/%d/autogroup", pid)
	if err := os.WriteFile(path, []byte(strconv.Itoa(nice)), 0); err != nil {
		return fmt.Errorf("-nice: %w", err)
	}
	return nil
}

// until asks every few milliseconds whether ready answers without an error, for at most ten seconds.
func until(ctx context.Context, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-tick.C:
		}
	}
}
