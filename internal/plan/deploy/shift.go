package deploy

import (
	"fmt"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

const allRequests = 100 // percent

// shift is where a service stands whose requests are shared by weight between the committed release and the next.
type shift struct {
	steps   []api.CanaryStep // the last one is all requests
	step    int              // index of the one that is on, or being prepared
	weight  int              // percent in force
	at      time.Time        // since when the step is on; zero: its tasks are not ready yet
	resumed time.Time        // when a user last had the deployment go on
	held    bool             // the step waits for that
}

// share gives the service its shift when it is on its way by weights: where an old release serves that runs something
// else. Where it stands is carried over from the deployment's last rollouts.
func (m *maker) share(s *service) {
	if m.dep == nil || m.dep.Backwards || m.dep.Kind == api.KindRollback || !s.strategy.Weighted() || s.fallback == nil || s.want == 0 {
		return
	}
	old := s.fallback.Spec.Services[s.name]
	if s.fallbackHash == s.hash || m.env.Replicas(s.name, old) == 0 {
		return
	}
	sh := &shift{steps: append(slices.Clone(s.strategy.Steps), api.CanaryStep{Weight: allRequests}), resumed: m.dep.ResumedAt}
	for _, r := range m.w.Deployment.Rollouts {
		if r.Service == s.name && r.Step > 0 {
			sh.step, sh.weight, sh.at = min(r.Step, len(sh.steps))-1, r.Weight, r.StepAt
		}
	}
	s.shift = sh
}

// last tells whether the step that is on, or being prepared, is all requests.
func (sh *shift) last() bool { return sh.step == len(sh.steps)-1 }

// all tells whether all requests go to the goal.
func (sh *shift) all() bool { return sh.last() && !sh.at.IsZero() }

// goal is how many tasks of the goal there are to be by now: of a canary as large a part as of the requests, but one.
func (s *service) goal() int {
	if s.shift == nil || s.shift.last() {
		return s.want
	}
	w := s.shift.steps[s.shift.step].Weight
	return max(1, (s.want*w+allRequests-1)/allRequests)
}

// advance puts the step in force for which tasks are ready, and goes to the next when its time is over. Where no old
// task is up there is nothing to compare with, and nothing to spare: all requests are the goal's. One that is up counts also
// while no balancer has confirmed it: a new balancer, after a crash of the one before, confirms nothing for a moment.
func (s *service) advance(p *Plan, now time.Time) {
	sh := s.shift
	if sh == nil || s.paused || s.held != "" {
		return
	}
	if !slices.ContainsFunc(s.old, (*Task).up) && !sh.last() {
		sh.step, sh.at = len(sh.steps)-1, time.Time{}
	}
	for {
		step := sh.steps[sh.step]
		if sh.at.IsZero() {
			if healthyIn(s.cur)+s.doneSlots() < s.goal() {
				return
			}
			sh.weight, sh.at = step.Weight, now
		}
		if sh.last() {
			return
		}
		if step.Hold {
			if sh.held = !sh.resumed.After(sh.at); sh.held {
				return
			}
		} else if over := sh.at.Add(pauseOf(step)); now.Before(over) {
			p.wake(now, over)
			return
		}
		sh.step, sh.at = sh.step+1, time.Time{}
	}
}

func pauseOf(step api.CanaryStep) time.Duration {
	if step.Pause > 0 {
		return step.Pause.Std()
	}
	return api.DefaultStepPause.Std()
}

// note writes where the service stands into its rollout.
func (sh *shift) note(r *api.Rollout) {
	r.Weight, r.Step, r.Steps, r.StepAt = sh.weight, sh.step+1, len(sh.steps), sh.at
	if sh.last() {
		return
	}
	switch {
	case sh.held, r.State == api.RolloutPaused && !sh.at.IsZero():
		r.State, r.Reason = api.RolloutPaused, fmt.Sprintf("%d %% of the requests; goes on with `ikada resume`", sh.weight)
	case !sh.at.IsZero():
		r.Reason = fmt.Sprintf("%d %% of the requests", sh.weight)
	}
}
