package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// sweepEvery is how often what nobody needs any more is looked for, besides each time that containerd answers anew.
const sweepEvery = 10 * time.Second

// removeHalfDeleted removes what a containerd left that was killed while it deleted a task: it puts a dot before the
// directory's name first, and the next one does not look at it any more.
func (c Config) removeHalfDeleted() error {
	for _, top := range []string{c.containerd(), c.rootDir()} {
		dirs, err := filepath.Glob(filepath.Join(top, "io.containerd.runtime.v2.task", "*", ".*"))
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := UnmountBelow(dir); err != nil {
				return err
			}
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("remove half-deleted task: %w", err)
			}
		}
	}
	return nil
}

// sweep removes what is there of containers that are not: a kill cut their making or their removal short.
func (r *Runtime) sweep(ctx context.Context) error {
	return errors.Join(r.sweepSnapshots(ctx), r.sweepProcesses(ctx))
}

// isStray tells whether nothing is known of a container and nobody is making it.
func (r *Runtime) isStray(ctx context.Context, id string) bool {
	if r.isCreating(id) {
		return false
	}
	_, err := r.client.ContainerService().Get(ctx, id)
	return errdefs.IsNotFound(err) && !r.isCreating(id)
}

// sweepSnapshots removes file systems.
func (r *Runtime) sweepSnapshots(ctx context.Context) error {
	service := r.client.SnapshotService(r.snapshotter)
	var ids []string
	err := service.Walk(ctx, func(_ context.Context, s snapshots.Info) error {
		ids = append(ids, s.Name)
		return nil
	}, fmt.Sprintf("labels.%q==true", labelTask))
	if err != nil {
		return fmt.Errorf("look for file systems left behind: %w", err)
	}
	for _, id := range ids {
		if !r.isStray(ctx, id) {
			continue
		}
		if err := service.Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove file system left behind: %w", err)
		}
	}
	return nil
}

// sweepProcesses ends the processes of containers that are not there.
func (r *Runtime) sweepProcesses(ctx context.Context) error {
	group := r.cfg.CgroupPath(defaultCgroup)
	var ids []string
	for _, top := range append(cgroupDirs(group), filepath.Join(r.cfg.runcRoot(), Namespace)) {
		entries, err := os.ReadDir(top)
		if err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("look for processes left behind: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() && checkID(e.Name()) == nil && !slices.Contains(ids, e.Name()) {
				ids = append(ids, e.Name())
			}
		}
	}
	for _, id := range ids {
		if !r.isStray(ctx, id) {
			continue
		}
		r.cfg.log().Warn("remove process left behind", "task", id)
		if err := r.removeStray(id); err != nil {
			return err
		}
	}
	return nil
}

// removeStray ends what an attempt to start a container has left that containerd knows nothing of: its shim, which may
// still be at work, its processes, their cgroups and what runc noted of them.
func (r *Runtime) removeStray(id string) error {
	own := filepath.Join(r.cfg.CgroupPath(defaultCgroup), id)
	for _, pid := range append(shimsOf(r.cfg, id), cgroupProcesses(own)...) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
			return fmt.Errorf("kill process %d left behind: %w", pid, err)
		}
	}
	for _, dir := range cgroupDirs(own) {
		_ = removeCgroup(dir) // the kernel may need a moment: the next sweep does it
	}
	if err := os.RemoveAll(filepath.Join(r.cfg.runcRoot(), Namespace, id)); err != nil {
		return fmt.Errorf("remove process left behind: %w", err)
	}
	return nil
}
