package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// niceness puts the balancer before tasks and builds where processors are short: every request passes through it, and
// it needs microseconds where a starting container takes what it can get.
const niceness = -10

// prefer gives the process that niceness, unless it has a lower one. A kernel with automatic groups (sched(7)) weighs
// sessions against each other, and has one for the process's session.
func prefer() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("raise priority: %w", err)
	}
	for _, t := range threads { // threads that come later inherit it
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if now, err := unix.Getpriority(unix.PRIO_PROCESS, id); err == nil && 20-now <= niceness {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, niceness); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("raise priority: %w", err)
		}
	}
	err = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(niceness)), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("raise priority of the session: %w", err)
	}
	return nil
}
