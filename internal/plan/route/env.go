package route

import "github.com/ikada/ikada/api"

// NewEnv gathers what the table of an environment depends on. status gives nil for a task of which no agent has spoken.
func NewEnv(env *api.Environment, deployments []*api.Deployment, release func(number uint64) *api.Release, tasks []*api.Task,
	status func(task string) *api.TaskStatus) Env {
	e := Env{Environment: *env, Releases: map[uint64]*api.Release{}}
	goal := env.Release
	for _, dep := range deployments {
		if dep.State != api.DeployRunning {
			continue
		}
		e.Deployment = dep
		if !dep.Backwards {
			goal = dep.To
		}
	}
	if goal != 0 {
		e.Goal = release(goal)
	}
	for _, t := range tasks {
		if t.Job != nil {
			continue // nobody calls a job
		}
		st := status(t.ID)
		if st != nil && st.State.Final() {
			continue // most are: none is a target, none leaves
		}
		e.Tasks = append(e.Tasks, t.View(st))
		if _, ok := e.Releases[t.Release]; !ok {
			e.Releases[t.Release] = release(t.Release)
		}
	}
	return e
}
