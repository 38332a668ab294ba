//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// warmCgroups makes the kernel's lock for moving processes between control groups ready: in cgroup v1 the first move
// after about 15 ms of rest waits for a grace period of RCU, 7 to 15 ms (cgroup_threadgroup_rwsem in
// kernel/cgroup/cgroup.c), and runc's would be that one. A process that is moved to where it is already moves nothing,
// and waits just the same, beside runc's start instead of within it.
func warmCgroups() {
	const mounted = "/sys/fs/cgroup/pids"
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) { // "2:pids:/path"
		if _, at, ok := strings.Cut(strings.TrimSpace(line), ":pids:"); ok {
			// What fails here only costs the time.
			_ = os.WriteFile(filepath.Join(mounted, at, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
			return
		}
	}
}
