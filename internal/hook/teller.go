package hook

import (
	"context"
	"errors"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/store"
)

// errGone tells that a hook was removed meanwhile.
var errGone = errors.New("the hook was removed")

// teller tells one hook, one message after another.
type teller struct {
	loop   *Loop
	feed   *feed
	hook   kept
	target api.HookTarget
}

// run tells the hook until ctx ends or it is removed.
func (t *teller) run(ctx context.Context) error {
	at := position{t.hook.state.Rev, t.hook.state.Event}
	for {
		n, ok, more := t.feed.after(at)
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-more:
			}
			continue
		}
		at = n.at
		if !t.hook.Wants(n.happening, n.event.EnvRef) {
			continue
		}
		if err := t.tell(ctx, n); err != nil {
			return err
		}
	}
}

// tell sends a message until the hook has taken it, or its time is over. What becomes of each attempt is written down,
// so that nobody begins again from the start.
func (t *teller) tell(ctx context.Context, n news) error {
	s := &t.hook.state
	giveUp := n.event.Time.Add(t.loop.cfg.GiveUp)
	for {
		if wait := time.Until(s.NextAt); wait > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
		}
		if time.Now().After(giveUp) && s.Attempts == 0 {
			return t.done(ctx, n, func() { s.Dropped++; s.Problem = "older than " + t.loop.cfg.GiveUp.String() })
		}
		o, err := t.attempt(ctx, n)
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		s.LastAt = time.Now().UTC()
		if o.problem == "" {
			return t.done(ctx, n, func() { s.Delivered++; s.Problem = "" })
		}
		s.Attempts++
		s.Problem = o.problem
		wait := max(t.loop.cfg.Pause(s.Attempts), o.pause)
		if o.gone || time.Now().Add(wait).After(giveUp) {
			t.loop.cfg.Log.Warn("hook was not told", "hook", t.hook.Name, "event", n.event.ID, "attempts", s.Attempts, "problem", o.problem)
			return t.done(ctx, n, func() { s.Dropped++ })
		}
		if s.Attempts == 1 {
			t.loop.cfg.Log.Warn("hook does not take a message", "hook", t.hook.Name, "event", n.event.ID, "problem", o.problem)
		}
		s.NextAt = time.Now().Add(wait).UTC()
		if err := t.save(ctx); err != nil {
			return err
		}
	}
}

// done writes down that an event is done with.
func (t *teller) done(ctx context.Context, n news, note func()) error {
	note()
	s := &t.hook.state
	s.Rev, s.Event, s.Attempts, s.NextAt = n.at.rev, n.at.id, 0, time.Time{}
	return t.save(ctx)
}

// save writes how far the hook has come, unless it was removed, until the store takes it: an attempt that nobody knows
// of would be made again.
func (t *teller) save(ctx context.Context) error {
	for {
		_, err := t.loop.fence.Update(ctx, func(tx store.Tx) error {
			e, ok, err := tx.Get(store.Hooks + t.hook.Name)
			if err != nil {
				return err
			}
			if !ok || e.Created != t.hook.created {
				return errGone
			}
			return store.Put(tx, store.HookStates+t.hook.Name, t.hook.state)
		})
		if err == nil || errors.Is(err, errGone) || errors.Is(err, leader.ErrDeposed) || ctx.Err() != nil {
			return err
		}
		t.loop.cfg.Log.Warn("hook's progress is not written", "hook", t.hook.Name, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(resyncPause):
		}
	}
}

// attempt sends the message once, with what is known of its deployment by now.
func (t *teller) attempt(ctx context.Context, n news) (outcome, error) {
	e := &n.event
	m := api.HookMessage{ID: e.ID, Hook: t.hook.Name, Time: e.Time, On: n.happening, Cluster: t.loop.cfg.Cluster, EnvRef: e.EnvRef,
		Service: e.Service, Level: e.Level, Message: cut(e.Message)}
	if n.happening == api.HookCrashLoop {
		m.Level = api.LevelError
		m.Message = cut("Tasks of " + e.Service + " fail again and again. The last one: " + e.Message)
	}
	if e.Deployment != 0 {
		var err error
		if m.Deployment, err = t.deployment(ctx, e); err != nil {
			return outcome{problem: "its deployment could not be read"}, nil //nolint:nilerr // tried again like any failure
		}
	}
	if e.Job != "" {
		var err error
		if m.Job, err = t.job(ctx, e); err != nil {
			return outcome{problem: "its job could not be read"}, nil //nolint:nilerr // tried again like any failure
		}
	}
	body, err := encode(t.hook.Format, m)
	if err != nil {
		return outcome{}, err
	}
	return t.loop.cfg.Sender.send(ctx, t.target, m, body), nil
}

// deployment gives what is known of an event's deployment; nil when it is not kept any more.
func (t *teller) deployment(ctx context.Context, e *api.Event) (out *api.HookDeployment, err error) {
	_, err = t.loop.cfg.Store.View(ctx, func(tx store.Tx) error {
		out = nil
		d, err := store.Find[api.Deployment](tx, store.DeploymentKey(e.EnvRef, e.Deployment))
		if err != nil || d == nil {
			return err
		}
		out = &api.HookDeployment{Number: d.Number, Kind: d.Kind, From: d.From, Release: d.To, By: d.CreatedBy, State: d.State,
			Reason: cut(d.Reason), Receipt: d.Receipt, Trial: d.Trial, Verdicts: d.Verdicts, Follow: d.Follow}
		r, err := store.Find[api.Release](tx, store.ReleaseKey(e.EnvRef, d.To))
		if r != nil {
			out.Commit, out.Note = r.Commit, cut(r.Message)
		}
		return err
	})
	return out, err
}

// job gives what is known of an event's job; no more than its name when it is not kept any more, or never was.
func (t *teller) job(ctx context.Context, e *api.Event) (out *api.HookJob, err error) {
	_, err = t.loop.cfg.Store.View(ctx, func(tx store.Tx) error {
		out = &api.HookJob{Service: e.Service, Name: e.Job}
		if e.Task == "" {
			return nil
		}
		j, err := store.Find[api.Job](tx, store.JobKey(e.EnvRef, e.Task))
		if err != nil || j == nil {
			return err
		}
		out.ID, out.Kind, out.Release, out.State, out.Reason, out.ExitCode = j.ID, j.Kind, j.Release, j.State, cut(j.Reason), j.ExitCode
		out.By, out.Due, out.StartedAt, out.EndedAt = j.CreatedBy, j.Due, j.StartedAt, j.EndedAt
		return nil
	})
	return out, err
}
