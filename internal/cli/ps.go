package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) psCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:               "ps [SERVICE...]",
		SuggestFor:        []string{"tasks", "containers", "pods", "get"},
		Short:             "List tasks",
		GroupID:           groupLook,
		ValidArgsFunction: s.completeServices,
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			tasks, err := c.Tasks(ctx, ref, all)
			if err != nil {
				return err
			}
			if err := s.known(ctx, c, ref, tasks, args); err != nil {
				return err
			}
			tasks = tasksOf(tasks, args)
			if s.json {
				return s.printJSON(tasks)
			}
			t := s.table("TASK", "ID", "RELEASE", "STATE", "NODE", "AGE", "")
			for _, task := range tasks {
				state := string(task.State())
				if task.Desired == api.WantWarm && !task.State().Final() {
					state = string(api.WantWarm)
				}
				state = s.out.paint(stateStyle(state), state)
				if task.Status.Unhealthy {
					state += s.out.paint(red, " unhealthy")
				}
				t.row(task.Name(), shortID(task.ID), task.Release, state, task.Node, s.age(task.CreatedAt), taskNote(task))
			}
			t.print("No task of " + ref.String() + " runs.")
			return nil
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "also tasks that have ended")
	return s.reading(cmd)
}

// known refuses names that are of no service and no task.
func (s *shell) known(ctx context.Context, c *client.Client, ref api.EnvRef, tasks []api.TaskView, names []string) error {
	for _, name := range names {
		if len(tasksOf(tasks, []string{name})) > 0 {
			continue
		}
		e, err := c.Environment(ctx, ref)
		if err != nil {
			return err
		}
		services := make([]string, 0, len(e.Services))
		for _, svc := range e.Services {
			services = append(services, svc.Service)
		}
		if !slices.Contains(services, name) {
			return api.Errorf(api.NotFound, "%s has no service or task %s; expected one of %s", ref, name, strings.Join(services, ", "))
		}
	}
	return nil
}

// tasksOf keeps the tasks of some services; of all when none is named. The result is never nil.
func tasksOf(tasks []api.TaskView, services []string) []api.TaskView {
	out := []api.TaskView{}
	for _, t := range tasks {
		if len(services) == 0 {
			out = append(out, t)
		}
		for _, name := range services {
			if t.Service == name || t.Name() == name {
				out = append(out, t)
				break
			}
		}
	}
	return out
}

// taskNote says why a task is as it is.
func taskNote(t api.TaskView) string {
	var notes []string
	if t.Status.Message != "" {
		notes = append(notes, printable(t.Status.Message))
	} else if t.Status.ExitCode != nil && *t.Status.ExitCode != 0 {
		notes = append(notes, fmt.Sprintf("exit code %d", *t.Status.ExitCode))
	}
	if t.Reason != "" && t.Reason != t.Status.Message { // a task that waits for its time repeats it
		notes = append(notes, printable(t.Reason))
	}
	return strings.Join(notes, "; ")
}

func shortID(id string) string { return id[:min(len(id), 12)] }
