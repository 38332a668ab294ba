package agent

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/wire"
)

// removals is a runtime of which only Remove is used, and Logs, which has nothing.
type removals struct {
	Runtime
	removed []string
}

func (r *removals) Remove(_ context.Context, id string) error {
	r.removed = append(r.removed, id)
	return nil
}

func (r *removals) Logs(context.Context, string, LogQuery) (LogReader, error) {
	return nil, api.Errorf(api.NotFound, "no log")
}

// What an earlier agent's death broke is made again; what ended by itself, or might have run, has ended.
func TestTakeOverOfEnded(t *testing.T) {
	code := func(n int) *Exit { return &Exit{ID: "t", Code: &n} }
	job := api.RestartPolicy{Condition: api.RestartNone}
	for name, c := range map[string]struct {
		state   api.TaskState
		found   ContainerState
		restart api.RestartPolicy
		want    taken
		removed int
	}{
		"killed while it was made":     {api.TaskStarting, ContainerState{Exit: code(137)}, api.RestartPolicy{}, tookNothing, 1},
		"never started":                {api.TaskStarting, ContainerState{}, api.RestartPolicy{}, tookNothing, 1},
		"ended by itself":              {api.TaskStarting, ContainerState{Exit: code(1)}, api.RestartPolicy{}, tookEnded, 0},
		"killed when it ran":           {api.TaskReady, ContainerState{Exit: code(137)}, api.RestartPolicy{}, tookEnded, 0},
		"a job that was killed":        {api.TaskStarting, ContainerState{Exit: code(137)}, job, tookEnded, 0},
		"runs":                         {api.TaskReady, ContainerState{Running: true}, api.RestartPolicy{}, tookRunning, 0},
		"runs, which nobody has noted": {api.TaskStarting, ContainerState{Running: true}, api.RestartPolicy{}, tookRunning, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := &removals{}
			a := New(Config{Runtime: r, Log: slog.New(slog.DiscardHandler)})
			task := newTask(a, wire.Assignment{Task: api.Task{ID: "t", Desired: api.WantRunning},
				Status: &api.TaskStatus{Task: "t", State: c.state}})
			task.found = &c.found
			if got := task.takeOver(t.Context(), api.ServiceSpec{Restart: c.restart}.WithDefaults()); got != c.want {
				t.Errorf("took over as %d, want %d", got, c.want)
			}
			if len(r.removed) != c.removed {
				t.Errorf("removed %v, want %d", r.removed, c.removed)
			}
		})
	}
}

// What ended before its start was known did not end before it began.
func TestEndBeforeStartIsKnown(t *testing.T) {
	began, code := now(), 3
	a := New(Config{Runtime: &removals{}, Log: slog.New(slog.DiscardHandler)})
	task := newTask(a, wire.Assignment{Task: api.Task{ID: "t", Desired: api.WantRunning},
		Status: &api.TaskStatus{Task: "t", State: api.TaskRunning, StartedAt: began}})
	task.ended(t.Context(), api.ServiceSpec{}.WithDefaults(), Exit{ID: "t", Code: &code, At: began.Add(-time.Second)})
	st, _ := task.take()
	if st.StartedAt.After(st.FinishedAt) || st.Message != "exited with code 3 after 0s" {
		t.Errorf("from %v to %v: %s", st.StartedAt, st.FinishedAt, st.Message)
	}
}

// detached is a network of which only Detach is used.
type detached struct{ Network }

func (detached) Detach(context.Context, string) error { return nil }

// Until the control plane has the exit code, the container's record of it must stay: the agent may be killed.
func TestContainerStaysUntilItsEndIsKept(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := &removals{}
		a := New(Config{Runtime: r, Network: detached{}, FilesDir: dir, SecretsDir: dir, VolumesDir: dir, Log: slog.New(slog.DiscardHandler)})
		task := newTask(a, wire.Assignment{Task: api.Task{ID: "t", Desired: api.WantStopped},
			Status: &api.TaskStatus{Task: "t", State: api.TaskStopping}})
		task.set(api.TaskStopped, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			task.run(ctx)
		}()
		synctest.Wait()
		if len(r.removed) != 0 {
			t.Fatal("the container was removed before its end was written down")
		}
		task.reported(api.TaskStatus{Task: "t", State: api.TaskStopping})
		synctest.Wait()
		if len(r.removed) != 0 {
			t.Fatal("the container was removed when an earlier state was written down")
		}
		task.reported(api.TaskStatus{Task: "t", State: api.TaskStopped})
		synctest.Wait()
		if len(r.removed) != 1 {
			t.Errorf("removed %v", r.removed)
		}
		cancel()
		<-done
	})
}

// withoutImages is a runtime that pulls nothing and notes when it was asked to.
type withoutImages struct {
	Runtime
	asked time.Time
}

func (w *withoutImages) Pull(context.Context, string, func(done, total int64)) error {
	w.asked = time.Now()
	return api.Errorf(api.NotFound, "no image")
}

// The pause before a start is what it was when the task was made, also where the clock was set back since.
func TestPauseWhereTheClockWasSet(t *testing.T) {
	for name, made := range map[string]time.Duration{"now": 0, "by a clock to come": 9 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, began := &withoutImages{}, time.Now()
				a := New(Config{Runtime: r, Log: slog.New(slog.DiscardHandler)})
				task := newTask(a, wire.Assignment{Task: api.Task{ID: "t", Desired: api.WantRunning,
					CreatedAt: began.Add(made), NotBefore: began.Add(made + 2*time.Second)}})
				cause, err := task.steps(t.Context(), &api.Release{}, api.ServiceSpec{Image: "web"})
				if cause != api.CausePull || !api.IsKind(err, api.NotFound) {
					t.Errorf("ended with %s: %v", cause, err)
				}
				if waited := r.asked.Sub(began); waited != 2*time.Second {
					t.Errorf("waited %s, want 2s", waited)
				}
			})
		})
	}
}

// slowStart is a runtime whose containers take a while to come up.
type slowStart struct {
	Runtime
	takes time.Duration
}

func (r slowStart) Create(ctx context.Context, _ Container) error {
	pause(ctx, r.takes)
	return ctx.Err()
}

// A container that is wanted no more while it is started comes up, so that its process gets its signal; unless that takes long.
func TestUnwantedWhileItStarts(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		why   error
		up    bool
		after time.Duration
	}{
		"soon":             {time.Second, errUnwanted, true, time.Second},
		"late":             {time.Minute, errUnwanted, false, 100*time.Millisecond + unwantedTime},
		"the agent stops":  {time.Second, nil, false, 100 * time.Millisecond},
		"wanted, and hung": {time.Hour, nil, false, createTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := New(Config{Runtime: slowStart{takes: c.takes}, Log: slog.New(slog.DiscardHandler)})
				task := newTask(a, wire.Assignment{Task: api.Task{ID: "t", Desired: api.WantRunning}})
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if c.after != createTime {
					time.AfterFunc(100*time.Millisecond, func() { cancel(c.why) })
				}
				began := time.Now()
				err := task.create(ctx, Container{ID: "t"})
				if up := err == nil; up != c.up || time.Since(began) != c.after {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
			})
		})
	}
}
