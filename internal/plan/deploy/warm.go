package deploy

import (
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
)

// keep says which tasks of a service stay warm once they are replaced: those of the release that a way back leads to.
type keep struct {
	hash     string            // "" is none
	time     time.Duration     // for how long
	pressure map[string]string // by node, as in World
}

// wayBack gives what is to stay warm of a service: while a deployment goes forward what is committed, afterwards the
// release before. A way back and a restart keep nothing: what they leave is what went wrong.
func (m *maker) wayBack(name string) keep {
	back := m.w.Releases[m.env.Previous]
	if m.dep != nil {
		if m.dep.Backwards || m.dep.Kind == api.KindRollback || m.dep.Restart {
			return keep{}
		}
		back = m.committed
	}
	if back == nil || m.env.Stopped || m.env.Destroying {
		return keep{}
	}
	spec, ok := back.Spec.Services[name]
	if !ok {
		return keep{}
	}
	spec = spec.WithDefaults()
	if spec.Update.Order == api.StopFirst || spec.FirstPort() == 0 { // one that is called by nobody works by itself
		return keep{}
	}
	return keep{hash: m.hash(back, name), time: spec.Update.WarmTime().Std(), pressure: m.w.Pressure}
}

// keeps tells whether the task is to stay warm.
func (s *service) keeps(t *Task) bool {
	return s.keep.hash != "" && s.keep.hash != s.hash && t.Hash == s.keep.hash && s.keep.time > 0 && s.keep.pressure[t.Node] == "" && !t.Lost
}

// cool takes a serving task out of the balancers and keeps it ready.
func (s *service) cool(p *Plan, now time.Time, t *Task, reason string) {
	s.put(p, now, t, api.WantWarm, "", reason)
	s.warm = append(s.warm, t)
}

// takeWarm has warm tasks of the goal serve again: nothing need be started.
func (s *service) takeWarm(p *Plan, now time.Time) {
	if s.hash == "" || s.gate != "" {
		return
	}
	taken := slotsOf(s.cur)
	var rest []*Task
	for _, t := range s.warm {
		if t.Hash != s.hash || t.Slot > s.want || taken[t.Slot] || t.Status.Unhealthy || t.Status.State != api.TaskReady ||
			len(s.cur)+s.doneSlots() >= s.want {
			rest = append(rest, t)
			continue
		}
		taken[t.Slot] = true
		s.put(p, now, t, api.WantRunning, "", fmt.Sprintf("release %d is wanted again", s.release))
		s.cur = append(s.cur, t)
	}
	s.warm = rest
	sortTasks(s.cur)
}

// dropWarm ends warm tasks that nobody will go back to.
func (s *service) dropWarm(p *Plan, now time.Time) {
	var rest []*Task
	for _, t := range s.warm {
		over := t.WarmAt.Add(s.keep.time)
		reason := ""
		switch {
		case t.Status.Unhealthy:
			reason = t.Status.Message
		case !s.keeps(t):
			reason = "no way back leads to it"
			if why := s.keep.pressure[t.Node]; t.Hash == s.keep.hash && why != "" {
				reason = why
			}
		case !now.Before(over):
			reason = fmt.Sprintf("was kept warm for %s", api.Duration(s.keep.time))
		}
		if reason == "" {
			p.wake(now, over)
			rest = append(rest, t)
			continue
		}
		s.drain(p, now, t, "", reason)
	}
	s.warm = rest
}
