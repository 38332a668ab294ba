package build

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

const cgroupMount = "/sys/fs/cgroup"

// cage is the cgroup that holds every step of every build, with its limits, and the count of times that it ran out
// of memory. Safe for concurrent use.
type cage struct {
	path  string // below the cgroup root
	limit int64  // bytes

	mu      sync.Mutex
	event   *os.File // cgroup v1: eventfd that the kernel adds to at each out-of-memory
	seen    uint64   // cgroup v1: what event has told so far
	running int
	started uint64
}

// newCage makes the group, or sets the limits of the one that an earlier process left.
func newCage(cfg Config) (*cage, error) {
	c := &cage{path: cfg.CgroupParent, limit: cfg.MemoryBytes}
	if cgroups.Mode() == cgroups.Unified {
		weight := cgroup2.ConvertCPUSharesToCgroupV2Value(cfg.CPUShares)
		_, err := cgroup2.NewManager(cgroupMount, c.path, &cgroup2.Resources{
			CPU:    &cgroup2.CPU{Weight: &weight},
			Memory: &cgroup2.Memory{Max: &cfg.MemoryBytes},
			Pids:   &cgroup2.Pids{Max: cfg.PIDs},
		})
		if err != nil {
			return nil, fmt.Errorf("make cgroup %s: %w", c.path, err)
		}
		return c, limitSwap(filepath.Join(cgroupMount, c.path, "memory.swap.max"), 0)
	}
	// The limit of memory and swap together must not be below that of memory, which may be about to grow.
	both := filepath.Join(cgroupMount, "memory", c.path, "memory.memsw.limit_in_bytes")
	if err := limitSwap(both, -1); err != nil {
		return nil, err
	}
	group, err := cgroup1.New(cgroup1.StaticPath(c.path), &specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: &cfg.CPUShares},
		Memory: &specs.LinuxMemory{Limit: &cfg.MemoryBytes},
		Pids:   &specs.LinuxPids{Limit: &cfg.PIDs},
	}, cgroup1.WithHierarchy(limiting))
	if err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", c.path, err)
	}
	if err := limitSwap(both, c.limit); err != nil {
		return nil, err
	}
	fd, err := group.OOMEventFD()
	if err != nil {
		return nil, fmt.Errorf("watch memory of cgroup %s: %w", c.path, err)
	}
	if err := unix.SetNonblock(int(fd), true); err != nil {
		return nil, fmt.Errorf("watch memory of cgroup %s: %w", c.path, err)
	}
	c.event = os.NewFile(fd, "oom")
	return c, nil
}

// limiting is the part of cgroup v1 that the limits live in; the rest is the container runtime's own work.
func limiting() ([]cgroup1.Subsystem, error) {
	all, err := cgroup1.Default()
	if err != nil {
		return nil, err
	}
	var kept []cgroup1.Subsystem
	for _, s := range all {
		switch s.Name() {
		case cgroup1.Cpu, cgroup1.Memory, cgroup1.Pids:
			kept = append(kept, s)
		}
	}
	return kept, nil
}

// limitSwap writes a limit that only kernels which count swap have: a build that swaps for minutes is worse than one
// that says that it needs more memory.
func limitSwap(file string, bytes int64) error {
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.WriteFile(file, []byte(strconv.FormatInt(bytes, 10)), 0); err != nil {
		return fmt.Errorf("limit swap of builds: %w", err)
	}
	return nil
}

func (c *cage) close() error {
	if c.event == nil {
		return nil
	}
	return c.event.Close()
}

// stay is one step's time in the cage.
type stay struct {
	cage    *cage
	ooms    uint64
	started uint64
	alone   bool
}

// enter notes the start of a step.
func (c *cage) enter() *stay {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &stay{cage: c, ooms: c.count(), alone: c.running == 0}
	c.running++
	c.started++
	s.started = c.started
	return s
}

// leave notes the end of a step that left with the exit code and tells whether the memory limit is to blame. The
// kernel tells only that the group ran out, not whom it killed: with other steps at the same time, only a step
// that died of SIGKILL counts as the victim.
func (s *stay) leave(exitCode uint32) (outOfMemory bool) {
	c := s.cage
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if c.count() == s.ooms {
		return false
	}
	return exitCode == 128+uint32(unix.SIGKILL) || s.alone && c.started == s.started
}

// count gives how often the group has run out of memory since it was made.
func (c *cage) count() uint64 {
	if c.event == nil {
		return oomKills(filepath.Join(cgroupMount, c.path, "memory.events"))
	}
	// An eventfd gives what was added since the last read, or EAGAIN. The raw descriptor is read, since os.File
	// would wait for more.
	var b [8]byte
	conn, err := c.event.SyscallConn()
	if err != nil {
		return c.seen
	}
	_ = conn.Control(func(fd uintptr) {
		if n, err := unix.Read(int(fd), b[:]); err == nil && n == len(b) {
			c.seen += binary.NativeEndian.Uint64(b[:])
		}
	})
	return c.seen
}

// oomKills reads the counter of cgroup v2, which a group shares with all below it; 0 when it cannot be read.
func oomKills(file string) uint64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

// kill ends every process of a step. BuildKit's executor keeps a step's processes in "<parent>/buildkit/<id>".
func (c *cage) kill(id string) {
	root := cgroupMount
	if c.event != nil {
		root = filepath.Join(root, "memory")
	}
	b, err := os.ReadFile(filepath.Join(root, c.path, "buildkit", id, "cgroup.procs"))
	if err != nil {
		return
	}
	for field := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// machineMemory gives the machine's memory in bytes.
func machineMemory() (int64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, api.Errorf(api.Internal, "read size of memory: %w", err)
	}
	return int64(info.Totalram) * int64(info.Unit), nil
}
