package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/schedule"
	"github.com/ikada/ikada/internal/store"
)

type jobsInput struct {
	EnvPath
	All bool `query:"all" doc:"Those that have ended too"`
}

type jobInput struct {
	EnvPath
	ID string `path:"id" maxLength:"63" pattern:"^[a-zA-Z0-9_-]+$" patternDescription:"a job's ID, or the beginning of one"`
}

type runInput struct {
	EnvPath
	Body api.JobRequest
}

type cronInput struct {
	EnvPath
	Service string `path:"service" maxLength:"63"`
	Name    string `path:"name" maxLength:"63"`
}

// listJobs gives the schedules of the committed release, and the jobs that have not ended, or all that are kept.
func (s *Server) listJobs(ctx context.Context, in *jobsInput) (out api.JobList, err error) {
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		env, err := loadEnvironment(tx, in.ref())
		if err != nil {
			return err
		}
		jobs, err := store.List[api.Job](tx, store.JobsOf(in.ref()))
		if err != nil {
			return err
		}
		slices.SortFunc(jobs, func(a, b *api.Job) int { return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID)) })
		out = api.JobList{Jobs: []api.Job{}}
		for _, j := range jobs {
			if in.All || !j.State.Final() {
				out.Jobs = append(out.Jobs, *j)
			}
		}
		out.Crons, err = s.cronViews(tx, env, jobs)
		return err
	})
	return out, err
}

func (s *Server) cronViews(tx store.Tx, env *api.Environment, jobs []*api.Job) ([]api.CronView, error) {
	out := []api.CronView{}
	r, err := store.Find[api.Release](tx, store.ReleaseKey(env.EnvRef, env.Release))
	if err != nil || r == nil {
		return out, err
	}
	for _, service := range slices.Sorted(maps.Keys(r.Spec.Services)) {
		crons := r.Spec.Services[service].Cron
		for _, name := range slices.Sorted(maps.Keys(crons)) {
			v := api.CronView{Cron: api.Cron{EnvRef: env.EnvRef, Service: service, Name: name}, Spec: crons[name]}
			kept, err := store.Find[api.Cron](tx, store.CronKey(&v.Cron))
			if err != nil {
				return nil, err
			}
			if kept != nil {
				v.Cron = *kept
			}
			v.Schedule, v.Timezone, v.Suspended = v.Spec.Schedule, v.Spec.Timezone, env.Stopped
			if when, err := schedule.Parse("cron", v.Schedule, v.Timezone); err == nil && !env.Stopped {
				v.Next = when.After(v.Since, s.now())
			}
			if i := slices.IndexFunc(jobs, func(j *api.Job) bool {
				return j.Kind == api.JobCron && j.Service == service && j.Name == name
			}); i >= 0 {
				v.Last = jobs[i]
			}
			out = append(out, v)
		}
	}
	return out, nil
}

func (s *Server) getJob(ctx context.Context, in *jobInput) (api.Job, error) {
	j, _, err := s.loadJob(ctx, in.ref(), in.ID)
	return j, err
}

func (s *Server) loadJob(ctx context.Context, ref api.EnvRef, id string) (j api.Job, rev int64, err error) {
	rev, err = s.store.View(ctx, func(tx store.Tx) error {
		found, err := findJob(tx, ref, id)
		if err == nil {
			j = *found
		}
		return err
	})
	return j, rev, err
}

// findJob gives the job with the ID, or the only one whose ID begins so.
func findJob(tx store.Tx, ref api.EnvRef, id string) (*api.Job, error) {
	if _, err := loadEnvironment(tx, ref); err != nil {
		return nil, err
	}
	if j, err := store.Find[api.Job](tx, store.JobKey(ref, id)); err != nil || j != nil {
		return j, err
	}
	alike, err := store.List[api.Job](tx, store.JobKey(ref, id))
	switch {
	case err != nil:
		return nil, err
	case len(alike) == 0:
		return nil, api.Errorf(api.NotFound, "%s has no job %s", ref, id)
	case len(alike) > 1:
		return nil, api.FieldError("id", id, fmt.Sprintf("more of the ID: %d jobs' begin so, %s and %s among them", len(alike), alike[0].ID, alike[1].ID))
	}
	return alike[0], nil
}

// runJob asks for a one-off run of a service of the committed release.
func (s *Server) runJob(ctx context.Context, in *runInput) (j api.Job, err error) {
	req, by := in.Body, callerOf(ctx).Name
	if err := checkRun(&req); err != nil {
		return j, err
	}
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		r, err := runnable(tx, in.ref())
		if err != nil {
			return err
		}
		if _, ok := r.Spec.Services[req.Service]; !ok {
			return unknownService("service", req.Service, &r.Spec)
		}
		j = api.Job{Kind: api.JobRun, Service: req.Service, Name: string(api.JobRun), Release: r.Number, Command: req.Command,
			Timeout: req.Timeout, CreatedBy: by, Terminal: req.Terminal}
		if req.Attached || req.Terminal {
			j.Until = s.now().Add(api.AttachLease.Std())
		}
		return s.putNewJob(tx, r, &j)
	})
	return j, err
}

// checkRun refuses what cannot be run.
func checkRun(req *api.JobRequest) error {
	if len(req.Command.Command)+len(req.Entrypoint) == 0 {
		return api.FieldError("command", "", "a program and its arguments")
	}
	for i, a := range slices.Concat(req.Entrypoint, req.Command.Command) {
		if strings.ContainsRune(a, 0) {
			return api.FieldError(fmt.Sprintf("command[%d]", i), "", "an argument without a zero byte")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(req.Env)) {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(req.Env[k], 0) {
			return api.FieldError("env", k, "a variable's name without '=', and a value without a zero byte")
		}
	}
	if req.Timeout < 0 {
		return api.FieldError("timeout", req.Timeout.String(), "a duration of 0 or more")
	}
	return nil
}

// runnable gives the committed release of an environment that may run jobs. A lock keeps nobody from that: as with
// exec, nothing of the environment is changed.
func runnable(tx store.Tx, ref api.EnvRef) (*api.Release, error) {
	env, err := loadEnvironment(tx, ref)
	switch {
	case err != nil:
		return nil, err
	case env.Destroying:
		return nil, api.Errorf(api.Conflict, "environment %s is being destroyed", ref)
	case env.Release == 0:
		return nil, api.Errorf(api.Conflict, "environment %s has no committed release yet; deploy one first", ref)
	case env.Stopped:
		return nil, api.Errorf(api.Conflict, "environment %s is down; start it first", ref)
	}
	return store.Get[api.Release](tx, store.ReleaseKey(ref, env.Release))
}

// putNewJob writes a job that somebody asked for.
func (s *Server) putNewJob(tx store.Tx, r *api.Release, j *api.Job) error {
	all, err := store.List[api.Job](tx, store.JobsOf(r.EnvRef))
	if err != nil {
		return err
	}
	open := 0
	for _, o := range all {
		if !o.State.Final() {
			open++
		}
	}
	if open >= api.MaxJobs {
		return api.Errorf(api.Exhausted, "%d jobs of %s have not ended, the most that it may have", open, r.EnvRef)
	}
	j.ID, j.EnvRef, j.State, j.CreatedAt = strings.ToLower(rand.Text()[:10]), r.EnvRef, api.JobPending, s.now().Round(0)
	if err := store.Put(tx, store.JobKey(j.EnvRef, j.ID), j); err != nil {
		return err
	}
	return store.AddEvent(tx, api.Event{EnvRef: j.EnvRef, Service: j.Service, Task: j.ID, Type: "job.started",
		Message: fmt.Sprintf("%s (%s) was started by %s", j.Title(), j.ID, j.CreatedBy)})
}

// triggerCron runs a schedule's command now, beside what its schedule says. The run counts as one of the schedule's.
func (s *Server) triggerCron(ctx context.Context, in *cronInput) (j api.Job, err error) {
	by := callerOf(ctx).Name
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		r, err := runnable(tx, in.ref())
		if err != nil {
			return err
		}
		service, ok := r.Spec.Services[in.Service]
		if !ok {
			return unknownService("service", in.Service, &r.Spec)
		}
		cron, ok := service.Cron[in.Name]
		if !ok {
			return api.Errorf(api.NotFound, "service %s of release %d has no cron %s", in.Service, r.Number, in.Name)
		}
		if err := s.makeRoom(tx, in, cron); err != nil {
			return err
		}
		j = api.Job{Kind: api.JobCron, Service: in.Service, Name: in.Name, Release: r.Number, Command: cron.Command,
			Timeout: cron.Timeout, CreatedBy: by}
		return s.putNewJob(tx, r, &j)
	})
	return j, err
}

// makeRoom does what a schedule says of runs that overlap: nothing, refuse this one, or stop the one before.
func (s *Server) makeRoom(tx store.Tx, in *cronInput, cron api.CronSpec) error {
	if cron.Concurrency == api.CronAllow {
		return nil
	}
	all, err := store.List[api.Job](tx, store.JobsOf(in.ref()))
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.Kind != api.JobCron || o.Service != in.Service || o.Name != in.Name || o.State.Final() {
			continue
		}
		if cron.Concurrency != api.CronReplace {
			return api.Errorf(api.Conflict, "%s runs already (%s), and may not run twice at once", o.Title(), o.ID)
		}
		if o.Stop == "" {
			o.Stop = "replaced by the next run"
			if err := store.Put(tx, store.JobKey(o.EnvRef, o.ID), o); err != nil {
				return err
			}
		}
	}
	return nil
}

// stopJob asks for the end of a job.
func (s *Server) stopJob(ctx context.Context, in *jobInput) (api.Job, error) {
	return s.changeJob(ctx, in.ref(), in.ID, func(j *api.Job) error {
		if j.State.Final() {
			return api.Errorf(api.Conflict, "job %s of %s has ended already: it %s", j.ID, j.EnvRef, stateWords(j.State))
		}
		if j.Stop == "" {
			j.Stop = "stopped by " + callerOf(ctx).Name
		}
		return nil
	})
}

func stateWords(s api.JobState) string {
	switch s {
	case api.JobStopped, api.JobLost:
		return "is " + string(s)
	}
	return string(s)
}

// changeJob changes what users own of a job.
func (s *Server) changeJob(ctx context.Context, ref api.EnvRef, id string, change func(j *api.Job) error) (out api.Job, err error) {
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		j, err := findJob(tx, ref, id)
		if err != nil {
			return err
		}
		if err := change(j); err != nil {
			return err
		}
		out = *j
		return store.Put(tx, store.JobKey(ref, j.ID), j)
	})
	return out, err
}
