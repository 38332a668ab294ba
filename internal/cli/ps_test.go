package cli

import (
	"testing"

	"github.com/ikada/ikada/api"
)

// TestTaskNote holds that what a task's agent repeats of its reason is told once.
func TestTaskNote(t *testing.T) {
	for _, tc := range []struct{ message, reason, want string }{
		{"", "", ""},
		{"exited with code 1", "", "exited with code 1"},
		{"exited with code 1", "replaced by release 2", "exited with code 1; replaced by release 2"},
		{"failed 4 times in a row", "failed 4 times in a row", "failed 4 times in a row"},
	} {
		v := api.TaskView{Task: api.Task{Reason: tc.reason}, Status: api.TaskStatus{Message: tc.message}}
		if got := taskNote(v); got != tc.want {
			t.Errorf("%q and %q: %q, want %q", tc.message, tc.reason, got, tc.want)
		}
	}
}
