package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	signalAgain = 200 * time.Millisecond // before a signal that could not be sent is sent again
	killAgain   = time.Second            // before a task that was killed and has not ended is killed again
)

// serve watches over a running container until it has ended, or the agent stops.
func (t *task) serve(ctx context.Context, spec api.ServiceSpec) {
	probing, stopProbing := context.WithCancel(ctx)
	var probes sync.WaitGroup
	defer probes.Wait()
	defer stopProbing()
	unfit := make(chan string, 1) // never became ready: the reason
	if t.task.Job == nil {
		probes.Go(func() { t.probe(probing, spec, unfit) })
	}
	for {
		desired, _, changed := t.wants()
		switch desired {
		case api.WantRunning, api.WantWarm:
			if t.fit() { // else the first check that passes tells it
				t.announce()
			}
		case api.WantDraining:
			stopProbing()
			probes.Wait()
			t.a.cfg.Network.Publish(t.task.ID, false)
			t.set(api.TaskDraining, nil)
		case api.WantStopped:
			stopProbing()
			probes.Wait()
			t.a.cfg.Network.Publish(t.task.ID, false)
			t.stop(ctx, spec)
			return
		}
		select {
		case <-ctx.Done():
			return
		case e := <-t.exits:
			if t.stale(ctx, e) {
				continue
			}
			stopProbing()
			probes.Wait()
			t.a.cfg.Network.Publish(t.task.ID, false)
			t.ended(ctx, spec, e)
			return
		case why := <-unfit:
			t.unfit(ctx, spec, why)
			return
		case <-changed:
		}
	}
}

// stale tells whether an exit is of a container that an earlier agent left half made and that was removed since. The
// clock may have been set, so that time alone decides nothing.
func (t *task) stale(ctx context.Context, e Exit) bool {
	if !e.At.Before(t.began) {
		return false
	}
	list, err := t.a.cfg.Runtime.List(ctx)
	return err == nil && slices.ContainsFunc(list, func(c ContainerState) bool { return c.ID == t.task.ID && c.Running })
}

// unfit ends a task that never became ready.
func (t *task) unfit(ctx context.Context, spec api.ServiceSpec, why string) {
	t.note("%s; stopping it", why)
	e, ok := t.end(ctx, spec)
	if !ok {
		return
	}
	t.set(api.TaskFailed, func(st *api.TaskStatus) {
		st.Cause, st.Message, st.ExitCode, st.FinishedAt = api.CauseUnhealthy, why, e.Code, now()
	})
}

// stop ends the task as wanted.
func (t *task) stop(ctx context.Context, spec api.ServiceSpec) {
	t.set(api.TaskStopping, nil)
	if e, ok := t.end(ctx, spec); ok {
		t.ended(ctx, spec, e)
	}
}

func stopSignal(spec api.ServiceSpec) string { return cmp.Or(spec.StopSignal, "SIGTERM") }

// end sends the stop signal, waits for the grace period and then kills. It gives false when the agent stops first.
func (t *task) end(ctx context.Context, spec api.ServiceSpec) (Exit, bool) {
	grace := time.NewTimer(spec.StopGrace.Std())
	defer grace.Stop()
	if e, ok, over := t.deliver(ctx, stopSignal(spec), grace.C); over {
		return e, ok
	}
	t.log.Warn("kill task", "grace", spec.StopGrace.String())
	for {
		again := time.NewTimer(killAgain)
		e, ok, over := t.deliver(ctx, "SIGKILL", again.C)
		again.Stop()
		if over {
			return e, ok
		}
	}
}

// deliver sends a signal, again and again until the runtime has taken it, and waits for the task's end until limit has
// passed. over tells that the wait is over: with the exit if ok, else because the agent stops.
func (t *task) deliver(ctx context.Context, signal string, limit <-chan time.Time) (e Exit, ok, over bool) {
	for {
		var again <-chan time.Time
		if err := t.a.cfg.Runtime.Signal(ctx, t.task.ID, signal); err != nil {
			t.log.Warn("send signal", "signal", signal, "error", err)
			again = time.After(signalAgain)
		}
		select {
		case <-ctx.Done():
			return Exit{}, false, true
		case e := <-t.exits:
			if !t.stale(ctx, e) {
				return e, true, true
			}
		case <-limit:
			return Exit{}, false, false
		case <-again:
		}
	}
}

// probe checks the task until it is ready and then on and on, and keeps what comes of it in the task's status.
func (t *task) probe(ctx context.Context, spec api.ServiceSpec, unfit chan<- string) {
	c := newCheck(t, spec)
	if t.state() == api.TaskRunning {
		if why := t.untilReady(ctx, c); why != "" {
			unfit <- why
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	t.announce()
	if c.run == nil {
		return
	}
	for misses := 0; ; {
		pause(ctx, c.interval)
		if ctx.Err() != nil {
			return
		}
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			misses = 0
			continue
		}
		misses++
		if misses < c.retries {
			continue
		}
		t.a.cfg.Network.Publish(t.task.ID, false)
		t.set(t.state(), func(st *api.TaskStatus) {
			st.Unhealthy, st.Cause = true, api.CauseUnhealthy
			st.Message = fmt.Sprintf("unhealthy: %s failed %d times: %v", c.name, misses, err)
		})
		return // the control plane replaces it
	}
}

// announce has the task found by its names, unless it is warm.
func (t *task) announce() {
	desired, _, _ := t.wants()
	t.a.cfg.Network.Publish(t.task.ID, desired != api.WantWarm)
}

// fit tells whether the task is ready and its check does not fail.
func (t *task) fit() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.State == api.TaskReady && !t.status.Unhealthy
}

// untilReady checks until the task is ready; it gives the reason when it does not get there in time. What it fails for
// meanwhile stands in the task's status.
func (t *task) untilReady(ctx context.Context, c *check) string {
	began := time.Now()
	deadline := began.Add(c.deadline)
	tell, told := began.Add(notReadyFirst), ""
	for wait := c.first; ; wait = min(2*wait, c.startInterval) {
		if c.run == nil {
			pause(ctx, c.settle)
			if ctx.Err() != nil {
				return ""
			}
			break
		}
		err := c.once(ctx)
		if ctx.Err() != nil {
			return ""
		}
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			// A check that began in time may answer late: it is waited for, and that is told.
			after := max(c.deadline, time.Since(began).Truncate(time.Second))
			return fmt.Sprintf("not ready after %s: %s", after, t.failure(c, err))
		}
		if at := time.Now(); at.After(tell) {
			tell = at.Add(notReadyAgain)
			if why := t.failure(c, err); why != told {
				t.note("%s", why)
				told = why
			}
		}
		pause(ctx, wait)
	}
	t.set(api.TaskReady, func(st *api.TaskStatus) { st.ReadyAt = now() })
	return ""
}
