package rehearse

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

// Pace is how long what tasks of a service do takes.
type Pace struct {
	Start   time.Duration // from a task's making until it is ready, or has run to its end
	Drain   time.Duration // until the requests in flight of one that leaves have ended
	Stop    time.Duration // from its stop signal to its end
	Command time.Duration // of its release command and other jobs
	From    string        // where Start comes from
}

// What is taken where nothing was measured.
const (
	usualStart   = 2 * time.Second
	usualDrain   = 100 * time.Millisecond
	usualStop    = 200 * time.Millisecond
	usualCommand = 5 * time.Second
)

// paces reckons how fast the services of the rehearsed release are, from the environment's tasks and jobs.
func paces(s *Setting) map[string]Pace {
	names := map[string]bool{}
	for _, r := range s.Releases {
		for name := range r.Spec.Services {
			names[name] = true
		}
	}
	out := map[string]Pace{}
	for name := range names {
		out[name] = s.paceOf(name)
	}
	return out
}

func (s *Setting) paceOf(service string) Pace {
	p := Pace{Start: usualStart, Drain: usualDrain, Stop: usualStop, Command: usualCommand, From: "assumed: nothing was measured yet"}
	var starts, stops, commands []time.Duration
	for _, t := range s.Tasks {
		st := s.Statuses[t.ID]
		if t.Service != service || t.Job != nil || st == nil {
			continue
		}
		begin := latest(t.CreatedAt, t.NotBefore)
		ready := st.ReadyAt
		if ready.IsZero() && st.State == api.TaskStopped && t.Desired == api.WantRunning {
			ready = st.FinishedAt // it runs to its end
		}
		if d := ready.Sub(begin); !ready.IsZero() && d >= 0 {
			starts = append(starts, d)
		}
		if d := st.FinishedAt.Sub(t.DesiredAt); t.Desired == api.WantStopped && st.State == api.TaskStopped && d >= 0 {
			stops = append(stops, d)
		}
	}
	for _, j := range s.Jobs {
		if j.Service == service && j.Kind == api.JobRelease && j.State == api.JobSucceeded && !j.StartedAt.IsZero() {
			commands = append(commands, j.EndedAt.Sub(j.StartedAt))
		}
	}
	if len(starts) > 0 {
		p.Start, p.From = median(starts), fmt.Sprintf("as the median of %s before", tasksOf(len(starts)))
	} else if h := s.healthOf(service); h != nil && h.StartPeriod > 0 {
		p.Start, p.From = h.StartPeriod.Std(), "assumed: the start period of its check, since nothing was measured yet"
	}
	if len(stops) > 0 {
		p.Stop = median(stops)
	}
	if len(commands) > 0 {
		p.Command = median(commands)
	}
	return p
}

// healthOf gives a service's check in the newest release that has the service.
func (s *Setting) healthOf(service string) *api.HealthSpec {
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(s.Releases))) {
		if spec, ok := s.Releases[n].Spec.Services[service]; ok {
			return spec.Health
		}
	}
	return nil
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2].Round(time.Millisecond)
}

// paceOf gives how fast a task is.
func (st *stage) paceOf(a *actor) Pace {
	p, ok := st.pace[a.Service]
	if !ok {
		p = Pace{Start: usualStart, Drain: usualDrain, Stop: usualStop, Command: usualCommand}
	}
	if a.Job != nil {
		p.Start = p.Command
	}
	return p
}

// Notes says what a rehearsal takes for granted of the services of the deployment's release, by name.
func Notes(s Setting) []string {
	d := newStage(s, nil).target()
	if d == nil || s.Releases[d.To] == nil {
		return nil
	}
	r := s.Releases[d.To]
	pace := paces(&s)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.Spec.Services)) {
		p, spec := pace[name], r.Spec.Services[name]
		what := "ready"
		if spec.Restart.RunsToEnd() {
			what = "done"
		}
		out = append(out, fmt.Sprintf("%s: a task is %s %s after it was made (%s)", name, what, p.Start, p.From))
		if spec.Release != nil && d.Kind == api.KindDeploy {
			out = append(out, fmt.Sprintf("%s: the release command takes %s and succeeds", name, p.Command))
		}
	}
	return out
}
