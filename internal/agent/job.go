package agent

import (
	"context"
	"fmt"

	"github.com/ikada/ikada/api"
)

// jobLines is how many of its last lines of output say why a job failed.
const jobLines = 5

// taskSpec gives what the task runs: its service's spec, or for a job's task that with the job's command.
func (t *task) taskSpec(s api.ServiceSpec) api.ServiceSpec {
	if t.task.Job != nil {
		return s.ForJob(t.task.Job.Command)
	}
	return s.WithDefaults()
}

// commit waits until the control plane has written down that the task is about to run. From then on a job that is not
// found running, and has left no record of its exit, may have run, and is not run again.
func (t *task) commit(ctx context.Context) error {
	t.a.poke()
	select {
	case <-t.starting:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mayHaveRun tells whether an earlier agent may have run the task's process, as far as its status can tell.
func (t *task) mayHaveRun() bool {
	if t.task.Job != nil {
		return !t.state().Before(api.TaskStarting)
	}
	return !t.state().Before(api.TaskRunning)
}

// jobHost is the host name of a job's task.
func (t *task) jobHost() string {
	return fmt.Sprintf("%s-%s-%s", t.task.Service, t.task.Job.Name, t.task.ID[:min(len(t.task.ID), 4)])
}
