package control

import (
	"reflect"
	"slices"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/plan/job"
	"github.com/ikada/ikada/internal/schedule"
	"github.com/ikada/ikada/internal/store"
)

// jobs is what an environment has of jobs, as of the revision of the world that it was read with, and then the plan
// made of it.
type jobs struct {
	env   api.EnvRef
	all   []*api.Job
	crons []*api.Cron
	plan  job.Plan
}

func readJobs(s *store.State, env api.EnvRef) *jobs {
	return &jobs{env: env, all: s.JobsOf(env), crons: s.CronsOf(env)}
}

// commands gives how the release commands of a deployment stand, by service.
func (js *jobs) commands(d *api.Deployment) map[string]deploy.Command {
	if d == nil {
		return nil
	}
	out := map[string]deploy.Command{}
	for _, j := range js.all {
		if j.Kind != api.JobRelease || j.Deployment != d.Number {
			continue
		}
		c := deploy.Command{Job: j.ID, State: j.State, Reason: j.Reason, EndedAt: j.EndedAt}
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

// planJobs plans the environment's jobs after its services. What becomes of tasks and events goes into the services'
// plan, so that jobs' tasks find nodes and are written as all others; the rest stays in js for [jobs.write].
func (l *Loop) planJobs(js *jobs, w deploy.World, p *deploy.Plan) {
	jw := job.World{Now: w.Now, Heard: l.began.Add(api.AttachLease.Std()), Env: w.Env, Releases: w.Releases, Begin: p.Commands}
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
	for _, j := range js.all {
		jw.Jobs = append(jw.Jobs, *j)
	}
	for _, t := range w.Tasks {
		if t.Job != nil {
			jw.Tasks = append(jw.Tasks, job.Task{Task: t.Task, Status: t.Status, Lost: t.Lost})
		}
	}
	jw.Crons = l.dueCrons(js, jw)
	js.plan = job.Make(jw)
	for i := range js.plan.Create {
		js.plan.Create[i].ID = newID()
	}
	p.Create = append(p.Create, js.plan.Tasks...)
	p.Update = append(p.Update, js.plan.Change...)
	p.Forget = slices.Concat(p.Forget, js.plan.Forget, js.plan.Drop)
	p.Events = append(p.Events, js.plan.Events...)
	if at := js.plan.Wake; !at.IsZero() && (p.Wake.IsZero() || at.Before(p.Wake)) {
		p.Wake = at
	}
}

// dueCrons gives the schedules of the committed release with when they are due, and those whose state is left over.
func (l *Loop) dueCrons(js *jobs, w job.World) []job.Cron {
	var out []job.Cron
	var services map[string]api.ServiceSpec
	if r := w.Releases[w.Env.Release]; r != nil {
		services = r.Spec.Services
	}
	kept := map[[2]string]bool{}
	add := func(state api.Cron) {
		c := job.Cron{State: state}
		if spec, ok := services[state.Service].Cron[state.Name]; ok {
			s, err := schedule.Parse(state.Service+".cron."+state.Name, spec.Schedule, spec.Timezone)
			if err != nil { // the server has refused what it cannot read; another version may have taken it
				l.cfg.Log.Error("read schedule", "app", js.env.App, "env", js.env.Env, "service", state.Service, "error", err)
				return
			}
			c.Spec, c.Next = &spec, s.Next(w.Now)
			if !state.Since.IsZero() {
				c.Due, c.More = s.Due(state.Since, w.Now)
			}
		}
		out = append(out, c)
	}
	for _, c := range js.crons {
		kept[[2]string{c.Service, c.Name}] = true
		add(*c)
	}
	for name, spec := range services {
		for cron := range spec.Cron {
			if !kept[[2]string{name, cron}] {
				add(api.Cron{EnvRef: js.env, Service: name, Name: cron})
			}
		}
	}
	slices.SortFunc(out, func(a, b job.Cron) int {
		return compareTitles(a.State.Service, a.State.Name, b.State.Service, b.State.Name)
	})
	return out
}

func compareTitles(service, name, otherService, otherName string) int {
	return slices.Compare([]string{service, name}, []string{otherService, otherName})
}

// write writes down what of the plan is not of tasks and events, unless a user has changed a job that it changes.
func (js *jobs) write(tx store.Tx) error {
	was := map[string]*api.Job{}
	for _, j := range js.all {
		was[j.ID] = j
	}
	for i := range js.plan.Update {
		j := &js.plan.Update[i]
		now, err := store.Find[api.Job](tx, store.JobKey(js.env, j.ID))
		if err != nil {
			return err
		}
		if now == nil || !reflect.DeepEqual(now, was[j.ID]) {
			return errStale
		}
	}
	for _, list := range [][]api.Job{js.plan.Create, js.plan.Update} {
		for i := range list {
			if err := store.Put(tx, store.JobKey(js.env, list[i].ID), list[i]); err != nil {
				return err
			}
		}
	}
	for _, id := range js.plan.Forget {
		tx.Delete(store.JobKey(js.env, id))
	}
	for i := range js.plan.Crons {
		if err := store.Put(tx, store.CronKey(&js.plan.Crons[i]), js.plan.Crons[i]); err != nil {
			return err
		}
	}
	for i := range js.plan.ForgetCrons {
		tx.Delete(store.CronKey(&js.plan.ForgetCrons[i]))
	}
	return nil
}

// taskSpec gives what a task's place depends on.
func taskSpec(r *api.Release, t *api.Task) api.ServiceSpec {
	spec := r.Spec.Services[t.Service]
	if t.Job != nil {
		return spec.ForJob(t.Job.Command)
	}
	return spec
}

// keepJobReleases adds the releases that jobs still need to used: those of jobs that have not ended.
func keepJobReleases(tx store.Tx, env api.EnvRef, used map[uint64]bool) error {
	all, err := store.List[api.Job](tx, store.JobsOf(env))
	for _, j := range all {
		if !j.State.Final() {
			used[j.Release] = true
		}
	}
	return err
}
