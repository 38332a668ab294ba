//go:build linux

package main

import (
	"context"
	"sync"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/log"

	"github.com/ikada/ikada/internal/runtime/shimexit"
)

// closeWait is how long an ending shim goes on trying to tell what it has not told yet.
const closeWait = 2 * time.Second

// recorder is a publisher that writes the end of a container down at once, and then tells containerd of it, in order,
// without holding anybody up while containerd does not answer.
type recorder struct {
	next       shim.Publisher
	containers *containers

	mu     sync.Mutex
	queue  []announcement
	wake   chan struct{}
	closed bool
	done   chan struct{}
}

type announcement struct {
	ctx   context.Context
	topic string
	event events.Event
}

func newRecorder(next shim.Publisher, cs *containers) *recorder {
	r := &recorder{next: next, containers: cs, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go r.run()
	return r
}

// Publish records ends and queues the event. It does not block on containerd. The end of a process that was never told
// to begin is nobody's: it was made by an attempt that was given up, and the container may be made again.
func (r *recorder) Publish(ctx context.Context, topic string, event events.Event) error {
	a := announcement{ctx: context.WithoutCancel(ctx), topic: topic, event: event}
	switch e := event.(type) {
	case *eventtypes.TaskOOM:
		if c := r.containers.get(e.ContainerID); c != nil && c.output != nil {
			c.output.noteOOM()
		}
	case *eventtypes.TaskExit:
		if c := r.containers.get(e.ContainerID); c != nil && e.ID == e.ContainerID {
			if !c.ends(e) {
				return nil
			}
			r.record(ctx, e, c.output)
		}
	}
	r.mu.Lock()
	if !r.closed {
		r.queue = append(r.queue, a)
	}
	r.mu.Unlock()
	r.poke()
	return nil
}

func (r *recorder) record(ctx context.Context, e *eventtypes.TaskExit, o *output) {
	if o == nil || o.to.ExitDir == "" {
		return
	}
	o.drained(drainWait) // whoever learns of the end finds the whole log
	err := shimexit.Write(o.to.ExitDir, shimexit.Record{
		ID:   e.ContainerID,
		Code: int(e.ExitStatus),
		OOM:  o.killedForMemory(),
		At:   protobuf.FromTimestamp(e.ExitedAt),
	})
	if err != nil {
		log.G(ctx).WithError(err).WithField("id", e.ContainerID).Error("record exit")
	}
}

// Close stops taking events and waits a while until those taken are told.
func (r *recorder) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.poke()
	t := time.NewTimer(closeWait)
	defer t.Stop()
	select {
	case <-r.done:
	case <-t.C:
	}
	return r.next.Close()
}

func (r *recorder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run tells containerd, one event after another. An event that cannot be told is tried again by the publisher itself.
func (r *recorder) run() {
	defer close(r.done)
	for {
		r.mu.Lock()
		batch, closed := r.queue, r.closed
		r.queue = nil
		r.mu.Unlock()
		for _, a := range batch {
			if err := r.next.Publish(a.ctx, a.topic, a.event); err != nil {
				log.G(a.ctx).WithError(err).WithField("topic", a.topic).Warn("publish event")
			}
		}
		if len(batch) > 0 {
			continue
		}
		if closed {
			return
		}
		<-r.wake
	}
}
