// Package round plans one environment in one go: its services' tasks, its jobs, and the nodes of whatever is new. The
// control loop writes down what it says, and a rehearsal plays it: so both do the same.
//
// The package is pure: no I/O, no clock, no random source; IDs come from its caller. Start at [Make]; [See] makes what
// it sees of tasks out of what agents and balancers say.
package round

import (
	"fmt"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/plan/job"
	"github.com/ikada/ikada/internal/plan/place"
)

// placeInterval is how often a task that found no node is tried again.
const placeInterval = 5 * time.Second

// World is everything that the plan of one environment depends on.
type World struct {
	deploy.World
	Jobs   []api.Job
	Heard  time.Time // as in job.World
	Joined time.Time // likewise

	// Crons gives the schedules of the environment as the plan of its services leaves it; nil: none are looked at.
	Crons func(env api.Environment) []job.Cron

	Nodes []place.Node  // with what all environments have placed on them; Make charges them with what it places
	NewID func() string // for tasks and jobs
}

// Plan is what to do. The tasks and events of jobs stand among those of services; Jobs has them too.
type Plan struct {
	deploy.Plan
	Jobs job.Plan
}

// Empty tells whether there is nothing to write.
func (p *Plan) Empty() bool { return p.Plan.Empty() && p.Jobs.Empty() }

// Make plans an environment. Applying the plan and making it again leads, step by step, to rest.
func Make(w World) Plan {
	p := Plan{Plan: deploy.Make(w.World)}
	p.addJobs(&w)
	p.assign(&w)
	return p
}

// addJobs plans the environment's jobs after its services. What becomes of tasks and events goes into the services'
// plan, so that jobs' tasks find nodes and are written as all others.
func (p *Plan) addJobs(w *World) {
	jw := job.World{Now: w.Now, Heard: w.Heard, Joined: w.Joined, Env: w.Env, Releases: w.Releases, Begin: p.Commands, Jobs: w.Jobs}
	if p.Env != nil {
		jw.Env = *p.Env
	}
	jw.Deployment = w.Deployment
	if p.Deployment != nil {
		jw.Deployment = p.Deployment
	}
	if jw.Deployment != nil && jw.Deployment.State != api.DeployRunning {
		jw.Deployment = nil
	}
	for _, t := range w.Tasks {
		if t.Job != nil {
			jw.Tasks = append(jw.Tasks, job.Task{Task: t.Task, Status: t.Status, Lost: t.Lost})
		}
	}
	jw.Checks, jw.Judged = checkJobs(&p.Plan, w.World)
	if w.Crons != nil {
		jw.Crons = w.Crons(jw.Env)
	}
	p.Jobs = job.Make(jw)
	for i := range p.Jobs.Create {
		p.Jobs.Create[i].ID = w.NewID()
	}
	p.Create = append(p.Create, p.Jobs.Tasks...)
	p.Update = append(p.Update, p.Jobs.Change...)
	p.Forget = slices.Concat(p.Forget, p.Jobs.Forget, p.Jobs.Drop)
	p.Events = append(p.Events, p.Jobs.Events...)
	p.wake(p.Jobs.Wake)
}

func (p *Plan) wake(at time.Time) {
	if !at.IsZero() && (p.Wake.IsZero() || at.Before(p.Wake)) {
		p.Wake = at
	}
}

// assign gives IDs and nodes to the plan's new tasks, and nodes to older ones that had found none.
func (p *Plan) assign(w *World) {
	for i := range p.Create {
		t := &p.Create[i]
		t.EnvRef = w.Env.EnvRef
		if t.Job == nil { // a job's task has the job's
			t.ID = w.NewID()
		}
		p.choose(w, t)
	}
	for i := range w.Tasks {
		t := w.Tasks[i].Task
		if t.Node != "" || t.Desired != api.WantRunning || p.planned(t.ID) {
			continue
		}
		was := t
		if t.Reason = ""; t.NotBefore.After(w.Now) {
			t.Reason = was.Reason
		}
		p.choose(w, &t)
		if t != was {
			p.Update = append(p.Update, t)
		}
	}
}

// choose gives a task its node, or the reason why none fits.
func (p *Plan) choose(w *World, t *api.Task) {
	r := w.Releases[t.Release]
	if r == nil {
		t.Reason = fmt.Sprintf("release %d is no longer kept", t.Release)
		return
	}
	spec := r.Spec.Services[t.Service]
	if t.Job != nil {
		spec = spec.ForJob(t.Job.Command)
	}
	node, why := place.Pick(w.Nodes, place.Request{Env: w.Env.EnvRef, Service: t.Service, Spec: spec})
	if node == "" {
		t.Reason = why
		p.wake(w.Now.Add(placeInterval)) // another environment may make room, of which this one is not told
		return
	}
	t.Node = node
	i := slices.IndexFunc(w.Nodes, func(n place.Node) bool { return n.Name == node })
	w.Nodes[i].Charge(t, spec.Resources)
}

func (p *Plan) planned(id string) bool {
	return slices.Contains(p.Forget, id) || slices.ContainsFunc(p.Update, func(t api.Task) bool { return t.ID == id })
}
