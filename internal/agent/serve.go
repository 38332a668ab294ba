package agent

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// serve watches over a running container until it has ended, or the agent stops.
func (t *task) serve(ctx context.Context, spec api.ServiceSpec) {
	probing, stopProbing := context.WithCancel(ctx)
	var probes sync.WaitGroup
	defer probes.Wait()
	defer stopProbing()
	unfit := make(chan string, 1) // never became ready: the reason
	probes.Go(func() { t.probe(probing, spec, unfit) })
	for {
		desired, _, changed := t.wants()
		switch desired {
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
	signal := stopSignal(spec)
	if err := t.a.cfg.Runtime.Signal(ctx, t.task.ID, signal); err != nil {
		t.log.Warn("send stop signal", "signal", signal, "error", err)
	}
	grace := time.NewTimer(spec.StopGrace.Std())
	defer grace.Stop()
	select {
	case <-ctx.Done():
		return Exit{}, false
	case e := <-t.exits:
		return e, true
	case <-grace.C:
	}
	t.log.Warn("kill task", "grace", spec.StopGrace.String())
	for {
		if err := t.a.cfg.Runtime.Signal(ctx, t.task.ID, "SIGKILL"); err != nil {
			t.log.Warn("kill task", "error", err)
		}
		again := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			again.Stop()
			return Exit{}, false
		case e := <-t.exits:
			again.Stop()
			return e, true
		case <-again.C:
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
	t.a.cfg.Network.Publish(t.task.ID, true)
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

// untilReady checks until the task is ready; it gives the reason when it does not get there in time.
func (t *task) untilReady(ctx context.Context, c *check) string {
	deadline := time.Now().Add(c.deadline)
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
			return fmt.Sprintf("not ready after %s: %s: %v", c.deadline, c.name, err)
		}
		pause(ctx, wait)
	}
	t.set(api.TaskReady, func(st *api.TaskStatus) { st.ReadyAt = now() })
	return ""
}
