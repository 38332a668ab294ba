package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/internal/process"
)

// niceness puts the balancer before tasks and builds where processors are short: every request passes through it, and
// it needs microseconds where a starting container takes what it can get.
const niceness = -10

// prefer gives the process that niceness, unless it has a lower one. A kernel with automatic groups (sched(7)) weighs
// sessions against each other, and has one for the process's session.
func prefer() error {
	err := process.EachThread(func(id int) error {
		if now, err := unix.Getpriority(unix.PRIO_PROCESS, id); err == nil && 20-now <= niceness {
			return nil
		}
		return unix.Setpriority(unix.PRIO_PROCESS, id, niceness)
	})
	if err != nil {
		return fmt.Errorf("raise priority: %w", err)
	}
	err = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(niceness)), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("raise priority of the session: %w", err)
	}
	return nil
}
