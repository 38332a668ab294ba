package deploy

import (
	"cmp"
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
)

// The pause before a replacement starts: none after the first failure, then doubling, as for Kubernetes'
// CrashLoopBackOff, from one second to a minute.
const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute

	hopeless = 2 // failures in a row after which a way back waits for a task no more
)

// backoff gives the pause before the start that follows the n-th failure in a row.
func backoff(n int, policy api.RestartPolicy) time.Duration {
	var d time.Duration
	if n >= 2 {
		d = min(firstBackoff<<min(n-2, 10), maxBackoff)
	}
	return max(d, policy.Delay.Std())
}

// replacement gives the task that takes a slot, held back as the failures of its predecessors demand; ok is false
// when the restart policy forbids one.
func (s *service) replacement(slot int, hash string, policy api.RestartPolicy, now time.Time) (api.Task, bool) {
	t := api.Task{Slot: slot}
	last := s.predecessor(slot, hash)
	if last != nil && last.astray() {
		t.Attempt = last.Attempt // neither a failure nor a success
	}
	if last == nil || !last.failed() {
		return t, true
	}
	if policy.Condition == api.RestartNone {
		return s.afresh(slot, last)
	}
	t.Attempt = last.Attempt + 1
	end := last.Status.FinishedAt
	if end.IsZero() {
		end = last.DesiredAt
	}
	if ready := last.Status.ReadyAt; !ready.IsZero() && end.Sub(ready) >= policy.Window.Std() {
		t.Attempt = 1
	}
	if policy.MaxAttempts > 0 && t.Attempt > policy.MaxAttempts {
		return s.afresh(slot, last)
	}
	pause := backoff(t.Attempt, policy)
	if pause > 0 {
		if end.After(now) { // the clock was set back since: the pause is not to last until it is there again
			end = now
		}
		t.NotBefore = end.Add(pause)
		t.Reason = fmt.Sprintf("failed %d times in a row (%s); next start %s after the last failure",
			t.Attempt, last.fault(), pause)
		if t.Attempt == 1 {
			t.Reason = fmt.Sprintf("failed (%s); next start %s after that", last.fault(), pause)
		}
	}
	return t, true
}

// afresh gives a slot that was given up another try, where that was before the deployment: who deploys again what has
// failed wants it tried again.
func (s *service) afresh(slot int, last *Task) (api.Task, bool) {
	return api.Task{Slot: slot}, last.CreatedAt.Before(s.began)
}

// spent tells whether every slot has its task of the goal, and all that do not serve fail time after time, are given up,
// or find no node. On the way back that is all there is to wait for: the good release does no better, and to wait on
// would block whatever mends it. It heals on afterwards; tasks of another release that make up for it stay.
func (s *service) spent(p *Plan, now time.Time) bool {
	lacking := s.want - healthyIn(s.cur) - s.doneSlots()
	if s.inTransit() > 0 || len(s.cur)+s.doneSlots() > s.want || len(s.old) > lacking {
		return false
	}
	settled := map[int]bool{}
	for _, t := range s.done {
		settled[t.Slot] = true
	}
	for _, t := range s.cur {
		lasts := false
		if over := t.CreatedAt.Add(placeDeadline); t.Node == "" {
			if lasts = !now.Before(over); !lasts {
				p.wake(now, over)
			}
		}
		settled[t.Slot] = t.healthy() || t.Attempt >= hopeless && !t.up() || lasts
	}
	for slot := 1; slot <= s.want; slot++ {
		if ok, there := settled[slot]; there {
			if !ok {
				return false
			}
		} else if last := s.predecessor(slot, s.hash); last == nil || !last.failed() {
			return false
		}
	}
	return true
}

// predecessor gives the newest task of a slot and hash that has ended or leaves.
func (s *service) predecessor(slot int, hash string) *Task {
	var last *Task
	for _, ts := range [][]*Task{s.ended, s.leaving} {
		for _, t := range ts {
			if t.Slot == slot && t.Hash == hash && (last == nil || cmp.Or(t.CreatedAt.Compare(last.CreatedAt), cmp.Compare(t.Attempt, last.Attempt)) >= 0) {
				last = t
			}
		}
	}
	return last
}
