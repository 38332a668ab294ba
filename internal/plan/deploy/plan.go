package deploy

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

// Make plans one environment. Applying the plan and making it again leads, step by step, to the wanted state; a
// plan made twice of the same world is the same.
func Make(w World) Plan {
	var p Plan
	w.Tasks = slices.DeleteFunc(slices.Clone(w.Tasks), func(t Task) bool { return t.Job != nil })
	m := maker{w: w, p: &p, env: w.Env, committed: w.Releases[w.Env.Release]}
	m.env.Scale = maps.Clone(w.Env.Scale)
	if m.w.Hashes == nil {
		m.w.Hashes = &Hashes{}
	}
	m.w.Hashes.keep(w.Releases)
	if w.Deployment != nil {
		d := *w.Deployment
		d.Rollouts = nil
		m.dep = &d
		m.target = w.Releases[d.To]
		m.way = slices.Clone(d.Steps)
		m.begin()
		m.judge()
	}
	m.plan()
	if m.dep == nil {
		m.bake()
	}
	if m.dep != nil {
		m.advance()
	}
	m.hush()
	m.forget()
	return p
}

// maker holds what one Make works out.
type maker struct {
	w         World
	p         *Plan
	env       api.Environment
	dep       *api.Deployment // the plan's own copy; nil when none runs
	committed *api.Release
	target    *api.Release // of dep
	services  []*service
	way       path          // of dep
	heard     []api.Verdict // on the target by now
}

// hash identifies what tasks of a release's service run.
func (m *maker) hash(r *api.Release, service string) string { return m.w.Hashes.of(r, service) }

// goal is the release that tasks are to be of; nil when none is to be left.
func (m *maker) goal() *api.Release {
	if m.dep != nil && !m.dep.Backwards {
		return m.target
	}
	return m.committed
}

// begin starts a queued deployment.
func (m *maker) begin() {
	if m.dep.State != api.DeployQueued {
		return
	}
	m.dep.State, m.dep.StartedAt, m.dep.From = api.DeployRunning, m.w.Now, m.env.Release
	if m.target == nil {
		m.dep.Backwards, m.dep.Reason = true, fmt.Sprintf("release %d is no longer kept", m.dep.To)
	} else if m.dep.Kind == api.KindDeploy {
		m.takeScale()
	} else {
		m.giveScale(m.dep.Scale)
	}
	m.dep.Ailing = m.ailments() // of an environment that was taken down nothing was wanted
	m.env.Stopped = false
	m.setOut()
	m.event(api.LevelInfo, "deployment.started", fmt.Sprintf("%s %d to release %d started", m.dep.Kind, m.dep.Number, m.dep.To))
	for _, a := range m.dep.Ailing {
		m.event(api.LevelWarn, "deployment.ailing", a.String())
		m.p.Events[len(m.p.Events)-1].Service = a.Service
	}
}

// takeScale forgets numbers set by hand for services whose number the new release changes or that it drops.
func (m *maker) takeScale() {
	for name := range m.env.Scale {
		spec, ok := m.target.Spec.Services[name]
		if !ok || m.committed != nil && spec.Replicas != m.committed.Spec.Services[name].Replicas {
			if m.dep.Scale == nil {
				m.dep.Scale = map[string]int{}
			}
			m.dep.Scale[name] = m.env.Scale[name]
			delete(m.env.Scale, name)
		}
	}
}

// giveScale sets the numbers again that a deployment has taken away, but for those that a user has set since.
func (m *maker) giveScale(scale map[string]int) {
	if len(scale) > 0 && m.env.Scale == nil {
		m.env.Scale = map[string]int{}
	}
	for name, n := range scale {
		if _, set := m.env.Scale[name]; !set {
			m.env.Scale[name] = n
		}
	}
}

// plan partitions the tasks by service and plans each.
func (m *maker) plan() {
	goal := m.goal()
	byName := map[string]*service{}
	if goal != nil {
		for name, spec := range goal.Spec.Services {
			spec = spec.WithDefaults()
			s := &service{name: name, spec: spec, hash: m.hash(goal, name), release: goal.Number,
				want: m.env.Replicas(name, spec), strategy: spec.Update}
			if m.dep != nil {
				s.began = m.dep.StartedAt
			}
			if m.dep != nil && (m.dep.Backwards || m.dep.Kind == api.KindRollback) {
				s.strategy = spec.Rollback
			}
			if m.dep != nil && !m.dep.Backwards && m.committed != nil {
				if _, ok := m.committed.Spec.Services[name]; ok {
					s.fallback, s.fallbackHash = m.committed, m.hash(m.committed, name)
				}
				s.paused = m.dep.Paused()
			}
			if m.dep != nil {
				if s.ailing = m.dep.Ailment(name); s.ailing != "" {
					s.paused = false
				}
			}
			s.keep = m.wayBack(name)
			m.share(s)
			byName[name] = s
		}
	}
	for i := range m.w.Tasks {
		t := &m.w.Tasks[i] // Make's own
		s := byName[t.Service]
		if s == nil {
			s = &service{name: t.Service, keep: m.wayBack(t.Service)}
			byName[t.Service] = s
		}
		m.sort(s, t)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		s := byName[name]
		for _, ts := range [][]*Task{s.cur, s.old, s.warm, s.leaving, s.ended, s.done} {
			sortTasks(ts)
		}
		m.services = append(m.services, s)
	}
	if m.dep != nil {
		m.gates(byName)
		m.hold(byName)
	}
	rest := len(m.openCommands()) > 0
	for _, s := range m.services {
		if s.hash != "" {
			s.plan(m.p, m.w.Now)
			rest = rest || m.dep != nil && !s.rolled() && !s.left()
		}
	}
	for _, s := range m.services {
		if s.hash != "" {
			continue
		}
		if rest && !m.dep.Backwards { // what the goal drops goes last: its successor may stand under another name
			s.dropFaulty(m.p, m.w.Now)
			s.dropWarm(m.p, m.w.Now)
			s.stopDrained(m.p, m.w.Now)
			continue
		}
		s.plan(m.p, m.w.Now)
	}
}

// sort puts a task into the service's part that it belongs to.
func (m *maker) sort(s *service, t *Task) {
	switch {
	case t.completed() && t.Hash == s.hash:
		s.done = append(s.done, t)
	case !t.live():
		s.ended = append(s.ended, t)
	case !t.running() && t.Node == "":
		m.p.Forget = append(m.p.Forget, t.ID) // no node ever had it: there is nothing to stop
	case t.Desired == api.WantWarm && !t.Lost:
		s.warm = append(s.warm, t)
	case !t.running() && t.Lost:
		// Nobody hears from it; when its node is back it is told to stop.
		if t.Desired != api.WantStopped {
			u := t.Task
			u.Desired, u.DesiredAt = api.WantStopped, m.w.Now
			m.p.Update = append(m.p.Update, u)
		}
		s.ended = append(s.ended, t)
	case !t.running():
		s.leaving = append(s.leaving, t)
	case t.Hash == s.hash && s.hash != "":
		s.cur = append(s.cur, t)
	default:
		s.old = append(s.old, t)
	}
}

// gates holds services back whose dependencies are not met yet. One that ails is healed as at any other time, and so is
// one that is not changed, as far as it depends on one that ails: nobody knows for how long.
func (m *maker) gates(byName map[string]*service) {
	if m.dep.Backwards {
		return
	}
	for _, s := range m.services {
		if s.ailing == "" {
			s.gate = s.dependency(byName, s.fallback == nil || s.fallbackHash != s.hash)
		}
	}
}

// dependency says which of the services that s depends on is not there yet, "" when all are. Those that ail count only
// when ailing says so.
func (s *service) dependency(byName map[string]*service, ailing bool) string {
	for _, dep := range s.spec.DependsOn {
		d := byName[dep.Service]
		if d == nil || d.hash == "" || d.want == 0 || d.ailing != "" && !ailing {
			continue
		}
		if why := d.unmet(dep.Condition); why != "" {
			return why
		}
	}
	return ""
}

// unmet says what is missing for others to count on the service, "" when nothing is.
func (s *service) unmet(condition string) string {
	n := s.doneSlots()
	word := "completed"
	switch condition {
	case api.DependHealthy:
		n, word = n+healthyIn(s.cur), "healthy"
	case api.DependStarted:
		word = "started"
		for _, t := range s.cur {
			if t.started() || s.ailing != "" && t.Node != "" && s.startedBefore(t.Slot) {
				n++
			}
		}
		if s.ailing != "" {
			n += s.vacant(s.startedBefore)
		}
	}
	if n >= s.want {
		return ""
	}
	why := fmt.Sprintf("waits for %s: %d of %d %s", s.name, n, s.want, word)
	if s.ailing != "" {
		why += "; it was failing before this deployment began: " + s.ailing
	}
	return why
}

// rolled tells whether only tasks of the goal serve, as many as wanted. Who asks from then on is answered by them.
func (s *service) rolled() bool {
	return len(s.old) == 0 && s.inTransit() == 0 && !slices.ContainsFunc(s.warm, (*Task).mayServe) && healthyIn(s.cur)+s.doneSlots() >= s.want &&
		len(s.cur)+s.doneSlots() <= s.want
}

// forget drops the records of ended tasks that are old: for each slot the newest stay, and what tells that a slot's
// work is completed stays as long as its release is the goal.
func (m *maker) forget() {
	for _, s := range m.services {
		kept := map[int]int{}
		keep := api.KeepTasks
		if m.env.Destroying {
			keep = 0
		}
		for _, t := range slices.Backward(s.ended) {
			if t.live() || m.dep != nil && t.CreatedAt.After(m.dep.StartedAt) && kept[t.Slot] < 4*api.KeepTasks && keep > 0 {
				kept[t.Slot]++
				continue
			}
			if kept[t.Slot] < keep {
				kept[t.Slot]++
				continue
			}
			m.p.Forget = append(m.p.Forget, t.ID)
		}
		if m.env.Destroying || s.hash == "" {
			for _, t := range s.done {
				m.p.Forget = append(m.p.Forget, t.ID)
			}
		}
	}
}

func (m *maker) event(level, kind, message string) {
	m.p.Events = append(m.p.Events, api.Event{EnvRef: m.env.EnvRef, Type: kind, Level: level, Message: message})
}

// eventOf is an event of a deployment that is not the world's running one.
func (m *maker) eventOf(d *api.Deployment, level, kind, message string) {
	m.event(level, kind, message)
	m.p.Events[len(m.p.Events)-1].Deployment = d.Number
}

func (m *maker) noteEnv() {
	if !envEqual(m.env, m.w.Env) {
		env := m.env
		m.p.Env = &env
	}
}

func envEqual(a, b api.Environment) bool {
	return a.Release == b.Release && a.Previous == b.Previous && a.LastDeployment == b.LastDeployment && a.Stopped == b.Stopped && maps.Equal(a.Scale, b.Scale)
}

// latest gives the latest of the times.
func latest(ts ...time.Time) time.Time { return slices.MaxFunc(ts, time.Time.Compare) }

func sortedServices(r *api.Release) []string {
	if r == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(r.Spec.Services))
}
