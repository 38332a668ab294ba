package containerd

import (
	"context"
	"strings"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/plugins/services"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/ikada/ikada/internal/runtime/shimexit"
)

// The names of containerd's own task service, which is left out, and of the one that takes its place.
const (
	tasksPlugin   = "io.containerd.grpc.v1.tasks"
	detachedTasks = "detached-tasks"
)

// registerTasks has containerd serve its task service in a way of ours.
func registerTasks() {
	registry.Register(&plugin.Registration{
		Type:     plugins.GRPCPlugin,
		ID:       detachedTasks,
		Requires: []plugin.Type{plugins.ServicePlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			local, err := ic.GetByID(plugins.ServicePlugin, services.TasksService)
			if err != nil {
				return nil, err
			}
			return &taskServer{local: local.(tasks.TasksClient)}, nil
		},
	})
}

// taskServer is containerd's task service, with one difference: what ikada begins to make is made, also when ikada is
// killed meanwhile. Else containerd removes what it has made by then, in several steps of which nobody is told, and would
// do so to the container that a new ikada makes of the same ID.
type taskServer struct {
	tasks.UnimplementedTasksServer
	local tasks.TasksClient
}

// Register makes containerd's server serve it.
func (s *taskServer) Register(server *grpc.Server) error {
	tasks.RegisterTasksServer(server, s)
	return nil
}

// Create is the one that differs. Builds make containers too, and remove none whose making they gave up.
func (s *taskServer) Create(ctx context.Context, r *tasks.CreateTaskRequest) (*tasks.CreateTaskResponse, error) {
	if strings.HasPrefix(r.Stdout, shimexit.Scheme+":") {
		ctx = context.WithoutCancel(ctx)
	}
	return s.local.Create(ctx, r)
}

// Start and those that follow are containerd's own.
func (s *taskServer) Start(ctx context.Context, r *tasks.StartRequest) (*tasks.StartResponse, error) {
	return s.local.Start(ctx, r)
}

func (s *taskServer) Delete(ctx context.Context, r *tasks.DeleteTaskRequest) (*tasks.DeleteResponse, error) {
	return s.local.Delete(ctx, r)
}

func (s *taskServer) DeleteProcess(ctx context.Context, r *tasks.DeleteProcessRequest) (*tasks.DeleteResponse, error) {
	return s.local.DeleteProcess(ctx, r)
}

func (s *taskServer) Get(ctx context.Context, r *tasks.GetRequest) (*tasks.GetResponse, error) {
	return s.local.Get(ctx, r)
}

func (s *taskServer) List(ctx context.Context, r *tasks.ListTasksRequest) (*tasks.ListTasksResponse, error) {
	return s.local.List(ctx, r)
}

func (s *taskServer) Kill(ctx context.Context, r *tasks.KillRequest) (*emptypb.Empty, error) {
	return s.local.Kill(ctx, r)
}

func (s *taskServer) Exec(ctx context.Context, r *tasks.ExecProcessRequest) (*emptypb.Empty, error) {
	return s.local.Exec(ctx, r)
}

func (s *taskServer) ResizePty(ctx context.Context, r *tasks.ResizePtyRequest) (*emptypb.Empty, error) {
	return s.local.ResizePty(ctx, r)
}

func (s *taskServer) CloseIO(ctx context.Context, r *tasks.CloseIORequest) (*emptypb.Empty, error) {
	return s.local.CloseIO(ctx, r)
}

func (s *taskServer) Pause(ctx context.Context, r *tasks.PauseTaskRequest) (*emptypb.Empty, error) {
	return s.local.Pause(ctx, r)
}

func (s *taskServer) Resume(ctx context.Context, r *tasks.ResumeTaskRequest) (*emptypb.Empty, error) {
	return s.local.Resume(ctx, r)
}

func (s *taskServer) ListPids(ctx context.Context, r *tasks.ListPidsRequest) (*tasks.ListPidsResponse, error) {
	return s.local.ListPids(ctx, r)
}

func (s *taskServer) Checkpoint(ctx context.Context, r *tasks.CheckpointTaskRequest) (*tasks.CheckpointTaskResponse, error) {
	return s.local.Checkpoint(ctx, r)
}

func (s *taskServer) Update(ctx context.Context, r *tasks.UpdateTaskRequest) (*emptypb.Empty, error) {
	return s.local.Update(ctx, r)
}

func (s *taskServer) Metrics(ctx context.Context, r *tasks.MetricsRequest) (*tasks.MetricsResponse, error) {
	return s.local.Metrics(ctx, r)
}

func (s *taskServer) Wait(ctx context.Context, r *tasks.WaitRequest) (*tasks.WaitResponse, error) {
	return s.local.Wait(ctx, r)
}
