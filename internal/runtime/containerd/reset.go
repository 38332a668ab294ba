package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
)

// resetWait is how long processes that were killed may take to be gone.
const resetWait = 10 * time.Second

// RemoveAll removes every container of the instance; images, logs and volumes stay. Containers get their stop signal from
// the agent before; here they are killed. No other use of the runtime may be under way.
func (r *Runtime) RemoveAll(ctx context.Context) error {
	states, err := r.List(ctx)
	if err != nil {
		return fmt.Errorf("remove all containers: %w", err)
	}
	errs := make(chan error, len(states))
	for _, s := range states {
		go func(s agent.ContainerState) { errs <- r.Remove(ctx, s.ID) }(s)
	}
	var all []error
	for range states {
		all = append(all, <-errs)
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("remove all containers: %w", err)
	}
	return nil
}

// Reset ends every process of an instance and removes what it left in the kernel and on disk, below the state directory
// and in its own parts of the data directory. It needs no containerd that answers, touches nothing of another instance,
// and may be repeated. The instance must not be in use.
func Reset(ctx context.Context, cfg Config) error {
	d, err := NewDaemon(cfg)
	if err != nil {
		return err
	}
	if err := d.Stop(ctx); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	if err := killProcesses(ctx, cfg); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	for _, dir := range []string{cfg.stateDir(), cfg.rootDir()} {
		if err := UnmountBelow(dir); err != nil {
			return fmt.Errorf("reset: %w", err)
		}
	}
	if err := removeCgroups(ctx, cfg.CgroupRoot()); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	var errs []error
	for _, dir := range []string{cfg.stateDir(), cfg.rootDir(), cfg.exitDir(), filepath.Join(cfg.DataDir, "logs"), cfg.BinDir()} {
		errs = append(errs, os.RemoveAll(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	return nil
}

// killProcesses kills shims first, so that none of them sees its container end, then everything in the instance's
// cgroups, and waits until all are gone.
func killProcesses(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, resetWait)
	defer cancel()
	for {
		pids := cgroupProcesses(cfg.CgroupRoot())
		for _, s := range shims(cfg) {
			pids = append(pids, s.pid)
		}
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return api.Errorf(api.Timeout, "processes %v do not end", pids)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// shim is a process that runs an instance's shim.
type shim struct {
	pid int
	id  string // of its container
}

// shims gives the processes that run this instance's shim (also one that was replaced on disk since) and whose working
// directory is, or was, a container's of this instance.
func shims(cfg Config) []shim {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	const deleted = " (deleted)"
	var out []shim
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		exe, _ := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if strings.TrimSuffix(exe, deleted) != cfg.shimPath() {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		cwd = strings.TrimSuffix(cwd, deleted)
		if strings.HasPrefix(cwd, cfg.containerd()+"/") {
			out = append(out, shim{pid: pid, id: strings.TrimPrefix(filepath.Base(cwd), ".")})
		}
	}
	return out
}

// cgroupDirs gives the instance's directory in each cgroup hierarchy of the machine.
func cgroupDirs(root string) []string {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil
	}
	var dirs []string
	for _, m := range mounts {
		dir := filepath.Join(m.Mountpoint, root)
		if _, err := os.Stat(dir); err == nil && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func cgroupProcesses(root string) []int {
	var pids []int
	for _, top := range cgroupDirs(root) {
		_ = filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || e.Name() != "cgroup.procs" {
				return nil //nolint:nilerr // a group that ended meanwhile
			}
			b, _ := os.ReadFile(path)
			for line := range strings.FieldsSeq(string(b)) {
				if pid, err := strconv.Atoi(line); err == nil && pid > 0 && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}

// removeCgroups removes the instance's groups, innermost first. The kernel may need a moment after the last process.
func removeCgroups(ctx context.Context, root string) error {
	ctx, cancel := context.WithTimeout(ctx, resetWait)
	defer cancel()
	for _, top := range cgroupDirs(root) {
		for {
			err := removeCgroup(top)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("remove cgroup: %w", err)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// UnmountBelow detaches every mount at a directory or below.
func UnmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}
