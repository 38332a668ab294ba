// Package hook tells web hooks what happens: it reads events from the store and sends a signed message for each that
// a hook has asked for, in the order in which they were written, again and again until the hook has taken it.
//
// It runs where the leader is. How far each hook has come stands in the store, so that the next leader, or the same
// after a restart, goes on there; a message may then be sent twice, under one ID. What waits to be sent is bounded by
// the events that the store keeps, and an event is given up some hours after it happened. One hook holds up no other.
// It never changes anything else, and decides nothing. Start at [Loop.Run].
package hook

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/store"
)

// DefaultGiveUp is how long after an event hooks are still told of it.
const DefaultGiveUp = 6 * time.Hour

const resyncPause = time.Second

// Config is what a loop is made of.
type Config struct {
	Store   store.Store
	Sender  *Sender
	Open    func(api.SealedHook) (api.HookTarget, error)
	Cluster string // the node's name, for messages
	Log     *slog.Logger

	GiveUp time.Duration                    // 0 is DefaultGiveUp
	Pause  func(attempts int) time.Duration // before the next attempt; nil is the usual
}

// Loop tells hooks. It serves one time in office.
type Loop struct {
	cfg   Config
	fence leader.Fence
}

// New makes a loop for a time in office.
func New(cfg Config, fence leader.Fence) *Loop {
	if cfg.GiveUp == 0 {
		cfg.GiveUp = DefaultGiveUp
	}
	if cfg.Pause == nil {
		cfg.Pause = pause
	}
	return &Loop{cfg: cfg, fence: fence}
}

// pause grows from a second to a quarter of an hour, and differs a little from hook to hook.
func pause(attempts int) time.Duration {
	d := min(time.Second<<min(attempts*2, 20), maxPause)
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}

// Run tells hooks until ctx ends, and gives nil. It outlives a store that does not answer.
func (l *Loop) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := l.follow(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, leader.ErrDeposed) {
			l.cfg.Log.Warn("hooks start again from a snapshot", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(resyncPause):
		}
	}
	return nil
}

// kept is a hook as the store has it, with the revision of its making: a hook that is made anew is another.
type kept struct {
	api.SealedHook
	created int64
	state   api.HookState
}

// follow reads events and hooks, has each hook told, and keeps both current, until the watch breaks or ctx ends.
func (l *Loop) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	w := &workers{loop: l, feed: newFeed(), running: map[string]context.CancelFunc{}}
	defer w.wg.Wait()
	defer cancel()
	var past []news
	var hooks []kept
	rev, err := l.cfg.Store.View(ctx, func(tx store.Tx) (err error) {
		past, hooks = nil, nil // View may run this again
		entries, err := tx.List(store.Events)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if n, ok := l.newsOf(e); ok {
				past = append(past, n)
			}
		}
		if entries, err = tx.List(store.Hooks); err != nil {
			return err
		}
		for _, e := range entries {
			h, err := readHook(tx, e)
			if err != nil {
				return err
			}
			hooks = append(hooks, h)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.feed.add(past)
	for _, h := range hooks {
		h.state.Rev = min(h.state.Rev, rev) // a store that was restored counts from an earlier one
		w.start(ctx, h)
	}
	for batch := range l.cfg.Store.Watch(ctx, store.Root, rev) {
		if batch.Err != nil {
			return batch.Err
		}
		var fresh []news
		for _, c := range batch.Changes {
			switch {
			case strings.HasPrefix(c.Key, store.Events) && !c.Deleted:
				if n, ok := l.newsOf(c.Entry); ok {
					fresh = append(fresh, n)
				}
			case strings.HasPrefix(c.Key, store.Hooks):
				if err := l.changed(ctx, w, c); err != nil {
					return err
				}
			}
		}
		w.feed.add(fresh)
	}
	return nil
}

// newsOf reads an event; one that cannot be read concerns no hook.
func (l *Loop) newsOf(e store.Entry) (news, bool) {
	n := news{at: position{rev: e.Created}}
	if err := json.Unmarshal(e.Value, &n.event); err != nil {
		l.cfg.Log.Warn("event cannot be read", "key", e.Key, "error", err)
		return n, false
	}
	n.at.id = n.event.ID
	return n, true
}

func readHook(tx store.Tx, e store.Entry) (kept, error) {
	h := kept{created: e.Created}
	if err := json.Unmarshal(e.Value, &h.SealedHook); err != nil {
		return h, api.Errorf(api.Internal, "decode %s: %w", store.Describe(e.Key), err)
	}
	state, err := store.Find[api.HookState](tx, store.HookStates+h.Name)
	if state != nil {
		h.state = *state
	}
	if h.state.Rev < h.created {
		h.state = api.HookState{Rev: h.created} // it is told of what comes after it
	}
	return h, err
}

// changed starts, replaces or ends what tells a hook.
func (l *Loop) changed(ctx context.Context, w *workers, c store.Change) error {
	w.stop(strings.TrimPrefix(c.Key, store.Hooks))
	if c.Deleted {
		return nil
	}
	var h kept
	gone := false
	_, err := l.cfg.Store.View(ctx, func(tx store.Tx) error {
		e, ok, err := tx.Get(c.Key) // as it is by now: later changes come too
		if gone = !ok; err != nil || gone {
			return err
		}
		h, err = readHook(tx, e)
		return err
	})
	if err == nil && !gone {
		w.start(ctx, h)
	}
	return err
}

// workers are what tell the hooks, one each.
type workers struct {
	loop    *Loop
	feed    *feed
	wg      sync.WaitGroup
	running map[string]context.CancelFunc // by hook; used by one goroutine
}

func (w *workers) start(ctx context.Context, h kept) {
	w.stop(h.Name)
	target, err := w.loop.cfg.Open(h.SealedHook)
	if err != nil {
		w.loop.cfg.Log.Error("hook cannot be used", "hook", h.Name, "error", err)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	w.running[h.Name] = cancel
	w.wg.Go(func() {
		defer cancel()
		t := &teller{loop: w.loop, feed: w.feed, hook: h, target: target}
		if err := t.run(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, leader.ErrDeposed) && !errors.Is(err, errGone) {
			w.loop.cfg.Log.Error("hook is not told any more", "hook", h.Name, "error", err)
		}
	})
}

func (w *workers) stop(name string) {
	if cancel := w.running[name]; cancel != nil {
		cancel()
		delete(w.running, name)
	}
}
