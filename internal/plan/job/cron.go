package job

import (
	"cmp"
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
)

// onTime is how late a run may start and still count as on time: about what a restart of ikada takes.
const onTime = time.Minute

// crons begins the runs that are due.
func (m *maker) crons() {
	for i := range m.w.Crons {
		c := &m.w.Crons[i]
		if c.Spec == nil || m.w.Env.Destroying {
			m.p.ForgetCrons = append(m.p.ForgetCrons, c.State)
			continue
		}
		next := m.cron(c)
		if next != c.State {
			m.p.Crons = append(m.p.Crons, next)
		}
		if !next.Suspended {
			m.p.wake(m.w.Now, c.Look)
		}
	}
}

// cron gives the state of a schedule after now, and begins its run when that is due.
func (m *maker) cron(c *Cron) api.Cron {
	s, now := c.State, m.w.Now
	if m.w.Env.Stopped {
		s.Suspended = true
		return s
	}
	if s.Suspended || s.Schedule != c.Spec.Schedule || s.Timezone != c.Spec.Timezone || s.Since.After(now.Add(onTime)) {
		// New, another, awake again, or the clock was set back: what was due before does not count.
		s.Schedule, s.Timezone, s.Suspended, s.Since = c.Spec.Schedule, c.Spec.Timezone, false, now
		return s
	}
	if c.Due.IsZero() {
		return s
	}
	s.Since = c.Due
	title := s.Service + "." + s.Name
	if why := m.overdue(c); why != "" {
		s.SkippedAt, s.Skipped = c.Due, why
		m.event(api.Event{Service: s.Service, Job: s.Name, Type: "job.missed", Level: api.LevelWarn, Message: fmt.Sprintf("%s did not run: %s", title, why)})
		return s
	}
	if why := m.overlap(c); why != "" {
		if c.Due.Sub(s.SkippedAt) > oldNews {
			m.event(api.Event{Service: s.Service, Job: s.Name, Type: "job.skipped", Level: api.LevelWarn, Message: fmt.Sprintf("%s did not run: %s", title, why)})
		}
		s.SkippedAt, s.Skipped = c.Due, why
		return s
	}
	m.begin(api.Job{Kind: api.JobCron, Service: s.Service, Name: s.Name, Release: m.w.Env.Release, Command: c.Spec.Command,
		Timeout: c.Spec.Timeout, Due: c.Due})
	return s
}

// overdue says why a run that is too late is left out, "" when it is not too late.
func (m *maker) overdue(c *Cron) string {
	late := m.w.Now.Sub(c.Due)
	limit := onTime
	if c.Spec.Missed == api.MissedOnce {
		if c.Spec.StartingDeadline == 0 {
			return ""
		}
		limit = c.Spec.StartingDeadline.Std()
	}
	if late <= limit {
		return ""
	}
	what := "it was due"
	if c.More > 0 {
		what = fmt.Sprintf("it was due %d times, last", c.More+1)
	}
	return fmt.Sprintf("%s at %s, and nobody could start it for %s", what, c.Due.UTC().Format(time.RFC3339), late.Round(time.Second))
}

// overlap says why a run is left out beside those that go on, "" when it is not. One that takes their place has them
// stopped.
func (m *maker) overlap(c *Cron) string {
	all := 0
	for i := range m.jobs {
		j := &m.jobs[i]
		if !j.State.Final() {
			all++
		}
		if j.Kind != api.JobCron || j.Service != c.State.Service || j.Name != c.State.Name || !m.live(j) {
			continue
		}
		switch cmp.Or(c.Spec.Concurrency, api.CronForbid) {
		case api.CronForbid:
			return fmt.Sprintf("it was due at %s, and the run before (%s) was not over", c.Due.UTC().Format(time.RFC3339), j.ID)
		case api.CronReplace:
			if j.Stop == "" && !j.State.Final() {
				j.Stop = "replaced by the next run"
			}
		}
	}
	if all >= api.MaxJobs {
		return fmt.Sprintf("it was due at %s, and %d jobs run already, the most of an environment", c.Due.UTC().Format(time.RFC3339), all)
	}
	return ""
}
