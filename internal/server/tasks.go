package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type tasksInput struct {
	EnvPath
	All bool `query:"all" doc:"Those that have ended too"`
}

type taskInput struct {
	ID string `path:"id" maxLength:"63" pattern:"^[a-zA-Z0-9_-]+$" patternDescription:"a task's ID, or the beginning of one"`
}

func (s *Server) listTasks(ctx context.Context, in *tasksInput) (out []api.TaskView, err error) {
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		if _, err := loadEnvironment(tx, in.ref()); err != nil {
			return err
		}
		all, err := tasksOf(tx, func(t *api.Task) bool { return t.EnvRef == in.ref() })
		out = all[in.ref()]
		return err
	})
	if !in.All {
		out = slices.DeleteFunc(out, func(t api.TaskView) bool { return t.State().Final() })
	}
	if out == nil {
		out = []api.TaskView{}
	}
	return out, err
}

// tasksOf gives the tasks that want chooses with their statuses, by environment, sorted by service, slot and age.
func tasksOf(tx store.Tx, want func(*api.Task) bool) (map[api.EnvRef][]api.TaskView, error) {
	tasks, err := store.List[api.Task](tx, store.Tasks)
	if err != nil {
		return nil, err
	}
	said, err := store.List[api.TaskStatus](tx, store.Statuses)
	if err != nil {
		return nil, err
	}
	status := make(map[string]*api.TaskStatus, len(said))
	for _, st := range said {
		status[st.Task] = st
	}
	out := map[api.EnvRef][]api.TaskView{}
	for _, t := range tasks {
		if !want(t) {
			continue
		}
		out[t.EnvRef] = append(out[t.EnvRef], t.View(status[t.ID]))
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b api.TaskView) int {
			return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot),
				a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
	}
	return out, nil
}

func (s *Server) getTask(ctx context.Context, in *taskInput) (view api.TaskView, err error) {
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		t, err := findTask(tx, in.ID)
		if err != nil {
			return err
		}
		st, err := store.Find[api.TaskStatus](tx, store.StatusKey(t.ID))
		view = t.View(st)
		return err
	})
	return view, err
}

// findTask gives the task with the ID, or the only one whose ID begins so.
func findTask(tx store.Tx, id string) (*api.Task, error) {
	if t, err := store.Find[api.Task](tx, store.TaskKey(id)); err != nil || t != nil {
		return t, err
	}
	alike, err := store.List[api.Task](tx, store.TaskKey(id))
	switch {
	case err != nil:
		return nil, err
	case len(alike) == 0:
		return nil, api.Errorf(api.NotFound, "task %s does not exist", id)
	case len(alike) > 1:
		return nil, api.FieldError("id", id, fmt.Sprintf("more of the ID: %d tasks' begin so, %s and %s among them", len(alike), alike[0].ID, alike[1].ID))
	}
	return alike[0], nil
}
