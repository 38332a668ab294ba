//go:build linux

package main

import (
	"fmt"
	"os"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// logName is the pipe, in the shim's working directory, through which containerd takes what a shim has to say.
const logName = "log"

// openLog makes that pipe the standard error and the destination of the log. containerd reads it from before the shim's
// start on. So it is an error when nobody does: containerd was killed, or has given this shim up. The shim library would
// wait for a reader then, for ever, with a socket that takes connections and never answers. For the same reason what is
// written while the pipe is full is lost rather than waited for.
func openLog(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Dup3(fd, int(os.Stderr.Fd()), 0); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if err := log.SetFormat(log.TextFormat); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	log.L.Logger.SetOutput(os.Stderr)
	return nil
}
