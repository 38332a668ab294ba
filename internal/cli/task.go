package cli

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// serviceOrTask tells what a name means: a service ("web"), a task by name ("web.2"), or the beginning of a task's ID.
func (s *shell) serviceOrTask(ctx context.Context, c *client.Client, ref api.EnvRef, name string) (service, task string, err error) {
	tasks, err := c.Tasks(ctx, ref, true)
	if err != nil {
		return "", "", err
	}
	for _, t := range tasks {
		if t.Service == name {
			return name, "", nil
		}
	}
	if t, ok := taskNamed(tasks, name); ok {
		return "", t.ID, nil
	}
	if strings.Contains(name, ".") || len(tasks) == 0 {
		return "", "", api.Errorf(api.NotFound, "%s has no service or task %s", ref, name)
	}
	return name, "", nil // the server knows services without tasks
}

// taskNamed gives a task by name, the newest of a slot first, or by the beginning of its ID that no other shares.
func taskNamed(tasks []api.TaskView, name string) (api.TaskView, bool) {
	var found []api.TaskView
	for _, t := range tasks {
		if t.Name() == name {
			found = append(found, t)
		}
	}
	if len(found) > 0 {
		best := found[0]
		for _, t := range found[1:] {
			if better(t, best) {
				best = t
			}
		}
		return best, true
	}
	for _, t := range tasks {
		if len(name) >= 4 && strings.HasPrefix(t.ID, name) {
			found = append(found, t)
		}
	}
	if len(found) == 1 {
		return found[0], true
	}
	return api.TaskView{}, false
}

// better prefers ready tasks, then living ones, then newer ones.
func better(a, b api.TaskView) bool {
	if ready := a.State() == api.TaskReady; ready != (b.State() == api.TaskReady) {
		return ready
	}
	if a.State().Final() != b.State().Final() {
		return b.State().Final()
	}
	return a.CreatedAt.After(b.CreatedAt)
}

// runningTask gives the task that a command should run in: the one named, or the best of a service.
func (s *shell) runningTask(ctx context.Context, c *client.Client, ref api.EnvRef, name string) (api.TaskView, error) {
	tasks, err := c.Tasks(ctx, ref, false)
	if err != nil {
		return api.TaskView{}, err
	}
	var best *api.TaskView
	for i, t := range tasks {
		running := t.State() == api.TaskReady || t.State() == api.TaskRunning || t.State() == api.TaskDraining
		if t.Service == name && t.Job == nil && running && (best == nil || better(t, *best)) {
			best = &tasks[i]
		}
	}
	if best != nil {
		return *best, nil
	}
	if t, ok := taskNamed(tasks, name); ok {
		return t, nil
	}
	known := map[string]bool{}
	for _, t := range tasks {
		known[t.Service] = true
	}
	if len(known) == 0 {
		return api.TaskView{}, api.Errorf(api.NotFound, "%s has no tasks; see `ikada status`", ref)
	}
	return api.TaskView{}, api.Errorf(api.NotFound, "%s has no running task of %s; expected a service, one of %s, or a task as `ikada ps` shows it",
		ref, name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}
