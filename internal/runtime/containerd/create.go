package containerd

import (
	"context"
	"fmt"
	"maps"
	"path"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/shimexit"
)

const (
	defaultCgroup = "tasks"
	// labelRoot keeps containerd's garbage collector away from a container's snapshot, between its making and that of the
	// container that refers to it; Remove removes it. It costs less than a lease of its own.
	labelRoot = "containerd.io/gc.root"
	// startLimit bounds one try to make and start a process. A machine with far too much to do takes seconds.
	startLimit = 30 * time.Second
)

// Create makes the container and starts its process.
func (r *Runtime) Create(ctx context.Context, c agent.Container) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	r.mu.Lock()
	r.creating[c.ID] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.creating, c.ID)
		r.creations++
		r.mu.Unlock()
	}()
	ctx = inNamespace(ctx)
	err := retry(ctx, func() error {
		if done, err := r.clear(ctx, c); done || err != nil {
			return err
		}
		return r.create(ctx, c)
	})
	if err != nil {
		// Also when ctx has ended: nothing is to be left behind.
		if cerr := r.Remove(context.WithoutCancel(ctx), c.ID); cerr != nil {
			r.cfg.log().Error("container that failed to start is left behind", "task", c.ID, "error", cerr)
		}
	}
	return convert(err, "create container %s", c.ID)
}

// clear tells whether an earlier attempt had done its work already, also one whose answer a killed containerd did not
// give; and removes what one left that was killed halfway.
func (r *Runtime) clear(ctx context.Context, c agent.Container) (done bool, err error) {
	_, err = r.client.ContainerService().Get(ctx, c.ID)
	if err == nil {
		running, err := r.runs(ctx, c.ID)
		if err != nil && !errdefs.IsDeadlineExceeded(err) { // a shim that does not answer is as good as none
			return false, err
		}
		rec, ended, err := shimexit.Read(r.cfg.exitDir(), c.ID)
		if err != nil {
			return false, err
		}
		// One that was killed just now died with a shim or a containerd. Only what runs to its end must not run twice.
		if running || ended && (c.Spec.Restart.RunsToEnd() || !exitOf(rec).Killed()) {
			return true, nil
		}
		if err := r.Remove(ctx, c.ID); err != nil {
			return false, err
		}
		return false, r.settle(ctx, c.ID)
	}
	if !errdefs.IsNotFound(err) {
		return false, err
	}
	if err := r.settle(ctx, c.ID); err != nil {
		return false, err
	}
	if err := shimexit.Remove(r.cfg.exitDir(), c.ID); err != nil {
		return false, err
	}
	if err := r.client.SnapshotService(r.snapshotter).Remove(ctx, c.ID); err != nil && !errdefs.IsNotFound(err) {
		return false, err
	}
	return false, nil
}

func (r *Runtime) create(ctx context.Context, c agent.Container) error {
	image, err := r.images.local(ctx, c.Image)
	if err != nil {
		return err
	}
	rootfs, err := r.client.SnapshotService(r.snapshotter).Prepare(ctx, c.ID, image.chainID,
		snapshots.WithLabels(map[string]string{labelRoot: "true", labelTask: "true"}))
	if err != nil {
		return fmt.Errorf("prepare file system: %w", err)
	}
	if err := r.fillVolumes(ctx, c.Mounts, rootfs); err != nil {
		return err
	}
	user, err := r.lookupUser(ctx, c.Spec, image, rootfs)
	if err != nil {
		return err
	}
	cgroup := c.Cgroup
	if cgroup == "" {
		cgroup = defaultCgroup
	}
	spec, err := buildSpec(specInput{
		container: c,
		image:     image.config,
		user:      user,
		cgroup:    path.Join(r.cfg.CgroupPath(cgroup), c.ID),
		initPath:  r.cfg.shimPath(),
		host:      r.host,
	})
	if err != nil {
		return err
	}
	if err := r.createContainer(ctx, c, spec); err != nil {
		return err
	}
	return r.start(ctx, c, rootfs)
}

func (r *Runtime) createContainer(ctx context.Context, c agent.Container, spec *specs.Spec) error {
	encoded, err := typeurl.MarshalAny(spec)
	if err != nil {
		return fmt.Errorf("encode specification: %w", err)
	}
	opts, err := typeurl.MarshalAny(&options.Options{BinaryName: r.cfg.RuncPath(), Root: r.cfg.runcRoot()})
	if err != nil {
		return fmt.Errorf("encode options: %w", err)
	}
	labels := map[string]string{labelTask: "true"}
	maps.Copy(labels, c.Labels)
	_, err = r.client.ContainerService().Create(ctx, containers.Container{
		ID:          c.ID,
		Image:       c.Image,
		Labels:      labels,
		Runtime:     containers.RuntimeInfo{Name: r.cfg.shimPath(), Options: opts},
		Spec:        encoded,
		Snapshotter: r.snapshotter,
		SnapshotKey: c.ID,
	})
	if err != nil {
		return fmt.Errorf("note container: %w", err)
	}
	return nil
}

// start has the container's process made and started. A try that hangs is given up: the shim that hangs is ended before
// the next one.
func (r *Runtime) start(life context.Context, c agent.Container, rootfs []mount.Mount) error {
	ctx, cancel := context.WithTimeout(life, startLimit)
	defer cancel()
	out := shimexit.Output{MaxSize: c.LogSize, MaxFiles: c.LogKeep, ExitDir: r.cfg.exitDir()}
	if out.MaxSize <= 0 {
		out.MaxSize = api.DefaultLogSize
	}
	if out.MaxFiles <= 0 {
		out.MaxFiles = api.DefaultLogFiles
	}
	if !c.Spec.Logging.Disabled {
		out.LogDir = r.cfg.taskLog(c.ID)
	}
	req := &tasks.CreateTaskRequest{ContainerID: c.ID, Terminal: c.Spec.TTY, Stdout: out.URI()}
	if c.Spec.StdinOpen {
		// A pipe that nobody writes: the shim holds its other end, so that reading it blocks as it would at a terminal.
		req.Stdin = r.stdinPath(c.ID)
		if err := unix.Mkfifo(req.Stdin, 0o600); err != nil && err != unix.EEXIST {
			return fmt.Errorf("make standard input: %w", err)
		}
	}
	req.Rootfs = mountsOf(rootfs)
	_, err := r.client.TaskService().Create(ctx, req)
	if err == nil {
		_, err = r.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: c.ID})
	}
	if err != nil && ctx.Err() != nil && life.Err() == nil {
		return fmt.Errorf("start process: nothing within %s: %w: %w", startLimit, errdefs.ErrUnavailable, err)
	}
	if err != nil {
		return startError(err)
	}
	return nil
}

// mountsOf gives mounts as containerd's API has them.
func mountsOf(mounts []mount.Mount) []*types.Mount {
	out := make([]*types.Mount, 0, len(mounts))
	for _, m := range mounts {
		out = append(out, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return out
}

// startError tells a mistake in what was to be run from one of ours, by runc's words.
func startError(err error) error {
	err = native(err)
	text := err.Error()
	if i := strings.LastIndex(text, "unable to start container process: "); i >= 0 {
		text = text[i+len("unable to start container process: "):]
	}
	for _, mistake := range []string{"executable file not found", "no such file or directory", "permission denied", "is a directory", "exec format error"} {
		if strings.Contains(text, mistake) {
			return api.Errorf(api.Invalid, "start process: %s", text)
		}
	}
	if strings.Contains(text, "container with given ID already exists") || strings.Contains(text, "file exists") {
		// A shim that outlived its containerd has just made it, or containerd is just removing what it made for a client
		// that was killed; the next attempt waits for that.
		return fmt.Errorf("start process: %w: %w", errdefs.ErrUnavailable, err)
	}
	return fmt.Errorf("start process: %w", err)
}

// checkID refuses what cannot name a container and a directory.
func checkID(id string) error {
	if id == "" || len(id) > 64 || strings.HasPrefix(id, ".") || strings.ContainsFunc(id, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	}) {
		return api.FieldError("container", id, "1 to 64 letters, digits, dots, dashes and underscores")
	}
	return nil
}
