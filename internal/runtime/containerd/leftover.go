package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// sweepEvery is how often what nobody needs any more is looked for, besides each time that containerd answers anew.
const sweepEvery = 10 * time.Second

// shimEnds is how long a shim may take to end: it still tries to tell containerd what it has to tell.
const shimEnds = 4 * time.Second

// settleTimes says how long [Runtime.settle] waits for what.
type settleTimes struct {
	itself time.Duration // how long containerd may take, undisturbed, to end what was begun and to remove it
	atAll  time.Duration // after what time it has given up: twice its own limit of five seconds, and some
	limit  time.Duration // after what time settle gives up
	// How long a container's directory must be gone: when a shim dies, containerd removes it from two places, one right
	// after the other.
	twice time.Duration
}

func defaultSettleTimes() settleTimes {
	return settleTimes{itself: 5 * time.Second, atAll: 12 * time.Second, limit: 20 * time.Second, twice: 100 * time.Millisecond}
}

// tidy makes good, while no containerd runs, what one left halfway that was killed.
func (c Config) tidy() error {
	return errors.Join(c.removeHalfDeleted(), c.putSnapshotsAside(overlaySnapshots), c.putSnapshotsAside(nativeSnapshots))
}

// removeHalfDeleted removes what a containerd left that was killed while it deleted a task: it puts a dot before the
// directory's name first, and the next one does not look at it any more.
func (c Config) removeHalfDeleted() error {
	for _, top := range []string{c.containerd(), c.rootDir()} {
		dirs, err := filepath.Glob(filepath.Join(top, taskPlugin, "*", ".*"))
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := removeBundle(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// snapshotLock is how long the snapshotter's database may be held by a containerd that is just ending.
const snapshotLock = 5 * time.Second

// putSnapshotsAside puts the directories aside whose snapshot the snapshotter knows nothing of: it was killed between
// making the one and noting the other. The next snapshot gets the same number, and could not be made. The snapshotter
// itself removes what it does not know when it next removes anything.
func (c Config) putSnapshotsAside(snapshotter string) error {
	root := filepath.Join(c.rootDir(), "io.containerd.snapshotter.v1."+snapshotter)
	dir := filepath.Join(root, "snapshots")
	db := filepath.Join(root, "metadata.db")
	if !exists(dir) || !exists(db) {
		return nil
	}
	store, err := storage.NewMetaStore(db, func(o *bbolt.Options) error {
		o.ReadOnly, o.Timeout = true, snapshotLock
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for snapshots left behind: %w", err)
	}
	defer func() { _ = store.Close() }()
	var known map[string]string // by number
	err = store.WithTransaction(context.Background(), false, func(ctx context.Context) (err error) {
		known, err = storage.IDMap(ctx)
		return err
	})
	if err != nil && !errdefs.IsNotFound(err) { // a database without a bucket: nothing was ever noted
		return fmt.Errorf("look for snapshots left behind: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for snapshots left behind: %w", err)
	}
	for _, e := range entries {
		if _, ok := known[e.Name()]; ok {
			continue
		}
		if _, err := strconv.ParseUint(e.Name(), 10, 64); err != nil {
			continue // it was put aside already
		}
		to := fmt.Sprintf("left-%s-%d", e.Name(), time.Now().UnixNano())
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(dir, to)); err != nil {
			return fmt.Errorf("put snapshot left behind aside: %w", err)
		}
	}
	return nil
}

// sweep removes what is there of containers that are not: a kill cut their making or their removal short. It tells when
// it wants to look again.
func (r *Runtime) sweep(ctx context.Context) (again time.Duration, err error) {
	ending, err := r.sweepProcesses(ctx)
	if err := errors.Join(err, r.sweepSnapshots(ctx)); err != nil {
		return 0, err
	}
	if ending {
		return shimEnds, nil
	}
	return sweepEvery, nil
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

// sweepProcesses ends the processes of containers that are not there, and shims that serve none. Of those, one that was
// just told to end may take a moment: ending tells that there are such.
func (r *Runtime) sweepProcesses(ctx context.Context) (ending bool, err error) {
	group := r.cfg.CgroupPath(defaultCgroup)
	ids := map[string][]shim{} // what has a cgroup or a runc, with its shims
	for _, top := range append(cgroupDirs(group), filepath.Dir(r.cfg.runcState("any"))) {
		entries, err := os.ReadDir(top)
		if err != nil && !os.IsNotExist(err) {
			return false, fmt.Errorf("look for processes left behind: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() && checkID(e.Name()) == nil {
				ids[e.Name()] = nil
			}
		}
	}
	idle := map[string]bool{} // what has nothing but shims
	for _, s := range shims(r.cfg) {
		if _, ok := ids[s.id]; !ok {
			idle[s.id] = true
		}
		ids[s.id] = append(ids[s.id], s)
	}
	now, seen := time.Now(), map[int]time.Time{}
	for id, of := range ids {
		if !r.isStray(ctx, id) {
			continue
		}
		if idle[id] && r.mayEnd(of, now, seen) {
			continue
		}
		r.cfg.log().Warn("remove process left behind", "task", id)
		if _, err := r.removeStray(id); err != nil {
			return false, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strays = seen
	return len(seen) > 0, nil
}

// mayEnd tells whether shims have had little time to end by themselves since they were first found to serve nothing. They
// are then noted in seen.
func (r *Runtime) mayEnd(shims []shim, now time.Time, seen map[int]time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range shims {
		since, again := r.strays[s.pid]
		if !again {
			since = now
		}
		if now.Sub(since) >= shimEnds {
			return false
		}
		seen[s.pid] = since
	}
	return true
}

// settle waits until nothing is there any more of an earlier attempt to run a container, of which containerd says that
// it does not run. A containerd whose client was killed goes on with the call, and the task appears; it is deleted. A shim
// that was cut off from its containerd stays, and takes connections: the next start would use it. It is ended.
func (r *Runtime) settle(ctx context.Context, id string) error {
	if !r.hasTraces(id) {
		return nil
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	var seen time.Time // when the directory was there last
	for {
		now, there := time.Now(), exists(r.cfg.bundle(id))
		if there {
			seen = now
			asking, cancel := context.WithTimeout(ctx, r.settling.itself)
			// Where this fails, what is below helps.
			_, _ = r.client.TaskService().Delete(asking, &tasks.DeleteTaskRequest{ContainerID: id})
			cancel()
		}
		if now.Sub(seen) > r.settling.twice || now.Sub(began) > r.settling.itself {
			left, err := r.removeStray(id)
			if err != nil {
				return err
			}
			if now.Sub(seen) > r.settling.twice && left == 0 {
				return nil
			}
		}
		if there && now.Sub(began) > r.settling.atAll {
			if err := removeBundle(r.cfg.bundle(id)); err != nil {
				return err
			}
		}
		if now.Sub(began) > r.settling.limit {
			return fmt.Errorf("what an earlier start of %s left does not end: %w", id, errdefs.ErrUnavailable)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for what an earlier start left: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// hasTraces tells cheaply whether there may be something of a container: containerd's directory, runc's, or the shim's
// socket.
func (r *Runtime) hasTraces(id string) bool {
	return exists(r.cfg.bundle(id)) || exists(r.cfg.runcState(id)) || exists(r.cfg.shimSocket(id))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// removeStray ends what an attempt to start a container has left that containerd knows nothing of: its shim, which may
// still be at work, its processes, their cgroups and what runc noted of them. It gives how many processes there were,
// which may take a moment to end.
func (r *Runtime) removeStray(id string) (processes int, err error) {
	own := filepath.Join(r.cfg.CgroupPath(defaultCgroup), id)
	pids := cgroupProcesses(own)
	for _, s := range shims(r.cfg) {
		if s.id == id {
			pids = append(pids, s.pid)
		}
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
			return len(pids), fmt.Errorf("kill process %d left behind: %w", pid, err)
		}
	}
	for _, dir := range cgroupDirs(own) {
		_ = removeCgroup(dir) // the kernel may need a moment: the next sweep does it
	}
	if err := os.RemoveAll(r.cfg.runcState(id)); err != nil {
		return len(pids), fmt.Errorf("remove process left behind: %w", err)
	}
	if err := os.Remove(r.cfg.shimSocket(id)); err != nil && !os.IsNotExist(err) {
		return len(pids), fmt.Errorf("remove socket left behind: %w", err)
	}
	return len(pids), nil
}

// removeBundle removes containerd's directory of a container.
func removeBundle(dir string) error {
	if err := UnmountBelow(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove directory left behind: %w", err)
	}
	return nil
}
