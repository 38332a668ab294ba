package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// clearLeftovers removes the steps that a killed process left running or unfinished. They are known by their cgroup,
// which nothing but this instance's builds lives in; it must be called while no build runs.
func clearLeftovers(ctx context.Context, cd *containerd.Client, cgroupParent string) error {
	all, err := cd.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list steps of earlier builds: %w", err)
	}
	prefix := strings.TrimSuffix(cgroupParent, "/") + "/buildkit/"
	for _, c := range all {
		info, err := c.Info(ctx, containerd.WithoutRefreshedMetadata)
		if err != nil || info.Spec == nil {
			continue // gone by now, or not made by BuildKit, which always gives a spec
		}
		var spec specs.Spec
		if err := json.Unmarshal(info.Spec.GetValue(), &spec); err != nil || spec.Linux == nil {
			continue
		}
		if !strings.HasPrefix(spec.Linux.CgroupsPath, prefix) {
			continue
		}
		if err := removeStep(ctx, c); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove step %s of an earlier build: %w", c.ID(), err)
		}
	}
	return nil
}

// clearMounts detaches what a killed process left mounted below a directory; it must be called while no build runs.
func clearMounts(root string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
	if err != nil {
		return fmt.Errorf("list mounts of earlier builds: %w", err)
	}
	for _, m := range slices.Backward(mounts) {
		err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s of an earlier build: %w", m.Mountpoint, err)
		}
	}
	return nil
}

func removeStep(ctx context.Context, c containerd.Container) error {
	task, err := c.Task(ctx, nil)
	switch {
	case errdefs.IsNotFound(err):
		return c.Delete(ctx)
	case err != nil:
		return err
	}
	ended, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	if err := task.Kill(ctx, syscall.SIGKILL, containerd.WithKillAll); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
		return err
	}
	select {
	case <-ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err = task.Delete(ctx)
	return errors.Join(err, c.Delete(ctx))
}
