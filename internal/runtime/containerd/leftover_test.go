package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/runtimetest"
)

// A call that containerd's death cut off is made again only when its error keeps its class.
func TestNativeTwice(t *testing.T) {
	err := native(native(status.Error(codes.Unavailable, "connection reset by peer")))
	if !errdefs.IsUnavailable(err) {
		t.Errorf("%v is no longer of the class unavailable", err)
	}
}

// What containerd makes of a deadline that passes while it asks a shim, plain or in words of its own, is a deadline.
func TestNativeDeadline(t *testing.T) {
	for _, err := range []error{context.DeadlineExceeded, fmt.Errorf("ask shim: %w", context.DeadlineExceeded)} {
		sent := errgrpc.ToGRPC(errgrpc.ToNative(err))
		if status.Code(sent) != codes.Unknown {
			t.Errorf("containerd sends %v with code %v, want Unknown", err, status.Code(sent))
		}
		if got := native(sent); !errdefs.IsDeadlineExceeded(got) || got.Error() != err.Error() {
			t.Errorf("%v comes back as %v, want a deadline that was exceeded", err, got)
		}
	}
}

func TestHalfDeletedTask(t *testing.T) {
	in := newInstance(t, nil)
	in.supervise(t)
	dir := filepath.Join(in.cfg.containerd(), "io.containerd.runtime.v2.task", Namespace, ".half")
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o711); err != nil {
		t.Fatal(err)
	}
	in.killDaemon(t)
	if _, err := in.runtime.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

// A container that was made and never started is removed without waiting for output that nobody writes.
func TestRemoveOfHalfStarted(t *testing.T) {
	in := newInstance(t, nil)
	s := in.subject()
	runtimetest.Create(t, s, "half", s.Sleep())
	ctx := inNamespace(t.Context())
	// Its process anew, as a kill between the two calls of a start leaves it.
	if err := in.runtime.removeTask(ctx, "half"); err != nil {
		t.Fatal(err)
	}
	rootfs, err := in.runtime.Client().SnapshotService(in.runtime.Snapshotter()).Mounts(ctx, "half")
	if err != nil {
		t.Fatal(err)
	}
	req := &tasks.CreateTaskRequest{ContainerID: "half", Stdout: filepath.Join(in.cfg.stateDir(), "out"), Stderr: filepath.Join(in.cfg.stateDir(), "out")}
	if err := unix.Mkfifo(req.Stdout, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(req.Stdout, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	req.Rootfs = mountsOf(rootfs)
	if _, err := in.runtime.Client().TaskService().Create(ctx, req); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := in.runtime.Remove(t.Context(), "half"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("remove took %v", took)
	}
}

// What is left of a container that nobody knows goes, processes first; what is in use stays.
func TestSweepOfProcesses(t *testing.T) {
	in := newInstance(t, nil)
	s := in.subject()
	for _, id := range []string{"kept", "stray"} {
		runtimetest.Create(t, s, id, s.Sleep())
	}
	kept, stray := in.pid(t, "kept"), in.pid(t, "stray")
	ctx := inNamespace(t.Context())
	if err := in.runtime.Client().ContainerService().Delete(ctx, "stray"); err != nil {
		t.Fatal(err)
	}
	group := filepath.Join(in.cfg.CgroupPath(defaultCgroup), "stray")
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := in.runtime.sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if !alive(stray) && len(cgroupDirs(group)) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: process %v, cgroups %v", alive(stray), cgroupDirs(group))
		}
	}
	if !alive(kept) {
		t.Error("a process in use was ended")
	}
}

// The end of a container that is being made is not told: it may be that of an attempt which is made again.
func TestExitOfEarlierAttempt(t *testing.T) {
	in := newInstance(t, nil)
	s := in.subject()
	runtimetest.Create(t, s, "again", s.Exit(3))
	setCreating := func(on bool) {
		in.runtime.mu.Lock()
		defer in.runtime.mu.Unlock()
		in.runtime.creating["again"] = on
	}
	setCreating(true)
	out := make(chan agent.Exit, 1)
	for later := false; !later; {
		var err error
		if later, err = in.runtime.tellRecords(t.Context(), map[string]bool{}, out); err != nil {
			t.Fatal(err)
		}
	}
	if len(out) != 0 {
		t.Fatal("told while the container is being made")
	}
	setCreating(false)
	if _, err := in.runtime.tellRecords(t.Context(), map[string]bool{}, out); err != nil {
		t.Fatal(err)
	}
	if e := runtimetest.WaitExit(t, out, "again"); e.Code == nil || *e.Code != 3 {
		t.Errorf("exit is %+v, want code 3", e)
	}
}
