package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/wire"
)

// task moves one task from assigned to stopped. Its goroutine is run; everything else only leaves it word.
type task struct {
	a     *Agent
	log   *slog.Logger
	found *ContainerState // what an earlier process left running; read by run only
	exits chan Exit
	kept  chan struct{} // closed once the control plane has the final status

	settled  chan struct{} // closed once what an earlier agent left of it is taken over, or its end is kept
	starting chan struct{} // closed once it has a status of starting or later

	task    api.Task  // as it was when it came; what changes of it is desired
	volumes []string  // names of the named volumes it mounts; used by run only
	began   time.Time // when this agent began to make its container; used by run only

	mu        sync.Mutex
	desired   api.Desired
	status    api.TaskStatus
	unsent    bool
	forgotten bool
	changed   chan struct{} // closed and renewed when desired or forgotten changed
}

func newTask(a *Agent, w wire.Assignment) *task {
	t := &task{a: a, task: w.Task, desired: w.Desired, exits: make(chan Exit, 4), kept: make(chan struct{}), starting: make(chan struct{}), settled: make(chan struct{}), changed: make(chan struct{}),
		log: a.log.With("app", w.App, "env", w.Env, "service", w.Service, "task", w.ID)}
	t.status = api.TaskStatus{Task: w.ID, Node: a.cfg.Node.Name, State: api.TaskAssigned}
	if w.Status != nil {
		t.status = *w.Status
		t.reported(t.status)
	}
	return t
}

// assign takes over what the control plane wants now.
func (t *task) assign(w api.Task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.desired != w.Desired {
		t.desired = w.Desired
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// forget lets the task clean up and end for good.
func (t *task) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.forgotten {
		return
	}
	t.forgotten = true
	t.desired = api.WantStopped
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *task) exit(e Exit) {
	select {
	case t.exits <- e:
	default: // one is enough
	}
}

// wants gives what is wanted now and a channel that is closed when that changes.
func (t *task) wants() (api.Desired, bool, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.desired, t.forgotten, t.changed
}

// take gives the status if it was not reported yet.
func (t *task) take() (api.TaskStatus, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.unsent
	t.unsent = false
	return t.status, was
}

// report marks the status as not reported.
func (t *task) report() {
	t.mu.Lock()
	t.unsent = true
	t.mu.Unlock()
	t.a.poke()
}

// state gives where the task stands.
func (t *task) state() api.TaskState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.State
}

// set moves the task on; a state never goes backwards.
func (t *task) set(state api.TaskState, change func(*api.TaskStatus)) {
	if state.Final() { // before it is known: its environment may be destroyed then
		t.a.files.release(t.task.ID)
	}
	t.mu.Lock()
	if state.Before(t.status.State) || t.status.State.Final() {
		t.mu.Unlock()
		return
	}
	moved := t.status.State != state
	t.status.State, t.status.Message = state, ""
	if change != nil {
		change(&t.status)
	}
	st := t.status
	t.unsent = true
	t.mu.Unlock()
	if moved {
		t.log.Info("task moved", "state", string(st.State), "message", st.Message)
	}
	t.a.poke()
}

// note says what the task waits for, without moving it.
func (t *task) note(format string, args ...any) {
	t.set(t.state(), func(st *api.TaskStatus) { st.Message = fmt.Sprintf(format, args...) })
}

func (t *task) fail(cause api.Cause, format string, args ...any) {
	t.set(api.TaskFailed, func(st *api.TaskStatus) {
		st.Cause, st.Message, st.FinishedAt = cause, fmt.Sprintf(format, args...), now()
	})
}

func now() time.Time { return time.Now().UTC().Round(0) }

// run lives the task until it has ended, is cleaned up and forgotten, or the agent stops: then the container goes on.
func (t *task) run(ctx context.Context) {
	defer t.takenOver()
	if !t.state().Final() {
		t.live(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	t.untilKept(ctx)
	t.clean(ctx)
	for {
		_, forgotten, changed := t.wants()
		if forgotten {
			t.a.removeLogs(ctx, t.task.ID)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// untilKept waits until the control plane has written down how the task ended. Before that its container and its exit
// record are all that knows the exit code, should this agent be killed.
func (t *task) untilKept(ctx context.Context) {
	for {
		_, forgotten, changed := t.wants()
		if forgotten {
			return
		}
		select {
		case <-t.kept:
			return
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// reported notes that the control plane has written a status down.
func (t *task) reported(st api.TaskStatus) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !st.State.Before(api.TaskStarting) {
		closeOnce(t.starting)
	}
	if st.State.Final() {
		closeOnce(t.kept)
		closeOnce(t.settled)
	}
}

// takenOver notes that what an earlier agent left of the task is sorted out, if it left anything.
func (t *task) takenOver() {
	t.mu.Lock()
	defer t.mu.Unlock()
	closeOnce(t.settled)
}

func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// live brings the task to its end.
func (t *task) live(ctx context.Context) {
	release, err := t.release(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.fail(api.CauseStart, "%v", err)
		}
		return
	}
	spec, ok := release.Spec.Services[t.task.Service]
	if !ok {
		t.fail(api.CauseStart, "release %d has no service %s", release.Number, t.task.Service)
		return
	}
	spec = t.taskSpec(spec)
	found := t.found
	switch t.takeOver(ctx, spec) {
	case tookNothing:
		t.takenOver()
		if !t.start(ctx, release, spec) {
			return
		}
	case tookRunning:
		if !t.reattach(ctx, release, spec, found.StartedAt) {
			return
		}
		t.takenOver()
	case tookEnded:
		return
	}
	t.serve(ctx, spec)
}

func (t *task) release(ctx context.Context) (*api.Release, error) {
	for {
		r, err := t.a.release(ctx, t.task.EnvRef, t.task.Release)
		if err == nil || ctx.Err() != nil || api.IsKind(err, api.NotFound) {
			return r, err
		}
		pause(ctx, 200*time.Millisecond)
	}
}

// taken is what a task found of an earlier agent's work.
type taken int

const (
	tookNothing taken = iota // the task is still to be started
	tookRunning
	tookEnded // the status says how
)

// takeOver finds out what became of a container that an earlier agent made.
func (t *task) takeOver(ctx context.Context, spec api.ServiceSpec) taken {
	c, ran := t.found, t.mayHaveRun()
	t.found = nil
	switch {
	case c != nil && c.Running:
		return tookRunning
	case c != nil && c.Exit != nil && (ran || spec.Restart.RunsToEnd() || !c.Exit.Killed()):
		t.ended(ctx, spec, *c.Exit)
		return tookEnded
	case ran:
		t.gone()
		return tookEnded
	case c != nil:
		// The earlier agent was killed while it started the container: what it had made of it was killed too, or does not
		// run. That is not the release's failure. Only what runs to its end might have run, and must not run twice.
		if err := t.a.cfg.Runtime.Remove(ctx, t.task.ID); err != nil {
			t.log.Warn("remove half-made container", "error", err)
		}
	}
	return tookNothing
}

// reattach takes over a container that runs. The earlier agent may have been killed before it reported the address.
func (t *task) reattach(ctx context.Context, release *api.Release, spec api.ServiceSpec, began time.Time) bool {
	var att Attachment
	err := t.retry(ctx, startTries, func() (err error) {
		att, err = t.a.cfg.Network.Attach(ctx, t.endpoint(release, spec))
		return err
	})
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		t.fail(api.CauseNetwork, "attach network again: %v", err)
		return false
	}
	t.mu.Lock()
	t.status.Address = att.Address
	t.mu.Unlock()
	if t.state().Before(api.TaskRunning) {
		t.started(began)
	}
	t.report()
	return true
}

// gone ends a task whose container is not there any more, nor a record of its exit.
func (t *task) gone() {
	if desired, _, _ := t.wants(); !desired.Runs() {
		t.set(api.TaskStopped, func(st *api.TaskStatus) { st.FinishedAt = now() })
		return
	}
	t.fail(api.CauseLost, "its container was gone when ikada started: the node was shut down or restarted")
}

func (t *task) started(at time.Time) {
	if at.IsZero() {
		at = now()
	}
	t.set(api.TaskRunning, func(st *api.TaskStatus) { st.StartedAt = at.UTC().Round(0) })
}

// ended writes down how the task's process ended.
func (t *task) ended(ctx context.Context, spec api.ServiceSpec, e Exit) {
	desired, _, _ := t.wants()
	if e.At.IsZero() {
		e.At = now()
	}
	finish := func(st *api.TaskStatus) {
		st.ExitCode, st.FinishedAt = e.Code, e.At.UTC().Round(0)
		if st.StartedAt.After(st.FinishedAt) { // it had ended before its start was known
			st.StartedAt = st.FinishedAt
		}
	}
	if !desired.Runs() {
		t.set(api.TaskStopped, finish)
		return
	}
	if spec.Restart.RunsToEnd() && e.Code != nil && *e.Code == 0 {
		t.set(api.TaskStopped, func(st *api.TaskStatus) { finish(st); st.Message = "completed" })
		return
	}
	cause, msg := t.explain(ctx, spec, e)
	t.set(api.TaskFailed, func(st *api.TaskStatus) {
		finish(st)
		st.Cause, st.Message = cause, msg
	})
}

// explain makes a sentence of an exit.
func (t *task) explain(ctx context.Context, spec api.ServiceSpec, e Exit) (api.Cause, string) {
	cause := api.CauseExit
	var msg string
	switch {
	case e.OOM:
		cause = api.CauseOOM
		msg = "killed for memory"
		if spec.Resources.MemoryBytes > 0 {
			msg += fmt.Sprintf(": its limit is %d MiB", spec.Resources.MemoryBytes>>20)
		}
	case e.Code == nil:
		msg = "its process disappeared; the exit code could not be learnt"
	case *e.Code > 128 && *e.Code < 128+65:
		name := cmp.Or(unix.SignalName(unix.Signal(*e.Code-128)), fmt.Sprintf("signal %d", *e.Code-128))
		msg = fmt.Sprintf("killed by %s (exit code %d)", name, *e.Code)
	default:
		msg = fmt.Sprintf("exited with code %d", *e.Code)
	}
	t.mu.Lock()
	began := t.status.StartedAt
	t.mu.Unlock()
	if !began.IsZero() {
		msg += fmt.Sprintf(" after %s", max(0, e.At.Sub(began)).Round(time.Millisecond))
	}
	if line := t.lastLine(ctx); line != "" {
		msg += fmt.Sprintf("; its last output: %q", line)
	}
	return cause, msg
}

// lastLine gives the last line of the task's output, shortened; of a job's the last few.
func (t *task) lastLine(ctx context.Context) string {
	lines := 1
	if t.task.Job != nil {
		lines = jobLines
	}
	r, err := t.a.cfg.Runtime.Logs(ctx, t.task.ID, LogQuery{Tail: lines})
	if err != nil {
		return ""
	}
	defer func() { _ = r.Close() }()
	var last []string
	for rec, err := r.Next(); err == nil; rec, err = r.Next() {
		line := strings.TrimSpace(rec.Text)
		if len(line) > 200 {
			line = line[:200] + "…"
		}
		if line != "" {
			last = append(last, line)
		}
	}
	return strings.Join(last, " / ")
}

// clean removes what the task had on the node, except its log. It tries until it is done: a leaked namespace or
// snapshot would stay for ever.
func (t *task) clean(ctx context.Context) {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
		err := t.a.cfg.Runtime.Remove(ctx, t.task.ID)
		if err == nil {
			err = t.a.cfg.Network.Detach(ctx, t.task.ID)
		}
		if err == nil {
			err = t.a.files.remove(t.task.ID)
		}
		if err == nil {
			return
		}
		t.log.Warn("clean up task", "error", err)
		pause(ctx, wait)
	}
}
