package deploy

import (
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestShiftOutlivesTheBalancer holds that a canary stays at its step when the balancer is new and has confirmed no task
// yet: the old ones are up all the same. Only where none is do all requests become the goal's.
func TestShiftOutlivesTheBalancer(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	task := func(state api.TaskState, serving bool) *Task {
		return &Task{Task: api.Task{Desired: api.WantRunning}, Status: api.TaskStatus{State: state}, Serving: serving}
	}
	for name, c := range map[string]struct {
		old  *Task
		last bool
	}{
		"confirmed": {task(api.TaskReady, true), false},
		"new":       {task(api.TaskReady, false), false},
		"not up":    {task(api.TaskStarting, false), true},
	} {
		s := &service{want: 2, old: []*Task{c.old}, cur: []*Task{task(api.TaskReady, c.old.Serving)},
			shift: &shift{steps: []api.CanaryStep{{Weight: 50, Hold: true}, {Weight: allRequests}}, weight: 50, at: now.Add(-time.Second)}}
		s.advance(&Plan{}, now)
		if sh := s.shift; sh.last() != c.last || sh.weight != 50 || sh.held == c.last {
			t.Errorf("%s: %+v", name, sh)
		}
	}
}
