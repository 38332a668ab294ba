//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/ikada/ikada/internal/runtime/shimenv"
	"github.com/ikada/ikada/internal/runtime/shimexit"
)

// killWait is how long the end of a process may take to be noted once it was killed, or has ended.
const killWait = 10 * time.Second

// service is containerd's task service; it changes where the output of a container goes, and makes what containerd may do
// at its own death or its client's harmless:
//
//   - What was begun is brought to its end: a runc that is killed in the middle leaves a container broken.
//   - Who asks for the end of a container that is being made waits until it is made. A containerd that starts asks so, and
//     would else take the shim for one without a container and end it beside runc.
//   - How a container stands is told at once, also while runc is at work on it.
type service struct {
	taskapi.TTRPCTaskService
	containers *containers
	making     sync.RWMutex // held for writing while a container is being made
}

// RegisterTTRPC makes the shim's server serve it.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error { //nolint:unparam // the interface is the shim library's
	taskapi.RegisterTTRPCTaskService(server, s)
	return nil
}

// Create makes a container. When its stdout is an address of ours, the output goes into pipes that end here.
func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	ctx = context.WithoutCancel(ctx)
	s.making.Lock()
	defer s.making.Unlock()
	go warmCgroups()
	to, ours, err := shimexit.ParseOutput(r.Stdout)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if s.containers.get(r.ID) != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("container with given ID already exists: %w", errdefs.ErrAlreadyExists))
	}
	var o *output
	if ours {
		if o, err = newOutput(to, r.Terminal); err != nil {
			return nil, errgrpc.ToGRPC(fmt.Errorf("open output: %w", err))
		}
		// Once it is made the copying goroutines of the task service hold the pipes' other ends, or there is no task.
		defer o.release()
	}
	c := s.containers.add(r, o)
	if ours {
		r.Stdout, r.Stderr = o.paths()
	}
	restore, err := shimenv.Add(r.Bundle)
	if err != nil {
		s.containers.drop(r.ID)
		return nil, errgrpc.ToGRPC(err)
	}
	resp, err := s.TTRPCTaskService.Create(ctx, r)
	if rerr := restore(); rerr != nil {
		log.G(ctx).WithError(rerr).WithField("id", r.ID).Warn("take secret variables out of the specification")
	}
	if err != nil {
		s.containers.drop(r.ID)
		return nil, err
	}
	c.isMade(int(resp.Pid))
	if ours {
		o.findCgroup(int(resp.Pid))
	}
	return resp, nil
}

// Start starts a container's process, or another process in it. From its call on the container runs: the one who asked
// may be dead before the answer.
func (s *service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	ctx = context.WithoutCancel(ctx)
	c := s.containers.get(r.ID)
	if c == nil || r.ExecID != "" {
		return s.TTRPCTaskService.Start(ctx, r)
	}
	c.begins()
	resp, err := s.TTRPCTaskService.Start(ctx, r)
	if err != nil {
		// Nobody may be left to remove it, and it does not run.
		_ = c.signal(unix.SIGKILL)
	}
	return resp, err
}

// State tells how a container stands, or another process in it.
func (s *service) State(ctx context.Context, r *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	if c := s.containers.get(r.ID); c != nil && r.ExecID == "" {
		if st := c.state(); st != nil {
			return st, nil
		}
	}
	return s.TTRPCTaskService.State(ctx, r)
}

// Wait waits for the end of a container, or of another process in it; State tells of that end too when it returns.
func (s *service) Wait(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	c := s.containers.get(r.ID)
	resp, err := s.TTRPCTaskService.Wait(ctx, r)
	if err == nil && c != nil && r.ExecID == "" {
		if err := c.wait(ctx, killWait); err != nil {
			return nil, errgrpc.ToGRPC(fmt.Errorf("wait for the end of container %s: %w", r.ID, err))
		}
	}
	return resp, err
}

// Kill sends a signal. One for a container's first process goes straight there: it waits for no runc, and saves the
// execution of one. Every container has process IDs of its own, so that with its first process all others are killed.
func (s *service) Kill(ctx context.Context, r *taskapi.KillRequest) (*emptypb.Empty, error) {
	if r.ExecID != "" || r.All && unix.Signal(r.Signal) != unix.SIGKILL {
		return s.TTRPCTaskService.Kill(ctx, r)
	}
	s.making.RLock()
	defer s.making.RUnlock()
	c := s.containers.get(r.ID)
	if c == nil {
		return s.TTRPCTaskService.Kill(ctx, r)
	}
	if err := c.signal(unix.Signal(r.Signal)); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &emptypb.Empty{}, nil
}

// Pids gives the processes of a container.
func (s *service) Pids(ctx context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	s.making.RLock()
	defer s.making.RUnlock()
	return s.TTRPCTaskService.Pids(ctx, r)
}

// Delete removes a container that has ended, once its last output is in the log, or that was never started.
func (s *service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	ctx = context.WithoutCancel(ctx)
	if r.ExecID != "" {
		return s.TTRPCTaskService.Delete(ctx, r)
	}
	s.making.RLock()
	defer s.making.RUnlock()
	c := s.containers.get(r.ID)
	if c != nil && c.isWaiting() {
		// The task service would wait, out of reach, for output that nobody writes.
		err := c.signal(unix.SIGKILL)
		if err == nil || errdefs.IsNotFound(err) {
			err = c.wait(ctx, killWait)
		}
		if err != nil {
			log.G(ctx).WithError(err).WithField("id", r.ID).Warn("kill container that was not started")
		}
	}
	resp, err := s.TTRPCTaskService.Delete(ctx, r)
	if err == nil && c != nil {
		if c.output != nil && !c.output.drained(drainWait) {
			log.G(ctx).WithField("id", r.ID).Warn("output of a removed container is still open")
		}
		s.containers.drop(r.ID)
	}
	return resp, err
}

// Shutdown ends the shim, unless it has a container.
func (s *service) Shutdown(ctx context.Context, r *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	s.making.RLock()
	defer s.making.RUnlock()
	return s.TTRPCTaskService.Shutdown(ctx, r)
}
