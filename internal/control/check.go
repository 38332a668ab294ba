package control

import (
	"cmp"
	"context"
	"maps"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/plan/job"
)

// questionsAtOnce bounds the questions of all environments that are under way.
const questionsAtOnce = 16

// Checks asks users' own checks of releases, but for commands, which are jobs.
type Checks interface {
	// Ask asks one question within its check's timeout. judged is the release whose check it is, which knows the
	// versions of the secrets that it sends. The answer's At is the caller's to say.
	Ask(ctx context.Context, judged *api.Release, q deploy.Question) deploy.Answer
}

// questions are those of the deployment, or the trial, of one environment.
type questions struct {
	deployment uint64
	ctx        context.Context // ends with the deployment
	cancel     context.CancelFunc
	asking     map[deploy.CheckKey]bool
	answers    map[deploy.CheckKey]deploy.Answer // the last of each
}

// answers adds to a world what has been answered, and what is being asked.
func (l *Loop) answers(w *deploy.World, js *jobs) {
	d := w.Judging()
	env := w.Env.EnvRef
	l.mu.Lock()
	q := l.posed[env]
	if q != nil && (d == nil || q.deployment != d.Number) {
		q.cancel()
		delete(l.posed, env)
		q = nil
	}
	if q != nil {
		w.Answers, w.Asking = maps.Clone(q.answers), maps.Clone(q.asking)
	}
	l.mu.Unlock()
	if d != nil {
		js.answers(d, w)
	}
}

// pose asks what the plan wants to know; answers have the environment planned again.
func (l *Loop) pose(ctx context.Context, w deploy.World, ask []deploy.Question) {
	d := w.Judging()
	if d == nil {
		return
	}
	judged := w.Releases[d.To]
	env := w.Env.EnvRef
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range ask {
		if one.Check.Kind() == api.CheckCommand {
			continue
		}
		q := l.posed[env]
		if q == nil {
			q = &questions{deployment: d.Number, asking: map[deploy.CheckKey]bool{}, answers: map[deploy.CheckKey]deploy.Answer{}}
			q.ctx, q.cancel = context.WithCancel(ctx)
			l.posed[env] = q
		}
		if !q.asking[one.CheckKey] {
			q.asking[one.CheckKey] = true
			l.asking.Go(func() { l.askOne(env, q, judged, one) })
		}
	}
}

func (l *Loop) askOne(env api.EnvRef, q *questions, judged *api.Release, one deploy.Question) {
	select {
	case l.lanes <- struct{}{}:
	case <-q.ctx.Done():
		return
	}
	at := time.Now().UTC().Round(0)
	a := deploy.Answer{Result: api.VerdictInsufficient, Reason: "nobody is there to ask it"}
	if l.cfg.Checks != nil {
		ctx, cancel := context.WithTimeout(q.ctx, one.Check.Timeout.Std())
		a = l.cfg.Checks.Ask(ctx, judged, one)
		cancel()
	}
	<-l.lanes
	a.At = at
	l.mu.Lock()
	delete(q.asking, one.CheckKey)
	q.answers[one.CheckKey] = a
	l.mu.Unlock()
	if q.ctx.Err() == nil {
		l.queue.add(env)
	}
}

// dropQuestions forgets those of an environment that is gone.
func (l *Loop) dropQuestions(env api.EnvRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.posed[env]; q != nil {
		q.cancel()
		delete(l.posed, env)
	}
}

// answers adds to a world how commands have done: the newest job of a check gives its answer once it has ended.
func (js *jobs) answers(d *api.Deployment, w *deploy.World) {
	target := w.Releases[d.To]
	if target == nil {
		return
	}
	for _, c := range target.Spec.AllChecks() {
		if c.Kind() != api.CheckCommand {
			continue
		}
		name := deploy.CheckJob(c.Owner, c.Name)
		newest := map[uint64]*api.Job{}
		for _, j := range js.all {
			if j.Kind == api.JobCheck && j.Deployment == d.Number && j.Service == c.Service && j.Name == name && !job.Unjudged(j) {
				if n := newest[j.Release]; n == nil || j.CreatedAt.After(n.CreatedAt) {
					newest[j.Release] = j
				}
			}
		}
		for release, j := range newest {
			key := deploy.CheckKey{Owner: c.Owner, Name: c.Name, Release: release}
			if !j.State.Final() {
				if w.Asking == nil {
					w.Asking = map[deploy.CheckKey]bool{}
				}
				w.Asking[key] = true
				continue
			}
			if w.Answers == nil {
				w.Answers = map[deploy.CheckKey]deploy.Answer{}
			}
			w.Answers[key] = commandAnswer(j)
		}
	}
}

// commandAnswer is what a job that has ended says of its release.
func commandAnswer(j *api.Job) deploy.Answer {
	a := deploy.Answer{At: j.CreatedAt, Job: j.ID, Reason: j.Reason}
	if j.ExitCode != nil {
		code := api.Number(*j.ExitCode)
		a.Value = &code
	}
	switch {
	case j.State == api.JobSucceeded:
		a.Result, a.Reason = api.VerdictPass, "exited with code 0"
	case j.State == api.JobTimedOut, j.State == api.JobFailed && (j.Cause == api.CauseExit || j.Cause == api.CauseOOM):
		a.Result = api.VerdictFail
	default: // it did not run, or nobody knows how it ended
		a.Result = api.VerdictInsufficient
	}
	a.Reason = cmp.Or(a.Reason, string(j.State))
	return a
}
