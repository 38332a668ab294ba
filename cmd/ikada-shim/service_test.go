//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ikada/ikada/internal/runtime/shimexit"
)

// taskService stands for containerd's: its container is a process of the test's, and its calls take as long as the test
// wants.
type taskService struct {
	taskapi.TTRPCTaskService
	t          *testing.T
	containers *containers
	recorder   *recorder

	process *exec.Cmd
	told    sync.WaitGroup // until its end is
	create  chan struct{}  // a Create ends when it can read from this; nil: at once
	start   chan error     // and a Start, with this; nil: at once and well
	asked   chan string    // the calls that have come
}

func (s *taskService) Create(_ context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	s.asked <- "create"
	if s.create != nil {
		<-s.create
	}
	s.process = exec.Command("sleep", "300")
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	pid := s.process.Process.Pid
	s.told.Go(func() {
		_ = s.process.Wait()
		_ = s.recorder.Publish(context.Background(), "/tasks/exit", &eventtypes.TaskExit{ContainerID: r.ID, ID: r.ID, Pid: uint32(pid),
			ExitStatus: 137, ExitedAt: timestamppb.Now()})
	})
	return &taskapi.CreateTaskResponse{Pid: uint32(pid)}, nil
}

func (s *taskService) Start(context.Context, *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	s.asked <- "start"
	if s.start != nil {
		if err := <-s.start; err != nil {
			return nil, err
		}
	}
	return &taskapi.StartResponse{Pid: uint32(s.process.Process.Pid)}, nil
}

func (s *taskService) State(context.Context, *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	return nil, errgrpc.ToGRPC(errdefs.ErrNotFound)
}

func (s *taskService) Wait(context.Context, *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	s.asked <- "wait"
	return &taskapi.WaitResponse{}, nil
}

func (s *taskService) Pids(context.Context, *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	s.asked <- "pids"
	return &taskapi.PidsResponse{}, nil
}

func (s *taskService) Shutdown(context.Context, *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	s.asked <- "shutdown"
	return &emptypb.Empty{}, nil
}

func (s *taskService) Delete(_ context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	select {
	case <-s.containers.get(r.ID).ended:
	default:
		s.t.Error("a container was deleted whose process had not ended")
	}
	s.asked <- "delete"
	return &taskapi.DeleteResponse{}, nil
}

// newTestService gives the shim's service around a stand-in, with where exits are recorded.
func newTestService(t *testing.T) (s *service, inner *taskService, exits string) {
	t.Helper()
	exits = t.TempDir()
	cs := newContainers()
	p := &publisher{let: make(chan struct{}), topics: make(chan string, 16)}
	close(p.let)
	r := newRecorder(p, cs)
	inner = &taskService{t: t, containers: cs, recorder: r, asked: make(chan string, 16)}
	t.Cleanup(func() {
		if inner.process != nil {
			_ = inner.process.Process.Kill()
		}
		inner.told.Wait()
		_ = r.Close()
	})
	return &service{TTRPCTaskService: inner, containers: cs}, inner, exits
}

func createRequest(t *testing.T, exits string) *taskapi.CreateTaskRequest {
	t.Helper()
	bundle := t.TempDir()
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &taskapi.CreateTaskRequest{ID: "c", Bundle: bundle,
		Stdout: shimexit.Output{MaxSize: 1 << 20, MaxFiles: 2, ExitDir: exits}.URI()}
}

// wantState checks the container's state; none is UNKNOWN.
func wantState(t *testing.T, s *service, want tasktypes.Status) {
	t.Helper()
	st, err := s.State(t.Context(), &taskapi.StateRequest{ID: "c"})
	if want == tasktypes.Status_UNKNOWN {
		if err == nil {
			t.Errorf("state is %v, want none", st.Status)
		}
		return
	}
	if err != nil || st.Status != want {
		t.Errorf("state is %v, %v; want %v", st, err, want)
	}
}

// A containerd that starts asks a shim for its processes and ends one that has none. One that is just making its
// container must not be ended beside runc.
func TestNothingInterferesWithCreate(t *testing.T) {
	s, inner, exits := newTestService(t)
	inner.create = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	created := make(chan error, 1)
	go func() {
		_, err := s.Create(ctx, createRequest(t, exits))
		created <- err
	}()
	if call := <-inner.asked; call != "create" {
		t.Fatal(call)
	}
	cancel() // containerd, or who asked it, is dead
	wantState(t, s, tasktypes.Status_UNKNOWN)
	answered := make(chan error, 3)
	go func() {
		_, err := s.Pids(t.Context(), &taskapi.PidsRequest{ID: "c"})
		answered <- err
	}()
	go func() {
		_, err := s.Shutdown(t.Context(), &taskapi.ShutdownRequest{ID: "c"})
		answered <- err
	}()
	go func() {
		_, err := s.Delete(t.Context(), &taskapi.DeleteRequest{ID: "c"})
		answered <- err
	}()
	select {
	case call := <-inner.asked:
		t.Fatalf("%s came through while the container was being made", call)
	case <-time.After(50 * time.Millisecond): // that nothing happens can only be waited for
	}
	close(inner.create)
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
	wantState(t, s, tasktypes.Status_UNKNOWN)
	if _, ended, err := shimexit.Read(exits, "c"); ended || err != nil {
		t.Errorf("the end of a process that never began is recorded: %v, %v", ended, err)
	}
}

// How a container stands is told while runc is at work on it: it runs as soon as it is told to.
func TestStateWhileStarting(t *testing.T) {
	s, inner, exits := newTestService(t)
	inner.start = make(chan error)
	if _, err := s.Create(t.Context(), createRequest(t, exits)); err != nil {
		t.Fatal(err)
	}
	wantState(t, s, tasktypes.Status_CREATED)
	<-inner.asked
	started := make(chan error, 1)
	go func() {
		_, err := s.Start(t.Context(), &taskapi.StartRequest{ID: "c"})
		started <- err
	}()
	if call := <-inner.asked; call != "start" {
		t.Fatal(call)
	}
	wantState(t, s, tasktypes.Status_RUNNING)
	inner.start <- nil
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kill(t.Context(), &taskapi.KillRequest{ID: "c", Signal: uint32(unix.SIGTERM)}); err != nil {
		t.Fatal(err)
	}
	<-s.containers.get("c").ended
	wantState(t, s, tasktypes.Status_STOPPED)
	if _, err := s.Kill(t.Context(), &taskapi.KillRequest{ID: "c", Signal: uint32(unix.SIGTERM)}); !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		t.Errorf("a signal to a container that has ended gives %v", err)
	}
	if _, err := s.Create(t.Context(), createRequest(t, exits)); !errdefs.IsAlreadyExists(errgrpc.ToNative(err)) {
		t.Errorf("a second container of the ID gives %v", err)
	}
	if _, err := s.Delete(t.Context(), &taskapi.DeleteRequest{ID: "c"}); err != nil {
		t.Fatal(err)
	}
	wantState(t, s, tasktypes.Status_UNKNOWN)
}

// Who has waited for a container's end learns of it from its state too: a client deletes only what has stopped.
func TestStateAfterWait(t *testing.T) {
	s, inner, exits := newTestService(t)
	if _, err := s.Create(t.Context(), createRequest(t, exits)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), &taskapi.StartRequest{ID: "c"}); err != nil {
		t.Fatal(err)
	}
	_, _ = <-inner.asked, <-inner.asked
	waited := make(chan error, 1)
	go func() {
		_, err := s.Wait(t.Context(), &taskapi.WaitRequest{ID: "c"})
		waited <- err
	}()
	if call := <-inner.asked; call != "wait" { // containerd's service knows of the end before it tells of it
		t.Fatal(call)
	}
	wantState(t, s, tasktypes.Status_RUNNING)
	if _, err := s.Kill(t.Context(), &taskapi.KillRequest{ID: "c", Signal: uint32(unix.SIGKILL)}); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	wantState(t, s, tasktypes.Status_STOPPED)
}

// A container that could not be started ends, also when nobody is left to remove it.
func TestStartThatFails(t *testing.T) {
	s, inner, exits := newTestService(t)
	inner.start = make(chan error, 1)
	inner.start <- errors.New("no")
	if _, err := s.Create(t.Context(), createRequest(t, exits)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), &taskapi.StartRequest{ID: "c"}); err == nil {
		t.Fatal("started")
	}
	c := s.containers.get("c")
	select {
	case <-c.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}

// A shim whose containerd is dead before it could read the log must not wait for it with its socket open.
func TestLogWithoutReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := openLog(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a pipe: %v", err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := openLog(path); !errors.Is(err, unix.ENXIO) {
		t.Errorf("without a reader: %v", err)
	}
}
