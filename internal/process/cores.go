package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// LeaveCores keeps this process, and what it starts, off some of the cores that it may use: a quarter of them, at least
// one, none where there is only one. Starting a container occupies processors for a tenth of a second, much of it in the
// kernel, where nothing takes a core away before the next tick; so a core is left for requests.
// [TakeCores] takes them back.
func LeaveCores() error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return fmt.Errorf("read cores: %w", err)
	}
	set = fewer(set)
	return EachThread(func(id int) error { return unix.SchedSetaffinity(id, &set) })
}

// TakeCores lets this process, and what it starts, run on all cores that its cgroup allows, and gives their number.
func TakeCores() (int, error) {
	var all unix.CPUSet
	all.Fill()
	if err := EachThread(func(id int) error { return unix.SchedSetaffinity(id, &all) }); err != nil {
		return 0, err
	}
	var set unix.CPUSet // an empty one: the kernel writes only as many words as the machine has cores for
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, fmt.Errorf("read cores: %w", err)
	}
	return set.Count(), nil
}

// fewer takes the first ones out of a set: interrupts, which bring requests, arrive there as a rule.
func fewer(set unix.CPUSet) unix.CPUSet {
	n := set.Count()
	if n < 2 {
		return set
	}
	for cpu, leave := 0, max(1, n/4); leave > 0; cpu++ {
		if set.IsSet(cpu) {
			set.Clear(cpu)
			leave--
		}
	}
	return set
}

// EachThread does something once to every thread of this process; threads that come later inherit what their maker has.
// A thread that ends meanwhile is no error.
func EachThread(do func(id int) error) error {
	done := map[string]bool{}
	for more := true; more; { // one that had nothing done to it yet may have made another
		more = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil || done[t.Name()] {
				continue
			}
			done[t.Name()], more = true, true
			if err := do(id); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("thread %d: %w", id, err)
			}
		}
	}
	return nil
}
