package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime sums the CPU time of an instance's processes, user's and system's. It is what utime and stime of
// /proc/PID/stat count in ticks of 10 ms; the processes' clocks give it in nanoseconds.
func cpuTime(i instance) (time.Duration, error) {
	pids, err := i.pids()
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range pids {
		var ts unix.Timespec
		clock := int32(^pid<<3 | 2) // CPUCLOCK_SCHED of the whole process: clock_getcpuclockid(3)
		if err := unix.ClockGettime(clock, &ts); err != nil {
			return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
		}
		sum += time.Duration(ts.Nano())
	}
	return sum, nil
}

// memory sums the proportional set size of an instance's processes, in bytes.
func memory(i instance) (int64, error) {
	pids, err := i.pids()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, pid := range pids {
		pss, err := proportional(pid)
		if err != nil {
			return 0, err
		}
		sum += pss
	}
	return sum, nil
}

func proportional(pid int) (int64, error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no Pss", path)
}
