package control

import (
	"reflect"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/plan/job"
	"github.com/ikada/ikada/internal/schedule"
	"github.com/ikada/ikada/internal/store"
)

// cronLook bounds how long a schedule is trusted to a timer, as expiryLook does: one that comes more than a minute late leaves
// its run out.
const cronLook = 30 * time.Second

// jobs is what an environment has of jobs, as of the revision of the world that it was read with.
type jobs struct {
	env   api.EnvRef
	all   []*api.Job
	crons []*api.Cron
}

func readJobs(s *store.State, env api.EnvRef) *jobs {
	return &jobs{env: env, all: s.JobsOf(env), crons: s.CronsOf(env)}
}

// values gives the jobs for a planner.
func (js *jobs) values() []api.Job {
	out := make([]api.Job, 0, len(js.all))
	for _, j := range js.all {
		out = append(out, *j)
	}
	return out
}

// dueCrons gives the schedules of the committed release with when they are due, and those whose state is left over.
func (l *Loop) dueCrons(js *jobs, w deploy.World, env api.Environment) []job.Cron {
	var out []job.Cron
	var services map[string]api.ServiceSpec
	if r := w.Releases[env.Release]; r != nil {
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
			c.Spec, c.Look = &spec, earlier(s.After(state.Since, w.Now), w.Now.Add(cronLook))
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
func (js *jobs) write(tx store.Tx, p *job.Plan) error {
	was := map[string]*api.Job{}
	for _, j := range js.all {
		was[j.ID] = j
	}
	for i := range p.Update {
		j := &p.Update[i]
		now, err := store.Find[api.Job](tx, store.JobKey(js.env, j.ID))
		if err != nil {
			return err
		}
		if now == nil || !reflect.DeepEqual(now, was[j.ID]) {
			return errStale
		}
	}
	for _, list := range [][]api.Job{p.Create, p.Update} {
		for i := range list {
			if err := store.Put(tx, store.JobKey(js.env, list[i].ID), list[i]); err != nil {
				return err
			}
		}
	}
	for _, id := range p.Forget {
		tx.Delete(store.JobKey(js.env, id))
	}
	for i := range p.Crons {
		if err := store.Put(tx, store.CronKey(&p.Crons[i]), p.Crons[i]); err != nil {
			return err
		}
	}
	for i := range p.ForgetCrons {
		tx.Delete(store.CronKey(&p.ForgetCrons[i]))
	}
	return nil
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
