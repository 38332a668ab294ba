package deploy

import (
	"fmt"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

// service is the plan of one service in the making.
type service struct {
	name     string
	spec     api.ServiceSpec // of the goal; zero when the goal has no such service
	hash     string          // of the goal; "" likewise
	release  uint64          // the goal's number
	want     int
	strategy api.Strategy
	gate     string    // why no task may be created yet; "" is free
	held     string    // the release command that must succeed first: until then what is there stays as it is; "" is free
	began    time.Time // of the deployment that is on; zero: none is
	paused   bool      // by a user: what serves is kept serving, and nothing is moved on
	ailing   string    // why it was failing before the deployment began, which does not change it; "" is not
	shift    *shift    // of a service whose requests are shared by weight; nil: task by task
	keep     keep      // whose tasks stay warm

	fallback     *api.Release // whose tasks heal a shortfall while the goal is on its way; nil: nobody's
	fallbackHash string       // of it

	cur     []*Task // of the goal, wanted to run
	old     []*Task // of another release, wanted to run
	warm    []*Task // of any release, ready and out of every route table
	leaving []*Task // draining and stopping, any release
	done    []*Task // completed tasks of the goal
	ended   []*Task // ended tasks, any release, oldest first
}

// pace is how many tasks may be replaced at a time.
func (s *service) pace() int {
	if s.strategy.Parallelism <= 0 || s.shift != nil {
		return max(s.want, 1)
	}
	return s.strategy.Parallelism
}

// surge is how many tasks may live at once.
func (s *service) surge() int {
	if s.strategy.Order == api.StopFirst {
		return s.want
	}
	return s.want + s.pace()
}

// settled counts the goal's tasks that serve and whose delay is over; it wakes the plan when the next one's is.
func (s *service) settled(p *Plan, now time.Time) int {
	n := len(s.done)
	for _, t := range s.cur {
		if !t.healthy() {
			continue
		}
		over := t.Status.ReadyAt.Add(s.strategy.Delay.Std())
		if now.Before(over) {
			p.wake(now, over)
			continue
		}
		n++
	}
	return n
}

func healthyIn(ts []*Task) int {
	n := 0
	for _, t := range ts {
		if t.healthy() {
			n++
		}
	}
	return n
}

// plan decides for one service. The order matters: what is at fault leaves first, then what is too many, then what
// is old, and only then are tasks created in the room that is left.
func (s *service) plan(p *Plan, now time.Time) {
	s.dropFaulty(p, now)
	s.dropSurplus(p, now)
	s.takeWarm(p, now)
	settled := s.settled(p, now)
	s.advance(p, now)
	if !s.paused {
		s.dropOld(p, now, settled)
	}
	s.create(p, now, settled)
	s.heal(p, now)
	s.dropWarm(p, now)
	s.stopDrained(p, now)
}

// dropFaulty takes unhealthy tasks out; and lost ones, which a node that comes back must not go on with.
func (s *service) dropFaulty(p *Plan, now time.Time) {
	keep := func(ts []*Task) []*Task {
		var kept []*Task
		for _, t := range ts {
			switch {
			case t.Lost && !s.spec.Exclusive:
				s.drain(p, now, t, api.CauseLost, fmt.Sprintf("node %s does not answer", t.Node))
			case t.Status.Unhealthy:
				s.drain(p, now, t, api.CauseUnhealthy, t.Status.Message)
			default:
				kept = append(kept, t)
			}
		}
		return kept
	}
	s.cur, s.old = keep(s.cur), keep(s.old)
}

// dropSurplus takes out the goal's tasks that are too many: those that do not serve first, then the highest slots.
func (s *service) dropSurplus(p *Plan, now time.Time) {
	for s.held == "" && len(s.cur) > 0 && len(s.cur)+s.doneSlots() > s.want {
		pick := len(s.cur) - 1
		for i, t := range slices.Backward(s.cur) {
			if !t.healthy() {
				pick = i
				break
			}
		}
		t := s.cur[pick]
		s.cur = append(s.cur[:pick:pick], s.cur[pick+1:]...)
		s.drain(p, now, t, "", fmt.Sprintf("%d of %s wanted", s.want, s.name))
	}
}

// doneSlots counts the slots within the wanted number whose task has completed.
func (s *service) doneSlots() int {
	n := 0
	for _, t := range s.done {
		if t.Slot <= s.want {
			n++
		}
	}
	return n
}

// dropOld takes out tasks of other releases as far as the strategy lets it: start-first only what the goal's serving
// tasks make up for, stop-first a pace at a time.
func (s *service) dropOld(p *Plan, now time.Time, settled int) {
	if len(s.old) == 0 || s.held != "" {
		return
	}
	reason := "replaced by release " + fmt.Sprint(s.release)
	if s.hash == "" || s.want == 0 {
		reason = "no longer wanted"
	}
	var n int
	floor := s.want // serving tasks that must stay
	switch {
	case s.shift != nil && !s.shift.all():
		if n = len(s.old) - s.want; n <= 0 {
			return
		}
		reason = fmt.Sprintf("%d of %s wanted", s.want, s.name)
	case s.strategy.Order == api.StopFirst:
		if s.gate != "" {
			return
		}
		// What is neither settled nor old is in transit: stopped and not yet replaced. At most a pace of it.
		n = s.pace() - (s.want - settled - len(s.old))
		floor = s.want - s.pace()
	default:
		n = healthyIn(s.cur) + len(s.done) + len(s.old) - s.want
	}
	serving := healthyIn(s.cur) + len(s.done) + healthyIn(s.old)
	for _, serves := range []bool{false, true} {
		for i := 0; i < len(s.old) && n > 0; {
			t := s.old[i]
			if t.healthy() != serves || serves && serving <= floor {
				i++
				continue
			}
			if serves {
				serving--
			}
			n--
			s.old = append(s.old[:i:i], s.old[i+1:]...)
			if serves && s.keeps(t) {
				s.cool(p, now, t, reason)
				continue
			}
			s.drain(p, now, t, "", reason)
		}
	}
}

// create makes the goal's missing tasks, as many as pace and surge leave room for.
func (s *service) create(p *Plan, now time.Time, settled int) {
	need := s.goal() - len(s.cur) - s.doneSlots()
	if need <= 0 || s.hash == "" || s.gate != "" {
		return
	}
	room := s.surge() - len(s.cur) - len(s.old) - s.inTransit()
	if s.updating() && s.paused {
		room = 0
	}
	if s.updating() {
		room = min(room, s.pace()-(len(s.cur)+len(s.done)-settled))
	}
	taken := slotsOf(s.cur, s.done)
	for slot := 1; slot <= s.want && need > 0 && room > 0; slot++ {
		if taken[slot] {
			continue
		}
		if t, ok := s.replacement(slot, s.hash, s.spec.Restart, now); ok {
			t.Release, t.Hash = s.release, s.hash
			s.add(p, now, t)
			room--
		}
		need--
	}
}

// slotsOf gives the slots in which tasks stand.
func slotsOf(tasks ...[]*Task) map[int]bool {
	taken := map[int]bool{}
	for _, ts := range tasks {
		for _, t := range ts {
			taken[t.Slot] = true
		}
	}
	return taken
}

// inTransit counts the tasks on their way out that the surge allows for. What was warm stands beside it: nothing waits
// for its end.
func (s *service) inTransit() int {
	n := 0
	for _, t := range s.leaving {
		if t.WarmAt.IsZero() {
			n++
		}
	}
	return n
}

// updating tells whether tasks of another release are still to be replaced, so that the pace holds.
func (s *service) updating() bool {
	if len(s.old) > 0 {
		return true
	}
	for _, t := range s.leaving {
		if t.Hash != s.hash && t.Fault == "" && t.WarmAt.IsZero() {
			return true
		}
	}
	return false
}

// heal replaces crashed tasks of the old release while the new one is still on its way: what the rollout has in
// transit it makes up for itself, a shortfall beyond that is made up by the release that is known to be good.
func (s *service) heal(p *Plan, now time.Time) {
	if s.fallback == nil || len(s.old) == 0 && s.held == "" {
		return
	}
	if s.fallbackHash == s.hash && !s.paused { // what is old is a third release's, and create makes up for the goal's
		return
	}
	spec := s.fallback.Spec.Services[s.name].WithDefaults()
	if spec.Restart.RunsToEnd() {
		return
	}
	hash := s.fallbackHash
	short := s.want - len(s.cur) - s.doneSlots() - len(s.old)
	if s.shift != nil { // they serve side by side
		if s.shift.all() {
			return
		}
		short = s.want - len(s.old)
	}
	if s.strategy.Order == api.StopFirst && s.held == "" {
		short -= s.pace()
	}
	room := s.surge() - len(s.cur) - len(s.old) - s.inTransit()
	taken := slotsOf(s.cur, s.old)
	for slot := 1; slot <= s.want && short > 0 && room > 0; slot++ {
		if taken[slot] {
			continue
		}
		if t, ok := s.replacement(slot, hash, spec.Restart, now); ok {
			t.Release, t.Hash = s.fallback.Number, hash
			s.add(p, now, t)
			room--
		}
		short--
	}
}

func (s *service) add(p *Plan, now time.Time, t api.Task) {
	t.Service, t.Desired, t.DesiredAt, t.CreatedAt = s.name, api.WantRunning, now, now
	p.Create = append(p.Create, t)
	// It counts at once, so that one plan never makes two of it.
	made := &Task{Task: t}
	if t.Hash == s.hash {
		s.cur = append(s.cur, made)
	} else {
		s.old = append(s.old, made)
	}
}

// drain takes a task out of the balancers; stopDrained ends it once they have let go of it.
func (s *service) drain(p *Plan, now time.Time, t *Task, fault api.Cause, reason string) {
	s.put(p, now, t, api.WantDraining, fault, reason)
	s.leaving = append(s.leaving, t)
}

// put changes what is wanted of a task. What balancers had confirmed before says nothing about it.
func (s *service) put(p *Plan, now time.Time, t *Task, want api.Desired, fault api.Cause, reason string) {
	u := t.Task
	u.Desired, u.DesiredAt, u.Fault, u.Reason = want, now, fault, reason
	if t.Desired == api.WantRunning {
		u.Left++
	}
	switch want {
	case api.WantWarm:
		u.WarmAt = now
	case api.WantRunning:
		u.WarmAt = time.Time{}
	}
	if t.Desired != api.WantWarm || want != api.WantDraining { // from the one to the other nothing changes for balancers
		t.Serving, t.Unpicked, t.Released = false, false, false
	}
	t.Task = u
	p.Update = append(p.Update, u)
}

// stopDrained ends draining tasks that every balancer has released, whose deadline has passed, or whose node is gone.
func (s *service) stopDrained(p *Plan, now time.Time) {
	for _, t := range s.leaving {
		if t.Desired != api.WantDraining {
			continue
		}
		deadline := t.DesiredAt.Add(s.drainTime().Std())
		if !t.Released && now.Before(deadline) {
			p.wake(now, deadline)
			continue
		}
		u := t.Task
		u.Desired, u.DesiredAt = api.WantStopped, now
		if !t.Released {
			u.Reason += fmt.Sprintf("; requests were still in flight after %s", s.drainTime())
		}
		t.Task = u
		p.Update = append(p.Update, u)
	}
}

func (s *service) drainTime() api.Duration {
	if s.spec.Drain > 0 {
		return s.spec.Drain
	}
	return api.DefaultDrain
}
