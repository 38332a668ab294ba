//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// holdLook is how often a container that was told to stop is looked at for processes.
const holdLook = 20 * time.Millisecond

// runHold is the first process of a container whose command waits for somebody to run it: it reaps orphans until it is
// sent a signal, which it passes on to every other process, and ends once there is none.
func runHold() {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	for s := range signals {
		switch s {
		case unix.SIGCHLD:
			reap(-1)
		case unix.SIGURG: // the Go runtime's own
		default:
			_ = unix.Kill(-1, s.(unix.Signal))
			for alone := false; !alone; alone = onlyProcess() {
				time.Sleep(holdLook)
				reap(-1)
			}
			return
		}
	}
}

// onlyProcess tells whether no other process is left in the container.
func onlyProcess() bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return true
	}
	self := os.Getpid()
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != self {
			return false
		}
	}
	return true
}

// runHeld becomes the command that the container's first process holds back.
func runHeld() int {
	line, err := os.ReadFile("/proc/1/cmdline")
	if err != nil {
		fmt.Fprintf(os.Stderr, "ikada: read command: %v\n", err)
		return exitNotExecutable
	}
	args := heldCommand(line)
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "ikada: this container holds no command back")
		return exitNotExecutable
	}
	path, err := exec.LookPath(args[0])
	if err == nil || errors.Is(err, exec.ErrDot) {
		err = unix.Exec(path, args, os.Environ())
	}
	fmt.Fprintf(os.Stderr, "ikada: run %s: %v\n", args[0], err)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return exitNotFound
	}
	return exitNotExecutable
}

// heldCommand gives what stands after "--" in a command line as /proc has it.
func heldCommand(line []byte) []string {
	words := bytes.Split(bytes.TrimSuffix(line, []byte{0}), []byte{0})
	for i, w := range words {
		if string(w) == "--" && i == 2 {
			var args []string
			for _, a := range words[i+1:] {
				args = append(args, string(a))
			}
			return args
		}
	}
	return nil
}
