//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// The exit codes of a command that could not be run, as a shell gives them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// runInit is the first process of a container: it starts the command, passes signals on to it, reaps every process
// that becomes an orphan, and ends with the command's exit code (128+n after signal n).
func runInit(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "ikada init: no command")
		return exitNotFound
	}
	path, err := exec.LookPath(args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		fmt.Fprintf(os.Stderr, "ikada init: %v\n", err)
		if errors.Is(err, os.ErrPermission) {
			return exitNotExecutable
		}
		return exitNotFound
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)

	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		attr.Sys.Foreground, attr.Sys.Ctty = true, 0
	}
	pid, err := syscall.ForkExec(path, args, attr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "ikada init: run %s: %v\n", path, err)
		if errors.Is(err, syscall.ENOENT) {
			return exitNotFound
		}
		return exitNotExecutable
	}
	if code, ended := reap(pid); ended {
		return code
	}
	for s := range signals {
		switch s {
		case unix.SIGCHLD:
			if code, ended := reap(pid); ended {
				return code
			}
		case unix.SIGURG, unix.SIGTTIN, unix.SIGTTOU: // the Go runtime's own, and those of our being in the background
		default:
			_ = unix.Kill(pid, s.(unix.Signal))
		}
	}
	return 0
}

// reap takes the exit status of every process that has ended, and tells when the command was one of them.
func reap(command int) (code int, ended bool) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return code, ended
		}
		if pid == command {
			ended = true
			if code = status.ExitStatus(); status.Signaled() {
				code = 128 + int(status.Signal())
			}
		}
	}
}
