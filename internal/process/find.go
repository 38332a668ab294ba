package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Find gives the processes one of whose arguments is exactly arg.
func Find(arg string) []*Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []*Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !strings.Contains("\x00"+string(b), "\x00"+arg+"\x00") {
			continue
		}
		if p, err := Open(pid); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// StopAll stops every process one of whose arguments is exactly arg.
func StopAll(ctx context.Context, arg string) error {
	var errs []error
	for _, p := range Find(arg) {
		errs = append(errs, p.Stop(ctx))
	}
	return errors.Join(errs...)
}
