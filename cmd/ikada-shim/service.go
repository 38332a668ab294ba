//go:build linux

package main

import (
	"context"
	"fmt"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"

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
