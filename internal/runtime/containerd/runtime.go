package containerd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/moby/sys/signal"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/shimexit"
)

// labelTask marks the containers that [Runtime.Create] made: a build has containers of its own in the same namespace.
const labelTask = "dev.ikada.task"

const (
	// answerTimeout is how long a shim may take to answer a question. One that works does so within milliseconds.
	answerTimeout = 5 * time.Second
	// killTimeout is how long a removal waits for a killed container to end, and then for its task to be deleted.
	killTimeout = 15 * time.Second
)

// Runtime is the agent's runtime on containerd. It needs a [Daemon] that runs; while that one's containerd is down,
// calls wait for it as long as their context allows.
type Runtime struct {
	cfg         Config
	host        host
	client      *client.Client
	images      *Images
	snapshotter string
	configs     *configCache
	settling    settleTimes

	mu        sync.Mutex
	creating  map[string]bool   // IDs that a Create of this process is at work on
	creations int               // Creates that have ended
	strays    map[int]time.Time // shims that the last sweep found to serve no container, and since when
}

var _ agent.Runtime = (*Runtime)(nil)

// New makes a runtime on the instance's containerd. Nothing is asked of it yet, so it need not answer.
func New(cfg Config) (*Runtime, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c, err := client.New(cfg.Address(),
		client.WithDefaultNamespace(Namespace),
		client.WithDefaultRuntime(cfg.shimPath()),
		client.WithDialOpts([]grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(dialer.ContextDialer),
			// A containerd that was killed is back in a fraction of a second; so is this connection.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 250 * time.Millisecond},
				MinConnectTimeout: time.Second,
			}),
		}),
		client.WithCallOpts([]grpc.CallOption{grpc.WaitForReady(true)}),
	)
	if err != nil {
		return nil, api.Errorf(api.Internal, "make containerd client: %w", err)
	}
	if err := cfg.weigh(); err != nil {
		cfg.log().Warn("tasks weigh no more than other processes", "error", err)
	}
	r := &Runtime{
		cfg:         cfg,
		host:        readHost(),
		client:      c,
		snapshotter: chooseSnapshotter(cfg.rootDir()),
		configs:     newConfigCache(),
		settling:    defaultSettleTimes(),
		creating:    map[string]bool{},
		strays:      map[int]time.Time{},
	}
	r.images = newImages(cfg, c, r.snapshotter, r.configs)
	return r, nil
}

// The snapshotters, by containerd's names.
const (
	overlaySnapshots = "overlayfs"
	nativeSnapshots  = "native"
)

// chooseSnapshotter takes overlayfs where the kernel and the file system below root can do it. What was chosen once is
// kept, since images are unpacked for one of them.
func chooseSnapshotter(root string) string {
	if _, err := os.Stat(filepath.Join(root, "io.containerd.snapshotter.v1.native", "snapshots")); err == nil {
		if entries, _ := os.ReadDir(filepath.Join(root, "io.containerd.snapshotter.v1.native", "snapshots")); len(entries) > 0 {
			return nativeSnapshots
		}
	}
	if err := os.MkdirAll(root, 0o711); err != nil || overlayutils.Supported(root) != nil {
		return nativeSnapshots
	}
	return overlaySnapshots
}

// Client is the client of the instance's containerd, in its namespace. It connects again by itself.
func (r *Runtime) Client() *client.Client { return r.client }

// Snapshotter names the snapshotter that images are unpacked with.
func (r *Runtime) Snapshotter() string { return r.snapshotter }

// Images gives the images of this node.
func (r *Runtime) Images() *Images { return r.images }

// Close closes the connection; containers and containerd go on.
func (r *Runtime) Close() error { return r.client.Close() }

// Pull makes an image present and unpacked.
func (r *Runtime) Pull(ctx context.Context, ref string, progress func(done, total int64)) error {
	return r.images.Pull(ctx, ref, progress)
}

// Signal sends a signal to the container's first process.
func (r *Runtime) Signal(ctx context.Context, id, name string) error {
	s, err := signal.ParseSignal(name)
	if err != nil {
		return api.FieldError("signal", name, "the name or number of a signal, such as SIGTERM")
	}
	ctx = inNamespace(ctx)
	err = retry(ctx, func() error {
		_, err := r.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(s)})
		return native(err)
	})
	if err != nil && !gone(err) {
		return convert(err, "signal container %s", id)
	}
	return nil
}

// Remove kills what still runs and removes the container, its snapshot and its exit record; not its log.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	ctx = inNamespace(ctx)
	err := retry(ctx, func() error { return r.remove(ctx, id) })
	if err != nil {
		return convert(err, "remove container %s", id)
	}
	if err := closeLog(r.cfg.taskLog(id)); err != nil {
		return convert(err, "remove container %s", id)
	}
	os.Remove(r.stdinPath(id))
	return shimexit.Remove(r.cfg.exitDir(), id)
}

func (r *Runtime) remove(ctx context.Context, id string) error {
	if err := r.removeTask(ctx, id); err != nil {
		return err
	}
	if err := r.client.ContainerService().Delete(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete container: %w", err)
	}
	if err := r.client.SnapshotService(r.snapshotter).Remove(ctx, id); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove snapshot: %w", err)
	}
	return nil
}

// removeTask kills a container's process, waits for its end and removes the task with its shim. A shim that does not
// answer is ended, with what it holds.
func (r *Runtime) removeTask(ctx context.Context, id string) error {
	err := r.endTask(ctx, id)
	if errdefs.IsDeadlineExceeded(err) && ctx.Err() == nil {
		r.cfg.log().Warn("end shim that does not answer", "task", id, "error", err)
		if _, err = r.removeStray(id); err == nil {
			err = r.settle(ctx, id)
		}
	}
	return err
}

// endTask does what removeTask says as long as the shim answers. Its error is of errdefs' kind deadline exceeded when that
// does not, or its process does not end.
func (r *Runtime) endTask(ctx context.Context, id string) error {
	asking, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	service := r.client.TaskService()
	got, err := service.Get(asking, &tasks.GetRequest{ContainerID: id})
	err = native(err)
	// One that was made and not started is killed too. A shim that has made none yet says that there is none; deleting the
	// task waits for it, and ends it.
	if ended := err == nil && got.Process.GetStatus() == tasktypes.Status_STOPPED; !ended && !errdefs.IsNotFound(err) {
		_, err = service.Kill(asking, &tasks.KillRequest{ContainerID: id, Signal: uint32(signal.SignalMap["KILL"]), All: true})
		if err = native(err); err != nil && !gone(err) {
			return fmt.Errorf("kill task: %w", err)
		}
		waiting, cancel := context.WithTimeout(ctx, killTimeout)
		defer cancel()
		if _, err = service.Wait(waiting, &tasks.WaitRequest{ContainerID: id}); native(err) != nil && !gone(native(err)) {
			return fmt.Errorf("wait for task: %w", native(err))
		}
	}
	ending, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	_, err = service.Delete(ending, &tasks.DeleteTaskRequest{ContainerID: id})
	switch err = native(err); {
	case errdefs.IsNotFound(err): // containerd does not know it, which does not mean that nothing of it is there
		return r.settle(ctx, id)
	case err != nil:
		return fmt.Errorf("delete task: %w", err)
	}
	return nil
}

// List gives every container that Create made and Remove has not removed.
func (r *Runtime) List(ctx context.Context) ([]agent.ContainerState, error) {
	ctx = inNamespace(ctx)
	var states []agent.ContainerState
	err := retry(ctx, func() (err error) {
		states, err = r.list(ctx)
		return err
	})
	if err != nil {
		return nil, convert(err, "list containers")
	}
	return states, nil
}

func (r *Runtime) list(ctx context.Context) ([]agent.ContainerState, error) {
	all, err := r.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q==true", labelTask))
	if err != nil {
		return nil, err
	}
	running, err := r.runningTasks(ctx)
	if err != nil {
		return nil, err
	}
	states := make([]agent.ContainerState, 0, len(all))
	for _, c := range all {
		s, err := r.state(c, running)
		if err != nil {
			return nil, err
		}
		if !s.Running && s.Exit == nil {
			// The list leaves out a task whose shim was too busy to answer in time.
			if s.Running, err = r.mayRun(ctx, c.ID); err != nil {
				return nil, err
			}
		}
		states = append(states, s)
	}
	return states, nil
}

func (r *Runtime) state(c containers.Container, running map[string]bool) (agent.ContainerState, error) {
	s := agent.ContainerState{ID: c.ID, Labels: map[string]string{}, StartedAt: c.CreatedAt}
	for k, v := range c.Labels {
		if k != labelTask {
			s.Labels[k] = v
		}
	}
	rec, ended, err := shimexit.Read(r.cfg.exitDir(), c.ID)
	if err != nil {
		return s, err
	}
	if ended {
		s.Exit = exitOf(rec)
	}
	s.Running = !ended && (running[c.ID] || r.isCreating(c.ID))
	return s, nil
}

// runningTasks gives the IDs of the containers whose first process runs.
func (r *Runtime) runningTasks(ctx context.Context) (map[string]bool, error) {
	resp, err := r.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, native(err)
	}
	running := map[string]bool{}
	for _, t := range resp.Tasks {
		if isRunning(t.Status) {
			running[t.ID] = true
		}
	}
	return running, nil
}

// mayRun is runs, with one that is known to be there and whose state cannot be learnt now taken for running: its end is
// recorded.
func (r *Runtime) mayRun(ctx context.Context, id string) (bool, error) {
	running, err := r.runs(ctx, id)
	if errdefs.IsDeadlineExceeded(err) && ctx.Err() == nil {
		return true, nil
	}
	return running, err
}

// runs asks for one container's process.
func (r *Runtime) runs(ctx context.Context, id string) (bool, error) {
	got, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	switch err = native(err); {
	case err == nil:
		return isRunning(got.Process.GetStatus()), nil
	case errdefs.IsNotFound(err):
		return false, nil
	}
	return false, err
}

func isRunning(s tasktypes.Status) bool {
	return s == tasktypes.Status_RUNNING || s == tasktypes.Status_PAUSED || s == tasktypes.Status_PAUSING
}

// isCreating tells whether a Create of the container is under way. What is seen of the container meanwhile may be of
// an attempt that is given up and made again.
func (r *Runtime) isCreating(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.creating[id]
}

// made counts the Creates that have ended.
func (r *Runtime) made() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.creations
}

func (r *Runtime) stdinPath(id string) string { return filepath.Join(r.cfg.fifoDir(), id+"-stdin") }

// inNamespace makes a context for calls of containerd's libraries: in ikada's namespace, and with what they log thrown
// away, since what matters of it comes back as an error.
func inNamespace(ctx context.Context) context.Context {
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	return namespaces.WithNamespace(log.WithLogger(ctx, logrus.NewEntry(quiet)), Namespace)
}
