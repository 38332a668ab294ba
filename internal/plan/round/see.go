package round

import (
	"fmt"
	"slices"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
)

// Reports is what nodes say.
type Reports struct {
	Status func(task string) *api.TaskStatus // nil: the agent has not spoken of it
	Lost   func(node string) bool            // nobody hears from the node

	// Balancers has the word of every balancer whose node is alive; nil for one that has not spoken yet, or whose node
	// has still time to join after an election: it may well serve requests.
	Balancers []*api.BalancerStatus
}

// See puts the environment's tasks into the world as they are seen from here, and what keeps its ports from being
// opened. The rest of the world is there already.
func See(w *deploy.World, tasks []*api.Task, r Reports) {
	w.Tasks = make([]deploy.Task, 0, len(tasks))
	for _, t := range tasks {
		v := deploy.Task{Task: *t}
		if st := r.Status(t.ID); st != nil {
			v.Status = *st
		}
		v.Lost = t.Node != "" && r.Lost(t.Node) && !v.Status.State.Final()
		v.Serving = !routed(w, t) || r.picked(t.ID)
		v.Unpicked = r.unpicked(t.ID)
		v.Released = r.released(t.Leave())
		w.Tasks = append(w.Tasks, v)
	}
	r.problems(w)
}

// routed tells whether balancers send requests to the task's service.
func routed(w *deploy.World, t *api.Task) bool {
	goal := w.Env.Release
	if w.Deployment != nil && !w.Deployment.Backwards {
		goal = w.Deployment.To
	}
	for _, n := range []uint64{goal, t.Release} {
		if r := w.Releases[n]; r != nil {
			if spec, ok := r.Spec.Services[t.Service]; ok {
				return spec.Routed()
			}
		}
	}
	return false
}

func (r *Reports) picked(task string) bool {
	for _, b := range r.Balancers {
		if b == nil || !slices.Contains(b.Picks, task) {
			return false
		}
	}
	return true
}

func (r *Reports) unpicked(task string) bool {
	for _, b := range r.Balancers {
		if b == nil || slices.Contains(b.Picks, task) {
			return false
		}
	}
	return true
}

func (r *Reports) released(leave string) bool {
	for _, b := range r.Balancers {
		if b == nil {
			return false
		}
		if n, ok := b.Drains[leave]; !ok || n > 0 {
			return false
		}
	}
	return true
}

// problems notes for each service of the goal why one of its ports could not be opened.
func (r *Reports) problems(w *deploy.World) {
	if w.Deployment == nil {
		return
	}
	target := w.Releases[w.Deployment.To]
	if target == nil {
		return
	}
	for name, spec := range target.Spec.Services {
		for _, p := range spec.Ports {
			for _, b := range r.Balancers {
				if b == nil || p.Published == 0 {
					continue
				}
				if why := b.Problem[p.Listen()]; why != "" {
					w.Problems[name] = fmt.Sprintf("port %s cannot be opened on node %s: %s", p.Listen(), b.Node, why)
				}
			}
		}
	}
}

// Current gives the deployment to plan: the running one, else the queued one.
func Current(ds []*api.Deployment) *api.Deployment {
	for _, state := range []api.DeploymentState{api.DeployRunning, api.DeployQueued} {
		for _, d := range ds {
			if d.State == state {
				return d
			}
		}
	}
	return nil
}

// OnTrial gives the deployment whose release has taken over and is still judged.
func OnTrial(ds []*api.Deployment) *api.Deployment {
	for _, d := range slices.Backward(ds) {
		if d.Trial == api.TrialOn {
			return d
		}
	}
	return nil
}

// Commands gives how the release commands of a deployment stand, by service.
func Commands(jobs []*api.Job, d *api.Deployment) map[string]deploy.Command {
	if d == nil {
		return nil
	}
	out := map[string]deploy.Command{}
	for _, j := range jobs {
		if j.Kind != api.JobRelease || j.Deployment != d.Number {
			continue
		}
		c := deploy.Command{Job: j.ID, State: j.State, Reason: j.Reason, StartedAt: j.StartedAt, EndedAt: j.EndedAt}
		switch j.State {
		case api.JobFailed, api.JobTimedOut, api.JobStopped:
			c.Reason = string(j.State) + ": " + j.Reason
		case api.JobLost:
			c.Reason = "is lost: " + j.Reason
		}
		out[j.Service] = c
	}
	return out
}
