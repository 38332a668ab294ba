package deploy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// What ends a deployment that neither fails nor gets done.
const (
	progressDeadline = 10 * time.Minute // nothing changed for so long
	placeDeadline    = 30 * time.Second // a task found no node for so long
	firstTries       = 5                // failures in a row of one slot that a service's first release may have
	firstPatience    = 2 * time.Minute  // after so long two are enough: what takes a minute to fail is not about to come up
)

// judge turns the deployment back when the target has failed, or a user has cancelled it.
func (m *maker) judge() {
	if m.dep.Backwards || m.dep.State != api.DeployRunning {
		return
	}
	why := ""
	if m.dep.Cancel {
		why = m.dep.Reason
	}
	if why == "" {
		why = m.failedCommand()
	}
	for _, name := range sortedServices(m.target) {
		if why == "" {
			why = m.verdict(name)
		}
	}
	if found := m.traffic(); why == "" {
		why = found
	}
	if why == "" {
		why = m.stuck()
	}
	if why != "" {
		m.reject(why)
	}
}

// reject turns the deployment back. This plan makes no more tasks of what it leaves.
func (m *maker) reject(why string) {
	m.traceCommands()
	m.dep.Backwards, m.dep.Reason = true, why
	m.p.Create = slices.DeleteFunc(m.p.Create, func(t api.Task) bool { return t.Job == nil && t.Release == m.dep.To })
	m.way.endAll(m.w.Now, "turned back")
	m.way.begin(api.StepBack, "", m.w.Now)
	m.giveScale(m.dep.Scale)
	back := fmt.Sprintf("back to release %d", m.dep.From)
	if m.dep.From == 0 {
		back = "there is no release to go back to"
	}
	m.event(api.LevelError, "deployment.rejected", fmt.Sprintf("release %d rejected: %s; %s", m.dep.To, why, back))
}

// stuck says for how long nothing has become ready or gone, "" while that is no longer than the deadline. A user who
// chose to continue on failure keeps the target even so.
func (m *maker) stuck() string {
	if m.dep.Paused() || m.commandsLive() { // a command has a time limit of its own
		return ""
	}
	last := latest(m.dep.StartedAt, m.dep.ResumedAt)
	for _, c := range m.w.Commands {
		last = latest(last, c.EndedAt)
	}
	for _, r := range m.dep.Checks {
		if !m.dep.SwappedAt.IsZero() && r.Result != api.VerdictPass { // all that is waited for may be a check that is required
			last = latest(last, r.At)
		}
	}
	for _, r := range m.w.Deployment.Rollouts {
		if r.State == api.RolloutPaused {
			return ""
		}
		if steps := m.target.Spec.Services[r.Service].Update.Steps; r.Step > 0 && r.Step <= len(steps) {
			last = latest(last, r.StepAt.Add(pauseOf(steps[r.Step-1])))
		}
	}
	for i := range m.w.Tasks {
		t := &m.w.Tasks[i]
		if t.Status.ReadyAt.IsZero() {
			continue // a task that never got ready is no progress, however often it starts
		}
		if m.dep.Ailment(t.Service) != "" && !t.healthy() {
			continue // nor is one that comes up and fails, again and again
		}
		last = latest(last, t.Status.ReadyAt, t.DesiredAt, t.Status.FinishedAt)
	}
	if m.w.Now.Sub(last) < progressDeadline {
		m.p.wake(m.w.Now, last.Add(progressDeadline))
		return ""
	}
	why := fmt.Sprintf("no progress for %s", progressDeadline)
	for _, r := range m.w.Deployment.Rollouts {
		if r.State == api.RolloutWaiting {
			return fmt.Sprintf("%s; %s: %s", why, r.Service, r.Reason)
		}
	}
	return why
}

// verdict says why a service of the target has failed, "" while it has not.
func (m *maker) verdict(name string) string {
	spec := m.target.Spec.Services[name].WithDefaults()
	hash := m.hash(m.target, name)
	want := m.env.Replicas(name, spec)
	ailing := m.dep.Ailment(name) != ""
	if why := m.w.Problems[name]; why != "" && !(ailing && m.samePorts(name)) {
		return name + ": " + why
	}
	if ailing {
		return ""
	}
	strategy := spec.Update
	if m.dep.Kind == api.KindRollback {
		strategy = spec.Rollback
	}
	monitor := strategy.Monitor.Std()
	failed, first, worst, began := map[int]bool{}, "", 0, m.w.Now
	for i := range m.w.Tasks {
		t := &m.w.Tasks[i]
		if t.Service != name || t.Hash != hash || t.CreatedAt.Before(m.dep.StartedAt) {
			continue
		}
		if why := m.unplaced(t); why != "" {
			return why
		}
		if !t.failed() && !(t.running() && t.Status.Unhealthy) {
			continue
		}
		end := latest(t.Status.FinishedAt, t.DesiredAt)
		if t.Status.Unhealthy && t.running() {
			end = m.w.Now
		}
		if !t.Status.ReadyAt.IsZero() && end.Sub(t.Status.ReadyAt) > monitor {
			continue
		}
		failed[t.Slot] = true
		if t.CreatedAt.Before(began) {
			began = t.CreatedAt
		}
		worst = max(worst, t.Attempt+1)
		first = t.fault()
	}
	if len(failed) == 0 || strategy.FailureAction == api.ActionContinue {
		return ""
	}
	if worst < m.tries(name, spec) && (worst < 2 || m.w.Now.Sub(began) < firstPatience) {
		return ""
	}
	if want > 0 && float64(len(failed)) <= strategy.MaxFailureRatio*float64(want) {
		return ""
	}
	if worst > 1 {
		first += fmt.Sprintf(" (%d times)", worst)
	}
	if len(failed) > 1 {
		return fmt.Sprintf("%d of %d tasks of %s failed; %s", len(failed), want, name, first)
	}
	return first
}

// tries gives how many failures in a row of one slot count as the release's. Where a good release is at stake one is
// enough; a service that was never there may need its neighbours to come up first.
func (m *maker) tries(name string, spec api.ServiceSpec) int {
	if m.committed != nil {
		if _, ok := m.committed.Spec.Services[name]; ok {
			return 1
		}
	}
	switch {
	case spec.Restart.Condition == api.RestartNone:
		return 1
	case spec.Restart.MaxAttempts > 0:
		return min(firstTries, spec.Restart.MaxAttempts+1)
	}
	return firstTries
}

// unplaced says why a task has found no node for too long.
func (m *maker) unplaced(t *Task) string {
	if t.Node != "" || !t.live() || !t.running() {
		return ""
	}
	over := t.CreatedAt.Add(placeDeadline)
	if m.w.Now.Before(over) {
		m.p.wake(m.w.Now, over)
		return ""
	}
	return fmt.Sprintf("%s: %s", t.Name(), t.Reason)
}

// advance writes down where the deployment stands, and ends it when it is there.
func (m *maker) advance() {
	now := m.w.Now
	rolled, monitored := len(m.openCommands()) == 0 && !m.commandsLive(), now
	var lame, beside []string
	for _, s := range m.services {
		r, until := m.rollout(s)
		whole := s.rolled() || s.left()
		if s.left() && r.Old > 0 {
			beside = append(beside, s.name)
		}
		if !whole && m.dep.Backwards && s.hash != "" && s.spent(m.p, now) {
			whole, lame = true, append(lame, fmt.Sprintf("%d of %d tasks of %s", r.Ready, r.Want, s.name))
			if r.Old > 0 {
				lame[len(lame)-1] += fmt.Sprintf(" (beside %d of other releases)", r.Old)
			}
		}
		if !whole || s.gate != "" && s.want > 0 && len(s.cur)+len(s.done) < s.want {
			rolled = false
		}
		monitored = latest(monitored, until)
		if s.hash != "" || r.Old > 0 {
			m.dep.Rollouts = append(m.dep.Rollouts, r)
		}
	}
	if rolled && m.dep.SwappedAt.IsZero() && !m.dep.Backwards {
		m.dep.SwappedAt = now
		but := ""
		if len(beside) > 0 {
			but = ", but for " + strings.Join(beside, " and ")
		}
		m.event(api.LevelInfo, "deployment.swapped", fmt.Sprintf("only tasks of release %d are left%s, after %s",
			m.dep.To, but, now.Sub(m.dep.StartedAt).Round(time.Millisecond)))
	}
	barred := m.barred()
	waits, failed := m.missing()
	switch {
	case barred != "":
		m.reject(barred)
	case !rolled:
	case m.dep.Backwards:
		if len(lame) > 0 {
			m.dep.Reason += fmt.Sprintf("; of release %d only %s serve", m.dep.From, strings.Join(lame, ", "))
		}
		m.end()
	case m.dep.Paused():
	case monitored.After(now):
		m.p.wake(now, monitored)
	case failed != "":
		m.reject(failed)
	case waits != "":
		for i := range m.dep.Rollouts {
			if r := &m.dep.Rollouts[i]; r.State == api.RolloutDone && r.Reason == "" {
				r.State, r.Reason = api.RolloutMonitoring, waits
			}
		}
	default:
		m.commit()
		m.end()
	}
	m.trace()
	if m.dep.State == api.DeploySucceeded && m.dep.From != 0 && m.committed != nil {
		m.dep.Receipt.WayBack = m.readyBack()
		m.dep.Receipt.Rollback = words(m.dep.Receipt.WayBack)
	}
	m.noteEnv()
	if !reflect.DeepEqual(*m.dep, *m.w.Deployment) {
		m.p.Deployment = m.dep
	}
}

// commit makes the target the release of the environment. A way back leads to nowhere by itself: what it left was bad.
func (m *maker) commit() {
	m.env.Release, m.env.Previous = m.dep.To, 0
	if m.w.Bake != nil {
		b := *m.w.Bake
		endTrial(&b, api.TrialEnded, m.w.Now)
		m.p.Bake = &b
	}
	if m.dep.Kind == api.KindRollback {
		return
	}
	m.env.Previous = m.dep.From
	if bake := m.bakeTime(m.dep); bake > 0 {
		m.dep.Trial, m.dep.BakedAt = api.TrialOn, m.w.Now.Add(bake)
	}
}

// rollout sums up one service, and gives until when its tasks are watched.
func (m *maker) rollout(s *service) (api.Rollout, time.Time) {
	r := api.Rollout{Service: s.name, Want: s.want, Warm: len(s.warm), New: len(s.cur) + s.doneSlots(),
		Ready: healthyIn(s.cur) + s.doneSlots(), State: api.RolloutRolling, Job: m.w.Commands[s.name].Job}
	var until time.Time
	for _, t := range s.cur {
		// By when the task was made, not by when it was ready: that is the word of another machine's clock.
		if !m.dep.Backwards && s.ailing == "" && t.healthy() && !t.CreatedAt.Before(m.dep.StartedAt) {
			until = latest(until, t.Status.ReadyAt.Add(s.strategy.Monitor.Std()))
		}
	}
	for _, ts := range [][]*Task{s.old, s.leaving} {
		for _, t := range ts {
			if t.Hash != s.hash {
				r.Old++
			}
		}
	}
	for _, ts := range [][]*Task{s.ended, s.leaving} {
		for _, t := range ts {
			if t.Hash == s.hash && t.failed() && !t.CreatedAt.Before(m.dep.StartedAt) {
				r.Failed++
				r.Reason = t.fault()
			}
		}
	}
	switch {
	case s.left() && !s.rolled():
		r.State, r.Reason = api.RolloutLeft, "was failing before this deployment began: "+s.ailing
	case s.held != "":
		r.State, r.Reason = api.RolloutWaiting, s.held
	case s.gate != "" && r.New < r.Want:
		r.State, r.Reason = api.RolloutWaiting, s.gate
	case s.paused && !s.rolled():
		r.State, r.Reason = api.RolloutPaused, "goes on with `ikada resume`"
	case s.rolled() && until.After(m.w.Now):
		r.State = api.RolloutMonitoring
	case s.rolled():
		r.State = api.RolloutDone
	default:
		for _, t := range s.cur {
			if t.Status.Message != "" && !t.healthy() {
				r.Reason = t.Name() + ": " + t.Status.Message
			} else if t.Node == "" && t.Reason != "" {
				r.Reason = t.Name() + ": " + t.Reason
			}
		}
	}
	if s.shift != nil {
		s.shift.note(&r)
	}
	return r, until
}

// end gives the deployment its final state.
func (m *maker) end() {
	d, now := m.dep, m.w.Now
	d.EndedAt = now
	if len(m.heard) > 0 {
		d.Verdicts = m.heard
	}
	d.Receipt.Took = api.Duration(now.Sub(d.StartedAt))
	if !d.SwappedAt.IsZero() {
		d.Receipt.Swap = api.Duration(d.SwappedAt.Sub(d.StartedAt))
	}
	level, kind := api.LevelInfo, "deployment.succeeded"
	switch {
	case !d.Backwards:
		d.State = api.DeploySucceeded
		d.Receipt.Rollback = "none: this is the first release"
		if d.From != 0 {
			d.Receipt.Rollback = fmt.Sprintf("none: release %d is no longer kept", d.From)
		}
	case d.Cancel:
		d.State, level, kind = api.DeployCancelled, api.LevelWarn, "deployment.cancelled"
	case d.From != 0:
		d.State, level, kind = api.DeployRolledBack, api.LevelError, "deployment.rolled_back"
	default:
		d.State, level, kind = api.DeployFailed, api.LevelError, "deployment.failed"
	}
	msg := fmt.Sprintf("%s %d to release %d %s after %s", d.Kind, d.Number, d.To, d.State, now.Sub(d.StartedAt).Round(time.Millisecond))
	if d.Reason != "" {
		msg += ": " + d.Reason
	}
	m.event(level, kind, msg)
}
