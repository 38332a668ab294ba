package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// The labels that a container carries. What its stop needs is among them, so that a node can be shut down without
// the control plane.
const (
	labelApp     = "ikada.app"
	labelEnv     = "ikada.env"
	labelService = "ikada.service"
	labelSlot    = "ikada.slot"
	labelRelease = "ikada.release"
	labelSignal  = "ikada.stop-signal"
	labelGrace   = "ikada.stop-grace" // in Go's notation, "10s"
	labelVolumes = "ikada.volumes"    // names of the named volumes it mounts, separated by commas
)

// killTime bounds how long StopAll waits for a process after SIGKILL.
const killTime = 10 * time.Second

// signalTime bounds how long StopAll waits for the runtime to send a signal.
const signalTime = 5 * time.Second

// StopAll stops every container of the node at once, each with its stop signal and its grace period, and removes it
// with its network and its secrets; logs stay. It is for a node's shutdown, after Run has returned: statuses are left
// as they are, and the next agent finds out that the containers are gone. What has already ended stays for that
// agent too, which has its exit code still to report. The error joins those of all containers.
func (a *Agent) StopAll(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list, err := a.cfg.Runtime.List(ctx)
	if err != nil {
		return fmt.Errorf("stop containers: %w", err)
	}
	gone := map[string]chan struct{}{}
	for _, c := range list {
		if c.Running {
			gone[c.ID] = make(chan struct{})
		}
	}
	var listener, stops sync.WaitGroup
	listener.Go(func() {
		told := map[string]bool{}
		for e := range a.cfg.Runtime.Exits(ctx) {
			if ch := gone[e.ID]; ch != nil && !told[e.ID] {
				told[e.ID] = true
				close(ch)
			}
		}
	})
	errs := make([]error, len(list))
	for i, c := range list {
		if c.Running {
			stops.Go(func() { errs[i] = a.stopContainer(ctx, c, gone[c.ID]) })
		}
	}
	stops.Wait()
	cancel()
	listener.Wait()
	return errors.Join(errs...)
}

// stopContainer ends one container and removes it with what it had on the node.
func (a *Agent) stopContainer(ctx context.Context, c ContainerState, gone <-chan struct{}) error {
	signal, grace := c.Labels[labelSignal], api.DefaultStopGrace.Std()
	if signal == "" {
		signal = "SIGTERM"
	}
	if d, err := time.ParseDuration(c.Labels[labelGrace]); err == nil {
		grace = d
	}
	for _, step := range []struct {
		signal string
		wait   time.Duration
	}{{signal, grace}, {"SIGKILL", killTime}} {
		sending, cancel := context.WithTimeout(ctx, signalTime)
		err := a.cfg.Runtime.Signal(sending, c.ID, step.signal)
		cancel()
		if err != nil {
			a.log.Warn("send stop signal", "task", c.ID, "signal", step.signal, "error", err)
		}
		if err != nil && step.signal == "SIGKILL" || await(ctx, gone, step.wait) {
			break // the removal ends what cannot be signalled
		}
	}
	if err := a.cfg.Runtime.Remove(ctx, c.ID); err != nil {
		return fmt.Errorf("remove container of task %s: %w", c.ID, err)
	}
	if err := a.cfg.Network.Detach(ctx, c.ID); err != nil {
		return fmt.Errorf("detach network of task %s: %w", c.ID, err)
	}
	if err := a.files.remove(c.ID); err != nil {
		return fmt.Errorf("remove files of task %s: %w", c.ID, err)
	}
	return nil
}

// await waits until ch is closed; false when d passes or ctx ends before.
func await(ctx context.Context, ch <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// labels gives the labels of a task's container.
func (t *task) labels(spec api.ServiceSpec) map[string]string {
	return map[string]string{
		labelApp: t.task.App, labelEnv: t.task.Env, labelService: t.task.Service,
		labelSlot: fmt.Sprint(t.task.Slot), labelRelease: fmt.Sprint(t.task.Release),
		labelSignal: stopSignal(spec), labelGrace: spec.StopGrace.String(),
		labelVolumes: strings.Join(t.volumes, ","),
	}
}
