package deploy

import (
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// The pause after failures does not grow where the clock was set back after them.
func TestPauseWhereTheClockWasSet(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		failed time.Time
		want   time.Duration // from now
	}{
		"just now":           {now, 2 * time.Second},
		"a second ago":       {now.Add(-time.Second), time.Second},
		"by a clock to come": {now.Add(9 * time.Hour), 2 * time.Second},
	} {
		s := &service{name: "web", ended: []*Task{{
			Task:   api.Task{ID: "t1", Service: "web", Slot: 1, Hash: "h", Attempt: 2, Desired: api.WantRunning, CreatedAt: c.failed.Add(-time.Second)},
			Status: api.TaskStatus{State: api.TaskFailed, Cause: api.CauseExit, FinishedAt: c.failed},
		}}}
		next, ok := s.replacement(1, "h", api.RestartPolicy{Condition: api.RestartAny, Window: api.Duration(time.Minute)}, now)
		if !ok || next.Attempt != 3 || next.NotBefore.Sub(now) != c.want {
			t.Errorf("failed %s: attempt %d starts after %s, %v; want attempt 3 after %s", name, next.Attempt, next.NotBefore.Sub(now), ok, c.want)
		}
	}
}
