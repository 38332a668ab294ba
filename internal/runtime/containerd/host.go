package containerd

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3"
	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// rlimitKinds are setrlimit(2)'s, by Docker's names.
var rlimitKinds = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE,
	"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// host is what this machine and this process allow containers; read once, at start.
type host struct {
	cgroup2      bool
	swapLimit    bool     // memory and swap together can be limited
	capabilities []string // that this process could hand on, sorted
	limits       map[int]uint64
	oomScore     int
}

func readHost() host {
	h := host{cgroup2: cgroups.Mode() == cgroups.Unified, limits: map[int]uint64{}}
	if h.cgroup2 {
		found, _ := filepath.Glob("/sys/fs/cgroup/*/memory.swap.max")
		h.swapLimit = len(found) > 0
	} else {
		_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
		h.swapLimit = err == nil
	}
	if caps, err := capability.NewPid2(0); err == nil && caps.Load() == nil {
		for _, c := range capability.ListKnown() {
			if caps.Get(capability.BOUNDING, c) && caps.Get(capability.PERMITTED, c) {
				h.capabilities = append(h.capabilities, "CAP_"+strings.ToUpper(c.String()))
			}
		}
	}
	slices.Sort(h.capabilities)
	for _, kind := range rlimitKinds {
		var l unix.Rlimit
		if unix.Getrlimit(kind, &l) == nil {
			h.limits[kind] = l.Max
		}
	}
	if b, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		h.oomScore, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	return h
}

func (h host) can(name string) bool { return slices.Contains(h.capabilities, name) }

func (h host) hardLimit(kind int) (uint64, bool) {
	l, ok := h.limits[kind]
	return l, ok
}
