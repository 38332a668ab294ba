package build

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/resources/types"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
)

// killGrace is how long a cancelled step may take to be killed through containerd before its processes are killed
// past it: with containerd gone, BuildKit's executor waits for the step's output to end, which may be never.
const killGrace = 5 * time.Second

// cagedExecutor runs steps in the cage and tells which of them died of its memory limit.
type cagedExecutor struct {
	executor.Executor
	cage *cage
}

// outOfMemory is the error of a step that the memory limit ended.
type outOfMemory struct {
	limit int64 // bytes
	err   error
}

func (e *outOfMemory) Error() string {
	return fmt.Sprintf("the build ran out of memory (limit %s)", units.BytesSize(float64(e.limit)))
}

func (e *outOfMemory) Unwrap() error { return e.err }

// Run implements executor.Executor.
func (x *cagedExecutor) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (types.Recorder, error) {
	if id == "" {
		id = identity.NewID()
	}
	ended := make(chan struct{})
	defer close(ended)
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(killGrace)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
			x.cage.kill(id)
		}
	})
	defer stop()

	stay := x.cage.enter()
	rec, err := x.Executor.Run(ctx, id, root, mounts, process, started)
	var exit *gateway.ExitError
	if !errors.As(err, &exit) {
		stay.leave(0)
		return rec, err
	}
	if stay.leave(exit.ExitCode) && ctx.Err() == nil {
		err = &outOfMemory{limit: x.cage.limit, err: err}
	}
	return rec, err
}
