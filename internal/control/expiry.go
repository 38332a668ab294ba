package control

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/store"
)

// expiryLook bounds how long a time of destruction is trusted to a timer: clocks are set, machines sleep.
const expiryLook = time.Hour

// expire destroys an environment whose time has come, with its volumes, and tells of it some time before. It gives when
// to look again; zero for an environment that stays. errStale tells that it changed the environment.
func (l *Loop) expire(ctx context.Context, w deploy.World) (time.Time, error) {
	e := &w.Env
	if e.ExpiresAt.IsZero() || e.Destroying {
		return time.Time{}, nil
	}
	next := e.ExpiresAt
	if warns := e.WarnsAt(); !e.Warned && warns.Before(next) {
		next = warns
	}
	if w.Now.Before(next) {
		return earlier(next, w.Now.Add(expiryLook)), nil
	}
	rev, err := l.fence.Update(ctx, func(tx store.Tx) error {
		env, err := store.Find[api.Environment](tx, store.EnvironmentKey(e.EnvRef))
		if err != nil {
			return err
		}
		if env == nil || !reflect.DeepEqual(env, e) {
			return errStale
		}
		if w.Now.Before(e.ExpiresAt) {
			return warn(tx, env, w.Now)
		}
		return end(tx, env, w.Now)
	})
	if err != nil {
		return time.Time{}, err
	}
	if err := l.cfg.Mirror.Wait(ctx, rev); err != nil {
		return time.Time{}, err
	}
	return time.Time{}, errStale // the plan was to be made of what is no more
}

func warn(tx store.Tx, env *api.Environment, now time.Time) error {
	env.Warned = true
	if err := store.Put(tx, store.EnvironmentKey(env.EnvRef), env); err != nil {
		return err
	}
	left := env.ExpiresAt.Sub(now).Round(time.Second)
	return store.AddEvent(tx, api.Event{EnvRef: env.EnvRef, Type: "environment.expiring", Level: api.LevelWarn, Time: now,
		Message: fmt.Sprintf("environment %s is destroyed with its volumes in %s, at %s; `ikada env ttl %s TTL -a %s` lets it stay longer",
			env.EnvRef, left, env.ExpiresAt.Format(time.RFC3339), env.Env, env.App)})
}

// end marks the environment as a user's destroy does, and cancels what is being deployed.
func end(tx store.Tx, env *api.Environment, now time.Time) error {
	env.Destroying, env.DropVolumes = true, true
	if err := store.Put(tx, store.EnvironmentKey(env.EnvRef), env); err != nil {
		return err
	}
	all, err := store.List[api.Deployment](tx, store.DeploymentsOf(env.EnvRef))
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.State.Final() || d.Cancel || d.Backwards {
			continue
		}
		d.Reason = "cancelled: the environment's time is over"
		if d.State == api.DeployQueued {
			d.State, d.EndedAt = api.DeployCancelled, now
		} else {
			d.Cancel = true
		}
		if err := store.Put(tx, store.DeploymentKey(env.EnvRef, d.Number), d); err != nil {
			return err
		}
	}
	return store.AddEvent(tx, api.Event{EnvRef: env.EnvRef, Type: "environment.expired", Level: api.LevelWarn, Time: now,
		Message: fmt.Sprintf("environment %s is being destroyed with its volumes: its time of %s is over", env.EnvRef, env.TTL)})
}

// earlier gives the earlier of two times, where zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
