package job

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	placeDeadline = time.Minute      // how long a job may look for a node
	oldNews       = 10 * time.Minute // for so long nothing is told of a schedule that was told already
)

// Make plans an environment's jobs. Applying the plan and making it again leads, step by step, to rest; a plan made
// twice of the same world is the same.
func Make(w World) Plan {
	var p Plan
	m := maker{w: w, p: &p, tasks: map[string]*Task{}}
	for i := range w.Tasks {
		m.tasks[w.Tasks[i].ID] = &w.Tasks[i]
	}
	m.jobs = slices.Clone(w.Jobs)
	slices.SortFunc(m.jobs, func(a, b api.Job) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID)) })
	was := map[string]api.Job{}
	for i := range m.jobs {
		was[m.jobs[i].ID] = m.jobs[i]
	}
	m.release()
	m.checks()
	m.crons()
	for i := range m.jobs {
		j := &m.jobs[i]
		if !j.State.Final() {
			m.step(j)
		}
		if j.State.Final() {
			m.leave(j)
		}
		if !reflect.DeepEqual(*j, was[j.ID]) {
			p.Update = append(p.Update, *j)
		}
	}
	m.history()
	m.orphans()
	return p
}

// maker holds what one Make works out.
type maker struct {
	w     World
	p     *Plan
	jobs  []api.Job // oldest first
	tasks map[string]*Task
}

// release begins the release commands that the deployment asks for, each once.
func (m *maker) release() {
	d := m.w.Deployment
	if d == nil || m.w.Releases[d.To] == nil {
		return
	}
	for _, service := range m.w.Begin {
		if slices.ContainsFunc(m.jobs, func(j api.Job) bool {
			return j.Kind == api.JobRelease && j.Deployment == d.Number && j.Service == service
		}) {
			continue
		}
		c := m.w.Releases[d.To].Spec.Services[service].Release
		if c == nil {
			continue
		}
		m.begin(api.Job{Kind: api.JobRelease, Service: service, Name: string(api.JobRelease), Release: d.To, Deployment: d.Number,
			Command: c.Command, Timeout: cmp.Or(c.Timeout, api.DefaultReleaseTimeout), CreatedBy: d.CreatedBy})
		m.event(api.Event{Service: service, Job: string(api.JobRelease), Deployment: d.Number, Type: "job.started", Level: api.LevelInfo,
			Message: fmt.Sprintf("release command of %s starts for release %d", service, d.To)})
	}
}

// checks begins checks that run a command, one of each at a time.
func (m *maker) checks() {
	for _, c := range m.w.Checks {
		if slices.ContainsFunc(m.jobs, func(j api.Job) bool {
			return j.Kind == api.JobCheck && j.Service == c.Service && j.Name == c.Name && j.Release == c.Release && !j.State.Final()
		}) {
			continue
		}
		m.begin(api.Job{Kind: api.JobCheck, Service: c.Service, Name: c.Name, Release: c.Release, Deployment: c.Deployment,
			Command: c.Command, Timeout: c.Timeout, Hosts: c.Hosts, CreatedBy: "ikada"})
	}
}

func (m *maker) begin(j api.Job) {
	j.EnvRef, j.State, j.CreatedAt = m.w.Env.EnvRef, api.JobPending, m.w.Now
	m.p.Create = append(m.p.Create, j)
}

// step moves a job on that has not ended.
func (m *maker) step(j *api.Job) {
	t := m.tasks[j.ID]
	if t == nil {
		m.await(j)
		return
	}
	if !t.Status.StartedAt.IsZero() && j.State == api.JobPending {
		j.State, j.StartedAt, j.Reason = api.JobRunning, t.Status.StartedAt, ""
	}
	switch {
	case j.Result != nil:
		m.result(j)
		return
	case t.Status.State.Final():
		m.ended(j, t)
		return
	case t.Lost:
		m.end(j, api.JobLost, api.CauseLost, fmt.Sprintf("node %s does not answer: how far it got is not known", t.Node))
		return
	}
	if cause, why := m.unwanted(j); why != "" {
		if j.Stop, j.Cause = why, cause; t.Node == "" {
			m.stopped(j)
			return
		}
		m.stop(t, why)
		if j.State == api.JobRunning {
			j.Reason = "stopping: " + why
		}
		return
	}
	if j.State == api.JobRunning {
		return
	}
	j.Reason = cmp.Or(t.Status.Message, t.Reason)
	if t.Node != "" {
		return
	}
	over := j.CreatedAt.Add(placeDeadline)
	if m.w.Now.Before(over) {
		m.p.wake(m.w.Now, over)
		return
	}
	m.end(j, api.JobFailed, api.CauseStart, t.Reason)
}

// await makes a job's task, unless another run of its cron must end before.
func (m *maker) await(j *api.Job) {
	_, why := m.unwanted(j)
	switch {
	case j.Made:
		m.end(j, api.JobLost, api.CauseLost, "its task is gone: how far it got is not known")
		return
	case why != "":
		j.Stop = why
		m.stopped(j)
		return
	case m.w.Releases[j.Release] == nil:
		m.end(j, api.JobFailed, api.CauseStart, fmt.Sprintf("release %d is no longer kept", j.Release))
		return
	}
	if other := m.before(j); other != nil {
		j.Reason = fmt.Sprintf("waits for the run before it (%s) to end", other.ID)
		return
	}
	j.Made, j.Reason = true, ""
	m.p.Tasks = append(m.p.Tasks, api.Task{ID: j.ID, EnvRef: j.EnvRef, Service: j.Service, Release: j.Release, Hash: "job", Desired: api.WantRunning,
		DesiredAt: m.w.Now, CreatedAt: m.w.Now, Job: &api.TaskJob{Kind: j.Kind, Name: j.Name, Command: j.Command, Terminal: j.Terminal, Hosts: j.Hosts}})
}

// before gives an older run of the job's cron that has not ended, unless they may run side by side.
func (m *maker) before(j *api.Job) *api.Job {
	if j.Kind != api.JobCron || m.policy(j) == api.CronAllow {
		return nil
	}
	for i := range m.jobs {
		o := &m.jobs[i]
		if o.ID == j.ID {
			return nil
		}
		if o.Kind == j.Kind && o.Service == j.Service && o.Name == j.Name && m.live(o) {
			return o
		}
	}
	return nil
}

// policy gives what a run's own release says of overlaps.
func (m *maker) policy(j *api.Job) string {
	if r := m.w.Releases[j.Release]; r != nil {
		return cmp.Or(r.Spec.Services[j.Service].Cron[j.Name].Concurrency, api.CronForbid)
	}
	return api.CronForbid
}

// live tells whether a job, or what is left of its task, may still do something.
func (m *maker) live(j *api.Job) bool {
	t := m.tasks[j.ID]
	return !j.State.Final() || t != nil && !t.Lost && !t.Status.State.Final() && t.Node != ""
}

// unwanted says why a job is to stop, "" when it is not; the cause is that of the time limit alone.
func (m *maker) unwanted(j *api.Job) (api.Cause, string) {
	now := m.w.Now
	switch {
	case j.Stop != "":
		return j.Cause, j.Stop
	case m.w.Env.Destroying:
		return "", "the environment is being destroyed"
	case m.w.Env.Stopped:
		return "", "the environment was taken down"
	case j.Kind == api.JobRelease:
		if d := m.w.Deployment; d == nil || d.Number != j.Deployment {
			return "", fmt.Sprintf("deployment %d has ended", j.Deployment)
		} else if d.Backwards {
			return "", d.Reason
		}
	case j.Kind == api.JobCheck && j.Deployment != m.w.Judged:
		return "", unjudged(j)
	}
	if !j.Until.IsZero() {
		until := j.Until
		if m.w.Heard.After(until) {
			until = m.w.Heard
		}
		if !now.Before(until) {
			return "", "its client has gone"
		}
		m.p.wake(now, until)
	}
	if j.Timeout > 0 && !j.StartedAt.IsZero() {
		over := j.StartedAt.Add(j.Timeout.Std())
		if m.w.Joined.After(over) { // it may be over since long, and its node has not said so yet
			over = m.w.Joined
		}
		if !now.Before(over) {
			return api.CauseTimeout, fmt.Sprintf("not over after %s", j.Timeout)
		}
		m.p.wake(now, over)
	}
	return "", ""
}

// unjudged is why a check's command is stopped whose deployment has no say any more, or not for now.
func unjudged(j *api.Job) string { return fmt.Sprintf("release %d is judged no more", j.Release) }

// Unjudged tells whether a check's command was stopped because its release was not judged just then. That is no answer:
// where the release is judged again, after another deployment came to nothing, the check is to be asked again.
func Unjudged(j *api.Job) bool { return j.State == api.JobStopped && j.Stop == unjudged(j) }

// ended writes down how a job's task ended.
func (m *maker) ended(j *api.Job, t *Task) {
	st := &t.Status
	j.ExitCode = st.ExitCode
	switch {
	case st.State == api.TaskFailed && st.Cause == api.CauseLost:
		m.end(j, api.JobLost, st.Cause, st.Message+": how far it got is not known")
	case t.Desired != api.WantRunning:
		m.stopped(j)
	case st.State == api.TaskFailed:
		m.end(j, api.JobFailed, st.Cause, st.Message)
	default:
		m.end(j, api.JobSucceeded, "", "")
	}
	if !st.FinishedAt.IsZero() {
		j.EndedAt = st.FinishedAt
	}
}

// result writes down how the command of a terminal's job ended.
func (m *maker) result(j *api.Job) {
	r := j.Result
	switch code := r.Code; {
	case r.Error != "":
		m.end(j, api.JobFailed, api.CauseStart, r.Error)
	case j.Stop != "":
		j.ExitCode = &code
		m.stopped(j)
	case code != 0:
		j.ExitCode = &code
		m.end(j, api.JobFailed, api.CauseExit, fmt.Sprintf("exited with code %d", code))
	default:
		j.ExitCode = &code
		m.end(j, api.JobSucceeded, "", "")
	}
	j.EndedAt = r.At
}

// stopped ends a job that was asked to stop, by its time limit or otherwise.
func (m *maker) stopped(j *api.Job) {
	if j.Cause == api.CauseTimeout {
		m.end(j, api.JobTimedOut, j.Cause, j.Stop)
		return
	}
	m.end(j, api.JobStopped, "", j.Stop)
}

func (m *maker) end(j *api.Job, state api.JobState, cause api.Cause, reason string) {
	j.State, j.Cause, j.Reason, j.EndedAt = state, cause, reason, m.w.Now
	if state == api.JobStopped && j.Kind != api.JobRelease || state == api.JobSucceeded && j.Kind == api.JobCron || j.Kind == api.JobCheck {
		return // what was asked for, and what goes on for ever as it should, is no news; of checks the deployment tells
	}
	if j.Kind == api.JobCron && m.told(j) {
		return
	}
	level, kind, text := api.LevelInfo, "job.succeeded", j.Title()+" succeeded"
	if state != api.JobSucceeded {
		level, kind, text = api.LevelError, "job.failed", fmt.Sprintf("%s %s: %s", j.Title(), state, reason)
	}
	m.event(api.Event{Service: j.Service, Job: j.Name, Task: j.ID, Deployment: j.Deployment, Type: kind, Level: level, Message: text})
}

// told tells whether the run before of the job's cron ended in the same way a short while ago: one that fails every
// second is to leave room for other events.
func (m *maker) told(j *api.Job) bool {
	for _, o := range slices.Backward(m.jobs) {
		if o.ID != j.ID && o.Kind == j.Kind && o.Service == j.Service && o.Name == j.Name && o.State.Final() && !o.CreatedAt.After(j.CreatedAt) {
			return o.State == j.State && m.w.Now.Sub(o.EndedAt) < oldNews
		}
	}
	return false
}

// leave stops the task of a job that has ended.
func (m *maker) leave(j *api.Job) {
	if t := m.tasks[j.ID]; t != nil && !t.Status.State.Final() {
		m.stop(t, cmp.Or(j.Reason, "its command has ended"))
	}
}

// stop has a task stopped; one that no node ever had goes at once.
func (m *maker) stop(t *Task, why string) {
	switch {
	case t.Desired == api.WantStopped:
	case t.Node == "":
		m.p.Drop = append(m.p.Drop, t.ID)
	default:
		u := t.Task
		u.Desired, u.DesiredAt, u.Reason = api.WantStopped, m.w.Now, why
		m.p.Change = append(m.p.Change, u)
	}
}

// history forgets the oldest ended jobs of each cron, of each release command and of the others. A task goes with its
// job, and before it where no node knows it; that of a lost job once its node has said that it has ended.
func (m *maker) history() {
	kept := map[string]int{}
	for _, j := range slices.Backward(m.jobs) {
		if !j.State.Final() {
			continue
		}
		key := string(j.Kind)
		if j.Kind != api.JobRun {
			key += "/" + j.Title()
		}
		t := m.tasks[j.ID]
		gone := t == nil || t.Status.State.Final()
		if kept[key]++; gone && (kept[key] > api.KeepJobs || m.w.Env.Destroying) && !slices.Contains(m.p.Drop, j.ID) {
			m.p.Forget = append(m.p.Forget, j.ID)
		}
	}
	// What is forgotten is not written as well.
	m.p.Update = slices.DeleteFunc(m.p.Update, func(j api.Job) bool { return slices.Contains(m.p.Forget, j.ID) })
}

// orphans ends the tasks of jobs that nobody knows.
func (m *maker) orphans() {
	for i := range m.w.Tasks {
		t := &m.w.Tasks[i]
		if slices.ContainsFunc(m.jobs, func(j api.Job) bool { return j.ID == t.ID }) {
			continue
		}
		if t.Status.State.Final() {
			m.p.Drop = append(m.p.Drop, t.ID)
		} else {
			m.stop(t, "its job is gone")
		}
	}
}

func (m *maker) event(e api.Event) {
	e.EnvRef = m.w.Env.EnvRef
	m.p.Events = append(m.p.Events, e)
}
