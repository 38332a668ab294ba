package job

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

var (
	shop = api.EnvRef{App: "shop", Env: "production"}
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// world is one with a committed release of one service, and a job of it that was made a minute ago.
func world(change ...func(w *World)) World {
	w := World{
		Now: noon, Env: api.Environment{EnvRef: shop, Release: 1},
		Releases: map[uint64]*api.Release{1: {Number: 1, Spec: api.AppSpec{Services: map[string]api.ServiceSpec{"web": {Image: "v1"}}}}},
		Jobs:     []api.Job{{ID: "j1", EnvRef: shop, Kind: api.JobRun, Service: "web", Name: "run", Release: 1, State: api.JobPending, CreatedAt: noon.Add(-time.Minute)}},
	}
	for _, f := range change {
		f(&w)
	}
	return w
}

// task gives the world's job a task that runs since half a minute.
func task(change ...func(t *Task)) func(w *World) {
	return func(w *World) {
		w.Jobs[0].Made = true
		t := Task{Task: api.Task{ID: "j1", Node: "n1", Desired: api.WantRunning, Job: &api.TaskJob{Kind: api.JobRun, Name: "run"}},
			Status: api.TaskStatus{State: api.TaskRunning, StartedAt: noon.Add(-30 * time.Second)}}
		for _, f := range change {
			f(&t)
		}
		w.Tasks = append(w.Tasks, t)
	}
}

func job(change func(j *api.Job)) func(w *World) {
	return func(w *World) { change(&w.Jobs[0]) }
}

func ends(state api.TaskState, code int, cause api.Cause, message string) func(t *Task) {
	return func(t *Task) {
		t.Status.State, t.Status.ExitCode, t.Status.Cause, t.Status.Message = state, &code, cause, message
		t.Status.FinishedAt = noon.Add(-time.Second)
	}
}

// show writes a plan in a line.
func show(p Plan) string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, j := range p.Create {
		say("create %s of release %d", j.Title(), j.Release)
	}
	for _, t := range p.Tasks {
		say("task %s", t.ID)
	}
	for _, j := range p.Update {
		text := fmt.Sprintf("%s %s", j.ID, j.State)
		if j.ExitCode != nil {
			text += fmt.Sprintf(" %d", *j.ExitCode)
		}
		if j.Reason != "" {
			text += " (" + j.Reason + ")"
		}
		say("%s", text)
	}
	for _, t := range p.Change {
		say("%s %s (%s)", t.ID, t.Desired, t.Reason)
	}
	for _, c := range p.Crons {
		text := fmt.Sprintf("%s.%s since %s", c.Service, c.Name, c.Since.Format("15:04:05"))
		if c.Suspended {
			text += " suspended"
		}
		if c.Skipped != "" {
			text += " skipped"
		}
		say("%s", text)
	}
	for _, id := range p.Forget {
		say("forget %s", id)
	}
	for _, id := range p.Drop {
		say("drop %s", id)
	}
	for _, c := range p.ForgetCrons {
		say("forget %s.%s", c.Service, c.Name)
	}
	for _, e := range p.Events {
		say("%s: %s", e.Type, e.Message)
	}
	if !p.Wake.IsZero() {
		say("wake after %s", p.Wake.Sub(noon))
	}
	return strings.Join(out, "; ")
}

func TestOneJob(t *testing.T) {
	timeout := job(func(j *api.Job) { j.Timeout = api.Duration(20 * time.Second) })
	unplaced := func(t *Task) { t.Node, t.Reason, t.Status = "", "no node fits: 1 down", api.TaskStatus{} }
	for _, c := range []struct {
		name string
		w    World
		want string
	}{
		{"its task is made", world(), "task j1; j1 pending"},
		{"its task is made once", world(job(func(j *api.Job) { j.Made = true })),
			"j1 lost (its task is gone: how far it got is not known); job.failed: web.run lost: its task is gone: how far it got is not known"},
		{"its release is gone", world(func(w *World) { delete(w.Releases, 1) }),
			"j1 failed (release 1 is no longer kept); job.failed: web.run failed: release 1 is no longer kept"},
		{"stopped before its task is made", world(job(func(j *api.Job) { j.Stop = "stopped by ann" })), "j1 stopped (stopped by ann)"},
		{"it waits for a node", world(job(func(j *api.Job) { j.CreatedAt = noon.Add(-10 * time.Second) }), task(unplaced)),
			"j1 pending (no node fits: 1 down); wake after 50s"},
		{"it finds no node", world(task(unplaced)),
			"j1 failed (no node fits: 1 down); drop j1; job.failed: web.run failed: no node fits: 1 down"},
		{"stopped while it finds no node", world(job(func(j *api.Job) { j.Stop = "stopped by ann" }), task(unplaced)),
			"j1 stopped (stopped by ann); drop j1"},
		{"its image is pulled", world(task(func(t *Task) { t.Status = api.TaskStatus{State: api.TaskPulling, Message: "pulled 3 of 9 MiB"} })),
			"j1 pending (pulled 3 of 9 MiB)"},
		{"it runs", world(task()), "j1 running"},
		{"it succeeds", world(task(ends(api.TaskStopped, 0, "", "completed"))), "j1 succeeded 0; job.succeeded: web.run succeeded"},
		{"it fails", world(task(ends(api.TaskFailed, 3, api.CauseExit, "exited with code 3"))),
			"j1 failed 3 (exited with code 3); job.failed: web.run failed: exited with code 3"},
		{"its container is gone", world(task(ends(api.TaskFailed, 0, api.CauseLost, "its container was gone"))),
			"j1 lost 0 (its container was gone: how far it got is not known); job.failed: web.run lost: its container was gone: how far it got is not known"},
		{"its node is lost", world(task(func(t *Task) { t.Lost = true })),
			"j1 lost (node n1 does not answer: how far it got is not known); j1 stopped (node n1 does not answer: how far it got is not known); " +
				"job.failed: web.run lost: node n1 does not answer: how far it got is not known"},
		{"within its time limit", world(job(func(j *api.Job) { j.Timeout = api.Duration(time.Minute) }), task()), "j1 running; wake after 30s"},
		{"over its time limit", world(timeout, task()), "j1 running (stopping: not over after 20s); j1 stopped (not over after 20s)"},
		{"stopped over its time limit", world(timeout, job(func(j *api.Job) { j.State, j.Stop, j.Cause = api.JobRunning, "not over after 20s", api.CauseTimeout }),
			task(func(t *Task) { t.Desired = api.WantStopped }, ends(api.TaskStopped, 137, "", ""))),
			"j1 timed out 137 (not over after 20s); job.failed: web.run timed out: not over after 20s"},
		{"over its time limit, maybe, while nobody listened", world(timeout, task(), func(w *World) { w.Joined = noon.Add(9 * time.Second) }),
			"j1 running; wake after 9s"},
		{"its client was heard of", world(job(func(j *api.Job) { j.Until = noon.Add(7 * time.Second) }), task()), "j1 running; wake after 7s"},
		{"its client has gone", world(job(func(j *api.Job) { j.Until = noon.Add(-time.Second) }), task()),
			"j1 running (stopping: its client has gone); j1 stopped (its client has gone)"},
		{"its client may come back", world(job(func(j *api.Job) { j.Until = noon.Add(-time.Hour) }), task(), func(w *World) { w.Heard = noon.Add(9 * time.Second) }),
			"j1 running; wake after 9s"},
		{"its environment is down", world(task(), func(w *World) { w.Env.Stopped = true }),
			"j1 running (stopping: the environment was taken down); j1 stopped (the environment was taken down)"},
		{"its environment is destroyed", world(task(ends(api.TaskStopped, 0, "", "")), func(w *World) { w.Env.Destroying = true }),
			"forget j1; job.succeeded: web.run succeeded"},
		{"its terminal's command has ended", world(job(func(j *api.Job) { j.Result = &api.JobResult{Code: 2, At: noon} }), task()),
			"j1 failed 2 (exited with code 2); j1 stopped (exited with code 2); job.failed: web.run failed: exited with code 2"},
		{"its terminal's command could not be run", world(job(func(j *api.Job) { j.Result = &api.JobResult{Error: "no such program", At: noon} }), task()),
			"j1 failed (no such program); j1 stopped (no such program); job.failed: web.run failed: no such program"},
		{"nobody knows a task's job", world(task(), func(w *World) { w.Jobs = nil }), "j1 stopped (its job is gone)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(Make(c.w)); got != c.want {
				t.Errorf("plan\n%s, want\n%s", got, c.want)
			}
		})
	}
}

func TestReleaseCommand(t *testing.T) {
	deploys := func(w *World) {
		w.Jobs = nil
		w.Releases[2] = &api.Release{Number: 2, Spec: api.AppSpec{Services: map[string]api.ServiceSpec{"web": {
			Image: "v2", Release: &api.ReleaseCommand{Command: api.Command{Command: []string{"migrate"}}}}}}}
		w.Deployment = &api.Deployment{Number: 5, To: 2, State: api.DeployRunning, CreatedBy: "ann"}
		w.Begin = []string{"web"}
	}
	p := Make(world(deploys))
	if got := show(p); got != "create web.release of release 2; job.started: release command of web starts for release 2" {
		t.Fatalf("plan %s", got)
	}
	j := p.Create[0]
	if j.Deployment != 5 || j.Timeout != api.DefaultReleaseTimeout || j.CreatedBy != "ann" || j.Command.Command[0] != "migrate" {
		t.Errorf("job %+v", j)
	}
	j.ID = "r1"
	there := func(w *World) { w.Jobs = []api.Job{j} }
	if got := show(Make(world(deploys, there))); got != "task r1; r1 pending" {
		t.Errorf("asked for again: %s", got)
	}
	back := func(w *World) { w.Deployment.Backwards, w.Deployment.Reason = true, "cancelled by ann" }
	if got := show(Make(world(deploys, there, back))); !strings.HasPrefix(got, "r1 stopped (cancelled by ann)") {
		t.Errorf("on the way back: %s", got)
	}
	over := func(w *World) { w.Deployment, w.Begin = nil, nil }
	if got := show(Make(world(deploys, there, over))); !strings.HasPrefix(got, "r1 stopped (deployment 5 has ended)") {
		t.Errorf("afterwards: %s", got)
	}
}

func TestCron(t *testing.T) {
	cron := func(spec api.CronSpec, since time.Time, due time.Time, more int) func(w *World) {
		spec.Schedule = "* * * * *"
		return func(w *World) {
			w.Jobs = nil
			w.Releases[1].Spec.Services["web"] = api.ServiceSpec{Image: "v1", Cron: map[string]api.CronSpec{"tick": spec}}
			w.Crons = []Cron{{State: api.Cron{EnvRef: shop, Service: "web", Name: "tick", Schedule: "* * * * *", Since: since},
				Spec: &spec, Due: due, More: more, Look: noon.Add(time.Minute)}}
		}
	}
	before := noon.Add(-time.Minute)
	late := func(d time.Duration) time.Time { return noon.Add(-d) }
	runs := func(state api.JobState) func(w *World) {
		return func(w *World) {
			w.Jobs = append(w.Jobs, api.Job{ID: "j1", EnvRef: shop, Kind: api.JobCron, Service: "web", Name: "tick", Release: 1, State: state, Made: true, CreatedAt: before})
			w.Tasks = append(w.Tasks, Task{Task: api.Task{ID: "j1", Node: "n1", Desired: api.WantRunning, Job: &api.TaskJob{}}, Status: api.TaskStatus{State: api.TaskRunning}})
		}
	}
	waits := func(w *World) {
		w.Jobs = append(w.Jobs, api.Job{ID: "j2", EnvRef: shop, Kind: api.JobCron, Service: "web", Name: "tick", Release: 1, State: api.JobPending, CreatedAt: noon})
	}
	once := api.CronSpec{Missed: api.MissedOnce}
	soon := api.CronSpec{Missed: api.MissedOnce, StartingDeadline: api.Duration(time.Hour)}
	for _, c := range []struct {
		name string
		w    World
		want string
	}{
		{"new", world(cron(api.CronSpec{}, time.Time{}, time.Time{}, 0), func(w *World) { w.Crons[0].State.Schedule = "" }), "web.tick since 12:00:00; wake after 1m0s"},
		{"changed", world(cron(api.CronSpec{}, before, noon, 0), func(w *World) { w.Crons[0].State.Timezone = "Asia/Tokyo" }), "web.tick since 12:00:00; wake after 1m0s"},
		{"not due", world(cron(api.CronSpec{}, before, time.Time{}, 0)), "wake after 1m0s"},
		{"due", world(cron(api.CronSpec{}, before, noon, 0)), "create web.tick of release 1; web.tick since 12:00:00; wake after 1m0s"},
		{"a little late", world(cron(api.CronSpec{}, late(time.Hour), late(time.Minute), 9)), "create web.tick of release 1; web.tick since 11:59:00; wake after 1m0s"},
		{"too late", world(cron(api.CronSpec{}, late(time.Hour), late(2*time.Minute), 9)),
			"web.tick since 11:58:00 skipped; job.missed: web.tick did not run: it was due 10 times, last at 2026-03-01T11:58:00Z, and nobody could start it for 2m0s; wake after 1m0s"},
		{"late, and made up for", world(cron(once, late(72*time.Hour), late(48*time.Hour), 9)), "create web.tick of release 1; web.tick since 12:00:00; wake after 1m0s"},
		{"late, within the deadline", world(cron(soon, late(9*time.Hour), late(time.Hour), 0)), "create web.tick of release 1; web.tick since 11:00:00; wake after 1m0s"},
		{"late, and beyond the deadline", world(cron(soon, late(9*time.Hour), late(time.Hour+time.Second), 0)),
			"web.tick since 10:59:59 skipped; job.missed: web.tick did not run: it was due at 2026-03-01T10:59:59Z, and nobody could start it for 1h0m1s; wake after 1m0s"},
		{"down", world(cron(api.CronSpec{}, before, noon, 0), func(w *World) { w.Env.Stopped = true }), "web.tick since 11:59:00 suspended"},
		{"still down", world(cron(api.CronSpec{}, before, noon, 0), func(w *World) { w.Env.Stopped, w.Crons[0].State.Suspended = true, true }), ""},
		{"up again", world(cron(once, late(time.Hour), noon, 59), func(w *World) { w.Crons[0].State.Suspended = true }), "web.tick since 12:00:00; wake after 1m0s"},
		{"the clock was set back", world(cron(once, noon.Add(time.Hour), time.Time{}, 0)), "web.tick since 12:00:00; wake after 1m0s"},
		{"dropped", world(cron(api.CronSpec{}, before, noon, 0), func(w *World) { w.Crons[0].Spec = nil }), "forget web.tick"},
		{"forbid", world(cron(api.CronSpec{}, before, noon, 0), runs(api.JobRunning)),
			"web.tick since 12:00:00 skipped; job.skipped: web.tick did not run: it was due at 2026-03-01T12:00:00Z, and the run before (j1) was not over; wake after 1m0s"},
		{"forbid, while the task of a lost one may go on", world(cron(api.CronSpec{}, before, noon, 0), runs(api.JobLost)),
			"j1 stopped (its command has ended); web.tick since 12:00:00 skipped; job.skipped: web.tick did not run: it was due at 2026-03-01T12:00:00Z, and the run before (j1) was not over; wake after 1m0s"},
		{"forbid, which was told a while ago", world(cron(api.CronSpec{}, before, noon, 0), runs(api.JobRunning), func(w *World) { w.Crons[0].State.SkippedAt, w.Crons[0].State.Skipped = late(oldNews), "x" }),
			"web.tick since 12:00:00 skipped; wake after 1m0s"},
		{"fails as the run before it", world(cron(api.CronSpec{}, noon, time.Time{}, 0), runs(api.JobRunning), func(w *World) {
			ends(api.TaskFailed, 1, api.CauseExit, "exited with code 1")(&w.Tasks[0])
			w.Jobs = append(w.Jobs, api.Job{ID: "j0", Kind: api.JobCron, Service: "web", Name: "tick", State: api.JobFailed, CreatedAt: late(time.Hour), EndedAt: late(time.Minute)})
		}), "j1 failed 1 (exited with code 1); wake after 1m0s"},
		{"fails after a run that did not", world(cron(api.CronSpec{}, noon, time.Time{}, 0), runs(api.JobRunning), func(w *World) {
			ends(api.TaskFailed, 1, api.CauseExit, "exited with code 1")(&w.Tasks[0])
			w.Jobs = append(w.Jobs, api.Job{ID: "j0", Kind: api.JobCron, Service: "web", Name: "tick", State: api.JobSucceeded, CreatedAt: late(time.Hour), EndedAt: late(time.Minute)})
		}), "j1 failed 1 (exited with code 1); job.failed: web.tick failed: exited with code 1; wake after 1m0s"},
		{"allow", world(cron(api.CronSpec{Concurrency: api.CronAllow}, before, noon, 0), runs(api.JobRunning)), "create web.tick of release 1; web.tick since 12:00:00; wake after 1m0s"},
		{"replace", world(cron(api.CronSpec{Concurrency: api.CronReplace}, before, noon, 0), runs(api.JobRunning)),
			"create web.tick of release 1; j1 running (stopping: replaced by the next run); j1 stopped (replaced by the next run); web.tick since 12:00:00; wake after 1m0s"},
		{"replace, and wait for the end", world(cron(api.CronSpec{Concurrency: api.CronReplace}, noon, time.Time{}, 0), runs(api.JobRunning), waits),
			"j2 pending (waits for the run before it (j1) to end); wake after 1m0s"},
		{"allow, and do not wait", world(cron(api.CronSpec{Concurrency: api.CronAllow}, noon, time.Time{}, 0), runs(api.JobRunning), waits),
			"task j2; j2 pending; wake after 1m0s"},
		{"too many", world(cron(api.CronSpec{Concurrency: api.CronAllow}, before, noon, 0), func(w *World) {
			for i := range api.MaxJobs {
				w.Jobs = append(w.Jobs, api.Job{ID: fmt.Sprint(i), Service: "web", Kind: api.JobRun, Name: "run", State: api.JobRunning, Made: true, CreatedAt: before, Release: 1})
				w.Tasks = append(w.Tasks, Task{Task: api.Task{ID: fmt.Sprint(i), Node: "n1", Desired: api.WantRunning}, Status: api.TaskStatus{State: api.TaskRunning}})
			}
		}), "web.tick since 12:00:00 skipped; job.skipped: web.tick did not run: it was due at 2026-03-01T12:00:00Z, and 50 jobs run already, the most of an environment; wake after 1m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(Make(c.w)); got != c.want {
				t.Errorf("plan\n%s, want\n%s", got, c.want)
			}
		})
	}
}

// TestHistory keeps the newest ended jobs of each kind and cron, and never a record whose task may go on.
func TestHistory(t *testing.T) {
	w := world(func(w *World) { w.Jobs = nil })
	add := func(kind api.JobKind, name string, n int, ended bool) {
		for i := range n {
			id := fmt.Sprintf("%s-%s-%02d", kind, name, i)
			w.Jobs = append(w.Jobs, api.Job{ID: id, EnvRef: shop, Kind: kind, Service: "web", Name: name, Release: 1, State: api.JobStopped, Made: true,
				CreatedAt: noon.Add(time.Duration(i) * time.Second)})
			state := api.TaskStopped
			if !ended {
				state = api.TaskStopping
			}
			w.Tasks = append(w.Tasks, Task{Task: api.Task{ID: id, Node: "n1", Desired: api.WantStopped}, Status: api.TaskStatus{State: state}})
		}
	}
	add(api.JobCron, "a", api.KeepJobs+2, true)
	add(api.JobCron, "b", api.KeepJobs, true)
	add(api.JobRun, "run", api.KeepJobs+1, true)
	add(api.JobCron, "c", api.KeepJobs+3, false)
	p := Make(w)
	slices.Sort(p.Forget)
	if got := strings.Join(p.Forget, " "); got != "cron-a-00 cron-a-01 run-run-00" || len(p.Update) > 0 {
		t.Errorf("forgets %s, updates %v", got, p.Update)
	}
}
