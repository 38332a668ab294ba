package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

// ailments gives the services that the deployment has run the same as before and that are failing as it begins, by name.
// Judging them would say nothing of the target, and waiting for them would keep whatever else it mends from being shipped.
func (m *maker) ailments() []api.Ailment {
	if m.target == nil || m.committed == nil {
		return nil
	}
	var out []api.Ailment
	for _, name := range sortedServices(m.target) {
		if _, was := m.committed.Spec.Services[name]; !was || m.hash(m.target, name) != m.hash(m.committed, name) {
			continue
		}
		why := m.failing(name)
		if why == "" && !m.env.Stopped && m.env.Replicas(name, m.target.Spec.Services[name].WithDefaults()) > 0 && m.samePorts(name) {
			why = m.w.Problems[name]
		}
		if why != "" {
			out = append(out, api.Ailment{Service: name, Reason: why})
		}
	}
	return out
}

// samePorts tells whether the target publishes the service's ports as before. One of them that cannot be opened would stay
// so if the target were taken back.
func (m *maker) samePorts(name string) bool {
	return m.committed != nil && slices.Equal(m.target.Spec.Services[name].Ports, m.committed.Spec.Services[name].Ports)
}

// slotState is what stands in one of a service's slots.
type slotState struct {
	whole bool  // its task serves, or its work is completed
	cur   *Task // wanted and not up
	last  *Task // the newest of those that have ended or leave
}

// failing says why fewer tasks of a service are up than are wanted, where that is because tasks failed; "" when it is not.
// What starts for the first time, or again because its node was shut down, is not failing.
func (m *maker) failing(name string) string {
	spec := m.target.Spec.Services[name].WithDefaults()
	hash, want := m.hash(m.target, name), m.env.Replicas(name, spec)
	slots, up := make([]slotState, want), 0
	for i := range m.w.Tasks {
		t := &m.w.Tasks[i]
		if t.Service != name || t.Hash != hash {
			continue
		}
		sound := t.up() && !t.looping(spec.Restart.Window.Std(), m.w.Now)
		if sound {
			up++
		}
		if t.Slot < 1 || t.Slot > want {
			continue
		}
		switch s := &slots[t.Slot-1]; {
		case sound:
			s.whole = true
		case t.completed():
			if !s.whole {
				up++
			}
			s.whole = true
		case t.live() && t.running():
			s.cur = t
		case s.last == nil || cmp.Or(t.CreatedAt.Compare(s.last.CreatedAt), cmp.Compare(t.Attempt, s.last.Attempt)) >= 0:
			s.last = t
		}
	}
	if up >= want {
		return ""
	}
	failed, why := 0, ""
	for i := range slots {
		if text := slots[i].ails(); text != "" {
			failed++
			why = text
			if want > 1 {
				why = fmt.Sprintf("%s.%d: %s", name, i+1, text)
			}
		}
	}
	if failed > 0 && want > 1 {
		why = fmt.Sprintf("%d of %d tasks failed; %s", failed, want, why)
	}
	return why
}

// ails says why the slot's task is not up, "" when that is no failure.
func (s *slotState) ails() string {
	var times int
	switch t := s.cur; {
	case s.whole:
		return ""
	case t == nil:
		if s.last == nil || !s.last.failed() {
			return ""
		}
		times = s.last.Attempt + 1
	case t.Lost:
		return fmt.Sprintf("node %s does not answer", t.Node)
	case t.Status.Unhealthy:
		return cmp.Or(t.Status.Message, "unhealthy")
	case t.Node == "":
		return cmp.Or(t.Reason, "finds no node")
	case t.Attempt == 0:
		return ""
	default:
		times = t.Attempt
	}
	why := "failed"
	if s.last != nil && s.last.failed() {
		why = s.last.why()
	}
	if times > 1 {
		why += fmt.Sprintf(" (%d times)", times)
	}
	return why
}

// looping tells whether a task that is up follows on failures in a row and has not held for so long that the next one
// would begin a new row: it is up between two crashes.
func (t *Task) looping(window time.Duration, now time.Time) bool {
	return t.Attempt >= hopeless && now.Sub(t.Status.ReadyAt) < window
}

// left tells whether the deployment leaves the service as it is, failing. One of which nothing is wanted any more leaves
// as all others do.
func (s *service) left() bool { return s.ailing != "" && s.want > 0 }

// startedBefore tells whether a task that stood in the slot has run. Its container was started, as Compose sees it,
// whatever became of it.
func (s *service) startedBefore(slot int) bool {
	last := s.predecessor(slot, s.hash)
	return last != nil && !last.Status.StartedAt.IsZero()
}

// vacant counts the wanted slots without a task of which f holds.
func (s *service) vacant(f func(slot int) bool) int {
	taken, n := slotsOf(s.cur, s.done), 0
	for slot := 1; slot <= s.want; slot++ {
		if !taken[slot] && f(slot) {
			n++
		}
	}
	return n
}

// givenUp tells whether one of the service's slots stays empty, since its task failed and is not to be tried again.
func (s *service) givenUp(now time.Time) bool {
	return s.vacant(func(slot int) bool {
		_, again := s.replacement(slot, s.hash, s.spec.Restart, now)
		return !again
	}) > 0
}

// barred says which service waits in vain, "" when none does: one that it depends on was failing before, and is given up.
func (m *maker) barred() string {
	if m.dep.Backwards {
		return ""
	}
	byName := map[string]*service{}
	for _, s := range m.services {
		byName[s.name] = s
	}
	for _, s := range m.services {
		if s.gate == "" || len(s.cur)+s.doneSlots() >= s.want {
			continue
		}
		for _, dep := range s.spec.DependsOn {
			d := byName[dep.Service]
			if d == nil || !d.left() || !d.givenUp(m.w.Now) {
				continue
			}
			if why := d.unmet(dep.Condition); why != "" {
				return fmt.Sprintf("%s %s; it is not tried again", s.name, why)
			}
		}
	}
	return ""
}
