package fake

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Shell is the program of a runtime that was given none. It runs its arguments as commands, one after another:
//
//	print TEXT     a line to stdout
//	printerr TEXT  a line to stderr
//	wait DURATION  wait, or until SIGTERM
//	exit CODE      end with the code
//
// After the last it sleeps until SIGTERM, and ends with code 0. Any other word ends it with code 127, but for a command
// line that does not begin with one of these at all: that is taken for a service that just runs.
func Shell(ctx context.Context, p Process) int {
	known := map[string]bool{"print": true, "printerr": true, "wait": true, "exit": true}
	args := p.Args
	if len(args) == 0 || !known[args[0]] {
		args = nil
	}
	for ; len(args) >= 2 && known[args[0]]; args = args[2:] {
		switch args[0] {
		case "print":
			fmt.Fprintln(p.Stdout, args[1])
		case "printerr":
			fmt.Fprintln(p.Stderr, args[1])
		case "wait":
			d, err := time.ParseDuration(args[1])
			if err != nil {
				return 127
			}
			t := time.NewTimer(d)
			code, ended := sleep(ctx, p, t.C)
			t.Stop()
			if ended {
				return code
			}
		case "exit":
			code, err := strconv.Atoi(args[1])
			if err != nil {
				return 127
			}
			return code
		}
	}
	if len(args) > 0 {
		return 127
	}
	code, _ := sleep(ctx, p, nil)
	return code
}

// sleep waits for SIGTERM or SIGINT, the container's end, or until, which does not end the program.
func sleep(ctx context.Context, p Process, until <-chan time.Time) (code int, ended bool) {
	signals := p.Signals
	for {
		select {
		case <-until:
			return 0, false
		case <-ctx.Done():
			return 137, true
		case s, ok := <-signals:
			if !ok {
				signals = nil
			}
			if s == "SIGTERM" || s == "SIGINT" {
				return 0, true
			}
		}
	}
}
