package deploy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// path is a deployment's steps in the making. A step is begun once and ended once; what is told of it again is ignored.
type path []api.Step

func (p *path) open(name, service string) *api.Step {
	for i := range *p {
		if s := &(*p)[i]; s.Name == name && s.Service == service && !s.Ended {
			return s
		}
	}
	return nil
}

func (p *path) begun(name, service string, weight int) bool {
	return slices.ContainsFunc(*p, func(s api.Step) bool { return s.Name == name && s.Service == service && s.Weight == weight })
}

func (p *path) begin(name, service string, at time.Time) {
	p.add(api.Step{Name: name, Service: service, At: at})
}

func (p *path) add(s api.Step) {
	if len(*p) < api.KeepSteps && !p.begun(s.Name, s.Service, s.Weight) {
		*p = append(*p, s)
	}
}

func (p *path) end(name, service string, at time.Time, note string) {
	if s := p.open(name, service); s != nil {
		finish(s, at, note)
	}
}

func (p *path) endAll(at time.Time, note string) {
	for i := range *p {
		if s := &(*p)[i]; !s.Ended {
			finish(s, at, note)
		}
	}
}

func finish(s *api.Step, at time.Time, note string) {
	s.Ended, s.Took = true, api.Duration(max(at.Sub(s.At), 0))
	if s.Note == "" {
		s.Note = note
	}
}

// sorted gives the steps in the order in which they began; those of one moment stay as they came.
func (p path) sorted() []api.Step {
	slices.SortStableFunc(p, func(a, b api.Step) int { return a.At.Compare(b.At) })
	return p
}

// setOut notes what came before a deployment began, and what it ships.
func (m *maker) setOut() {
	d, now := m.dep, m.w.Now
	d.Target, d.Replaced = api.ContentOf(m.target), api.ContentOf(m.committed)
	for _, b := range d.Builds {
		m.way.add(api.Step{Name: api.StepBuild, Service: strings.Join(b.Services, ", "), At: d.CreatedAt.Add(-b.Ago.Std()), Took: b.Took, Ended: true})
	}
	at := d.CreatedAt
	if at.IsZero() || at.After(now) { // another machine's clock
		at = now
	}
	m.way.begin(api.StepQueue, "", at)
	m.way.end(api.StepQueue, "", now, "")
}

// trace notes how far the deployment has come on its way.
func (m *maker) trace() {
	d, now := m.dep, m.w.Now
	if !d.Backwards {
		m.traceCommands()
		for _, s := range m.services {
			if s.ailing == "" { // its healing is none of the deployment's steps
				m.traceService(s)
			}
		}
		if !d.SwappedAt.IsZero() {
			m.way.begin(api.StepMonitor, "", d.SwappedAt)
		}
	}
	if d.State.Final() {
		m.way.endAll(now, "")
	}
	if d.Trial == api.TrialOn && d.State.Final() {
		m.way.begin(api.StepTrial, "", now)
	}
	d.Steps = m.way.sorted()
}

// within gives a time that an agent has told, between the deployment's start and now: its clock may be another machine's.
func (m *maker) within(at time.Time) time.Time {
	switch at = at.UTC().Round(0); {
	case at.Before(m.dep.StartedAt):
		return m.dep.StartedAt
	case at.After(m.w.Now):
		return m.w.Now
	}
	return at
}

func (m *maker) traceCommands() {
	for _, name := range m.commands() {
		c := m.w.Commands[name]
		if c.State == "" {
			continue
		}
		m.way.begin(api.StepCommand, name, m.within(latest(c.StartedAt, m.dep.StartedAt)))
		if !c.State.Final() {
			continue
		}
		note := ""
		if c.State != api.JobSucceeded {
			note = string(c.State)
		}
		m.way.end(api.StepCommand, name, m.within(c.EndedAt), note)
	}
}

// traceService notes a service's way: its first new task's, then that of all, its requests' and the old tasks'.
func (m *maker) traceService(s *service) {
	var made, started, ready, back, left time.Time // of the first task
	var pulling, pulled bool
	for i := range m.w.Tasks {
		t := &m.w.Tasks[i]
		switch {
		case t.Service != s.name:
		case t.Hash != s.hash || s.hash == "":
			if !t.running() && !t.DesiredAt.Before(m.dep.StartedAt) && (t.WarmAt.IsZero() || !t.WarmAt.Before(m.dep.StartedAt)) {
				left = first(left, t.DesiredAt)
			}
		case t.CreatedAt.Before(m.dep.StartedAt):
			if t.running() && !t.DesiredAt.Before(m.dep.StartedAt) { // it was warm
				back = first(back, t.DesiredAt)
			}
		default:
			made = first(made, t.CreatedAt)
			started, ready = first(started, t.Status.StartedAt), first(ready, t.Status.ReadyAt)
			if t.completed() {
				ready = first(ready, t.Status.FinishedAt)
			}
			pulling = pulling || t.Status.State == api.TaskPulling
			pulled = pulled || api.TaskPulling.Before(t.Status.State)
		}
	}
	now := m.w.Now
	if !made.IsZero() {
		m.way.begin(api.StepStart, s.name, made)
		if pulling && !pulled {
			m.way.begin(api.StepPull, s.name, now)
		}
		if pulled && m.way.open(api.StepPull, s.name) != nil {
			m.way.end(api.StepPull, s.name, now, "")
			if start := m.way.open(api.StepStart, s.name); start != nil {
				start.At = now
			}
		}
		if !started.IsZero() {
			started = m.within(latest(started, made))
			m.way.end(api.StepStart, s.name, started, "")
			m.way.begin(api.StepCheck, s.name, started)
		}
		if !ready.IsZero() {
			ready = m.within(latest(ready, started, made))
			m.way.end(api.StepCheck, s.name, ready, "")
			m.way.begin(api.StepRoll, s.name, ready)
		}
	}
	if !back.IsZero() {
		m.way.begin(api.StepRoll, s.name, back)
	}
	if s.hash != "" && healthyIn(s.cur)+s.doneSlots() >= s.want {
		m.way.end(api.StepRoll, s.name, now, "")
	}
	m.traceShare(s)
	if !left.IsZero() {
		m.way.begin(api.StepDrain, s.name, left)
	}
	if len(s.old) == 0 && s.inTransit() == 0 {
		m.way.end(api.StepDrain, s.name, now, "")
	}
}

// traceShare notes the shares of the requests that the target's tasks are given, one after another.
func (m *maker) traceShare(s *service) {
	if s.shift == nil || s.shift.at.IsZero() || m.way.begun(api.StepShare, s.name, s.shift.weight) {
		return
	}
	m.way.end(api.StepShare, s.name, s.shift.at, "")
	m.way.add(api.Step{Name: api.StepShare, Service: s.name, Weight: s.shift.weight, At: s.shift.at, Ended: s.shift.all()})
}

// endTrial notes how a deployment's release came through its trial.
func endTrial(d *api.Deployment, trial api.Trial, now time.Time) {
	way := path(slices.Clone(d.Steps))
	way.end(api.StepTrial, "", now, string(trial))
	d.Steps, d.Trial, d.BakedAt = way, trial, now
}

// first gives the earlier of two times, where zero is none.
func first(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// readyBack says how ready the way back to the release before is, once the deployment has ended well.
func (m *maker) readyBack() *api.WayBack {
	d := m.dep
	w := &api.WayBack{Release: d.From}
	for _, name := range sortedServices(m.committed) {
		was, hash := m.committed.Spec.Services[name], m.hash(m.committed, name)
		if _, stays := m.target.Spec.Services[name]; m.env.Replicas(name, was) == 0 || stays && m.hash(m.target, name) == hash {
			continue
		}
		warm := 0
		for _, t := range m.warmOf(name) {
			if t.Hash == hash {
				w.Until = first(w.Until, t.WarmAt.Add(was.Update.WarmTime().Std()))
				warm++
			}
		}
		if w.Warm += warm; warm == 0 {
			w.Cold = append(w.Cold, name)
			w.Starts = max(w.Starts, m.startOf(name, was))
		}
	}
	return w
}

// startOf gives how long the tasks of a service take to start and get ready, as the deployment's first one of it did, when
// as many are replaced at a time as a rollback to spec may; 0 is unknown.
func (m *maker) startOf(name string, spec api.ServiceSpec) api.Duration {
	var one api.Duration
	for _, s := range m.dep.Steps {
		if s.Service == name && (s.Name == api.StepStart || s.Name == api.StepCheck) {
			one += s.Took
		}
	}
	rounds := 1
	if pace := spec.WithDefaults().Rollback.Parallelism; pace > 0 {
		rounds = (m.env.Replicas(name, spec) + pace - 1) / pace
	}
	return one * api.Duration(rounds)
}

// warmOf gives the tasks of a service that stand by.
func (m *maker) warmOf(name string) []*Task {
	for _, s := range m.services {
		if s.name == name {
			return s.warm
		}
	}
	return nil
}

// words is a way back in words.
func words(w *api.WayBack) string {
	text := fmt.Sprintf("release %d is kept", w.Release)
	if w.Warm > 0 {
		text += fmt.Sprintf(", %d of its tasks warm", w.Warm)
	}
	switch {
	case len(w.Cold) == 0:
		return text
	case w.Warm > 0:
		text += "; " + strings.Join(w.Cold, ", ") + " cold"
	default:
		text += ", cold"
	}
	if w.Starts > 0 {
		text += fmt.Sprintf(": about %s", api.Duration(w.Starts.Std().Round(100*time.Millisecond)))
	}
	return text
}
