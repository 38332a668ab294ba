//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/ikada/ikada/internal/runtime/shimexit"
)

// service is containerd's task service; it changes where the output of a container goes, and ends what it has begun also
// when the containerd that asked for it is killed: a runc that is killed in the middle leaves a container broken.
type service struct {
	taskapi.TTRPCTaskService
	outputs *outputs
}

// RegisterTTRPC makes the shim's server serve it.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error { //nolint:unparam // the interface is the shim library's
	taskapi.RegisterTTRPCTaskService(server, s)
	return nil
}

// Create makes a container. When its stdout is an address of ours, the output goes into pipes that end here.
func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	ctx = context.WithoutCancel(ctx)
	go warmCgroups()
	to, ours, err := shimexit.ParseOutput(r.Stdout)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if !ours {
		return s.TTRPCTaskService.Create(ctx, r)
	}
	o, err := s.outputs.open(r.ID, to, r.Terminal)
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("open output: %w", err))
	}
	r.Stdout, r.Stderr = o.paths()
	resp, err := s.TTRPCTaskService.Create(ctx, r)
	// From here on the copying goroutines of the task service hold the pipes' other ends, or there is no task.
	o.release()
	if err != nil {
		s.outputs.drop(r.ID)
		return nil, err
	}
	o.findCgroup(int(resp.Pid))
	return resp, nil
}

// Start starts a container's process, or another process in it.
func (s *service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	return s.TTRPCTaskService.Start(context.WithoutCancel(ctx), r)
}

// Kill sends a signal. One for a running container's first process goes straight there: the process is the shim's
// child, so its ID means no other before the shim has reaped it, and an execution of runc is saved.
func (s *service) Kill(ctx context.Context, r *taskapi.KillRequest) (*emptypb.Empty, error) {
	if r.ExecID == "" && !r.All {
		st, err := s.State(ctx, &taskapi.StateRequest{ID: r.ID})
		if err == nil && st.Status == tasktypes.Status_RUNNING && st.Pid > 0 {
			err := unix.Kill(int(st.Pid), unix.Signal(r.Signal))
			if errors.Is(err, unix.ESRCH) {
				return nil, errgrpc.ToGRPC(fmt.Errorf("process %d: %w", st.Pid, errdefs.ErrNotFound))
			}
			return &emptypb.Empty{}, errgrpc.ToGRPC(err)
		}
	}
	return s.TTRPCTaskService.Kill(ctx, r)
}

// Delete removes an ended container, once its last output is in the log.
func (s *service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	ctx = context.WithoutCancel(ctx)
	resp, err := s.TTRPCTaskService.Delete(ctx, r)
	if err == nil && r.ExecID == "" {
		if o := s.outputs.get(r.ID); o != nil && !o.drained(drainWait) {
			log.G(ctx).WithField("id", r.ID).Warn("output of a removed container is still open")
		}
		s.outputs.drop(r.ID)
	}
	return resp, err
}
