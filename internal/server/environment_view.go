package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

const (
	lastWordsOf   = 3                      // failing tasks whose last output a status quotes
	lastWordsWait = 300 * time.Millisecond // for all of them
	lastWordsLong = 200                    // bytes of a quoted line
)

func (s *Server) listEnvironments(ctx context.Context, _ *none) ([]api.EnvironmentStatus, error) {
	worlds, err := s.worlds(ctx, nil)
	out := make([]api.EnvironmentStatus, 0, len(worlds))
	for i := range worlds {
		if callerOf(ctx).Grants.Allow(api.RoleView, worlds[i].Env.EnvRef) {
			out = append(out, Summarize(&worlds[i]))
		}
	}
	return out, err
}

func (s *Server) getEnvironment(ctx context.Context, in *EnvPath) (api.EnvironmentStatus, error) {
	ref := in.ref()
	worlds, err := s.worlds(ctx, &ref)
	if err != nil {
		return api.EnvironmentStatus{}, err
	}
	w := &worlds[0]
	w.LastWords = s.lastWords(ctx, w.Tasks)
	return Summarize(w), nil
}

// worlds gives what statuses are made of, for one environment or for all.
func (s *Server) worlds(ctx context.Context, only *api.EnvRef) ([]World, error) {
	var out []World
	_, err := s.store.View(ctx, func(tx store.Tx) error {
		out = nil
		var envs []*api.Environment
		var err error
		if only != nil {
			var env *api.Environment
			env, err = loadEnvironment(tx, *only)
			envs = []*api.Environment{env}
		} else {
			envs, err = store.List[api.Environment](tx, store.Environments)
		}
		if err != nil {
			return err
		}
		tasks, err := tasksOf(tx, func(t *api.Task) bool { return t.Job == nil && (only == nil || t.EnvRef == *only) })
		if err != nil {
			return err
		}
		nodes, err := store.List[api.Node](tx, store.Nodes)
		if err != nil {
			return err
		}
		balancers, err := store.List[api.BalancerStatus](tx, store.Balancers)
		if err != nil {
			return err
		}
		for _, env := range envs {
			w := World{Env: *env, Tasks: tasks[env.EnvRef], Nodes: values(nodes), Balancers: values(balancers), Now: s.now()}
			if err := w.load(tx); err != nil {
				return err
			}
			out = append(out, w)
		}
		return nil
	})
	return out, err
}

// load finds the deployment that counts and the release that should run.
func (w *World) load(tx store.Tx) error {
	ref := w.Env.EnvRef
	var err error
	if w.Lock, err = heldLock(tx, ref, w.Now); err != nil {
		return err
	}
	all, err := store.List[api.Deployment](tx, store.DeploymentsOf(ref))
	if err != nil {
		return err
	}
	for _, d := range all {
		if w.Deployment == nil || w.Deployment.State != api.DeployRunning {
			w.Deployment = d // the running one, else the last
		}
	}
	number := w.Env.Release
	if d := w.Deployment; d != nil && !d.Backwards && (d.State == api.DeployRunning || number == 0) {
		number = d.To
	}
	if number != 0 {
		w.Release, err = store.Find[api.Release](tx, store.ReleaseKey(ref, number))
	}
	return err
}

// lastWords gives the last line of output of the tasks that failed last. It is a help, not worth waiting for: what
// cannot be had at once is left out.
func (s *Server) lastWords(ctx context.Context, tasks []api.TaskView) map[string]string {
	if s.deps.Tasks == nil {
		return nil
	}
	newest := map[string]*api.TaskView{}
	for i := range tasks {
		t := &tasks[i]
		if t.State() == api.TaskFailed && (newest[t.Service] == nil || t.Status.FinishedAt.After(newest[t.Service].Status.FinishedAt)) {
			newest[t.Service] = t
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lastWordsWait)
	defer cancel()
	words := map[string]string{}
	for _, t := range newest {
		if len(words) == lastWordsOf {
			break
		}
		if line, err := s.lastLine(ctx, t.ID); err == nil {
			words[t.ID] = line
		}
	}
	return words
}

func (s *Server) lastLine(ctx context.Context, task string) (string, error) {
	r, err := s.deps.Tasks.Logs(ctx, task, LogQuery{Tail: 1})
	if err != nil {
		return "", err
	}
	line, err := r.Next()
	if err = errors.Join(err, r.Close()); err != nil {
		return "", err
	}
	text := strings.TrimSpace(line.Text)
	if len(text) > lastWordsLong {
		text = strings.ToValidUTF8(text[:lastWordsLong], "") + "…"
	}
	return text, nil
}
