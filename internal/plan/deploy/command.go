package deploy

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

// Command is how the release command of one service stands in the deployment.
type Command struct {
	Job    string       // ID
	State  api.JobState // "" is before it was made
	Reason string

	StartedAt time.Time // of its process
	EndedAt   time.Time
}

// commands gives the services whose release command the deployment runs before it makes tasks, by name. The way back
// runs none, nor does what leads to a release that had its turn.
func (m *maker) commands() []string {
	if m.dep == nil || m.dep.Backwards || m.dep.Kind != api.KindDeploy || m.dep.Restart {
		return nil
	}
	return slices.DeleteFunc(sortedServices(m.target), func(name string) bool { return m.target.Spec.Services[name].Release == nil })
}

// openCommands gives those of commands that have not succeeded yet.
func (m *maker) openCommands() []string {
	return slices.DeleteFunc(m.commands(), func(name string) bool { return m.w.Commands[name].State == api.JobSucceeded })
}

// failedCommand says why a release command did not succeed, "" while none has ended otherwise.
func (m *maker) failedCommand() string {
	for _, name := range m.commands() {
		if c := m.w.Commands[name]; c.State.Final() && c.State != api.JobSucceeded && c.State != "" {
			return fmt.Sprintf("release command of %s %s", name, c.Reason)
		}
	}
	return ""
}

// commandsLive tells whether a release command of the deployment has not ended.
func (m *maker) commandsLive() bool {
	for _, c := range m.w.Commands {
		if c.State != "" && !c.State.Final() {
			return true
		}
	}
	return false
}

// hold keeps what serves as it is until the release commands have succeeded, but for the services that a command's own
// service depends on: those roll first, for the command may need them. Commands run one at a time, by name.
func (m *maker) hold(byName map[string]*service) {
	began := false
	for _, name := range m.openCommands() {
		needs := map[string]bool{}
		m.needs(name, needs)
		why := m.await(byName[name], byName, &began)
		for _, s := range m.services {
			if s.hash == "" || needs[s.name] {
				continue
			}
			if s.held == "" || s.name == name {
				s.held, s.gate = why, why
			}
			if m.committed == nil {
				continue
			}
			if was, ok := m.committed.Spec.Services[s.name]; ok {
				before := m.env
				before.Scale = maps.Clone(m.dep.Scale) // it is not taken yet
				if before.Scale == nil {
					before.Scale = map[string]int{}
				}
				maps.Copy(before.Scale, m.env.Scale)
				s.want = before.Replicas(s.name, was)
				if m.hash(m.committed, s.name) == s.hash {
					s.gate = "" // its tasks are the old release's as well: they are healed on
				}
			}
		}
	}
}

// await says what the release command of a service waits for, and has it begin when that is nothing.
func (m *maker) await(s *service, byName map[string]*service, began *bool) string {
	c := m.w.Commands[s.name]
	switch {
	case c.State == api.JobRunning:
		*began = true
		return fmt.Sprintf("release command of %s runs", s.name)
	case c.State != "":
		*began = true
		if c.Reason != "" {
			return fmt.Sprintf("release command of %s: %s", s.name, c.Reason)
		}
		return fmt.Sprintf("release command of %s starts", s.name)
	case *began:
		return fmt.Sprintf("release command of %s waits for the one before", s.name)
	}
	if why := s.dependency(byName, true); why != "" {
		return fmt.Sprintf("release command of %s %s", s.name, why)
	}
	*began = true
	m.p.Commands = append(m.p.Commands, s.name)
	return fmt.Sprintf("release command of %s starts", s.name)
}

// needs collects the services that a service of the target depends on, directly or not.
func (m *maker) needs(name string, into map[string]bool) {
	for _, d := range m.target.Spec.Services[name].DependsOn {
		if _, ok := m.target.Spec.Services[d.Service]; ok && !into[d.Service] {
			into[d.Service] = true
			m.needs(d.Service, into)
		}
	}
}
