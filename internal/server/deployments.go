package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type numberInput struct {
	EnvPath
	Number uint64 `path:"number" minimum:"1"`
}

func (s *Server) listDeployments(ctx context.Context, in *EnvPath) ([]api.Deployment, error) {
	return listNumbered[api.Deployment](ctx, s, in.ref(), store.DeploymentsOf(in.ref()))
}

func (s *Server) listReleases(ctx context.Context, in *EnvPath) ([]api.Release, error) {
	return listNumbered[api.Release](ctx, s, in.ref(), store.ReleasesOf(in.ref()))
}

// listNumbered gives what an environment numbers, the newest first.
func listNumbered[T any](ctx context.Context, s *Server, ref api.EnvRef, prefix string) ([]T, error) {
	var out []T
	_, err := s.store.View(ctx, func(tx store.Tx) error {
		if _, err := loadEnvironment(tx, ref); err != nil {
			return err
		}
		found, err := store.List[T](tx, prefix)
		out = values(found)
		return err
	})
	slices.Reverse(out)
	return out, err
}

func (s *Server) getDeployment(ctx context.Context, in *numberInput) (api.Deployment, error) {
	d, _, err := s.loadDeployment(ctx, in)
	return d, err
}

func (s *Server) loadDeployment(ctx context.Context, in *numberInput) (d api.Deployment, rev int64, err error) {
	rev, err = s.store.View(ctx, func(tx store.Tx) error {
		found, err := store.Get[api.Deployment](tx, store.DeploymentKey(in.ref(), in.Number))
		if err == nil {
			d = *found
		}
		return err
	})
	return d, rev, err
}

func (s *Server) getRelease(ctx context.Context, in *numberInput) (r api.Release, err error) {
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		found, err := store.Get[api.Release](tx, store.ReleaseKey(in.ref(), in.Number))
		if err == nil {
			r = *found
		}
		return err
	})
	return r, err
}

type watchInput struct {
	EnvPath
	Number uint64 `path:"number" minimum:"1"`
	Until  string `query:"until" enum:"deployment,trial" doc:"What ends the stream: the deployment's end, or that of its trial behind it where it has one"`
}

// over tells whether there is nothing more to come of what is watched.
func (in *watchInput) over(d *api.Deployment) bool {
	return d.State.Final() && (in.Until != api.UntilTrial || d.Trial != api.TrialOn)
}

// watchDeployment sends the deployment as it is, then at every change, until it has ended, or its trial has.
func (s *Server) watchDeployment(ctx context.Context, in *watchInput) (sendFunc, error) {
	of := &numberInput{EnvPath: in.EnvPath, Number: in.Number}
	d, rev, err := s.loadDeployment(ctx, of)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, send func(string, any) error) error {
		for {
			if err := send("", d); err != nil || in.over(&d) {
				return err
			}
			key := store.DeploymentKey(in.ref(), in.Number)
			err := s.watch(ctx, key, rev, func(c store.Change) error {
				if c.Deleted {
					return api.Errorf(api.NotFound, "%s was removed", store.Describe(key))
				}
				next, err := decodeEntry[api.Deployment](c.Entry)
				if err != nil {
					return err
				}
				if in.over(next) {
					d = *next
					return errEnded
				}
				return send("", next)
			})
			switch {
			case errors.Is(err, errEnded):
				return send("", d)
			case !errors.Is(err, errWatchBroke):
				return err
			}
			if d, rev, err = s.loadDeployment(ctx, of); err != nil {
				return err
			}
		}
	}, nil
}

// cancelDeployment ends a queued deployment, and asks the control loop to turn a running one back.
func (s *Server) cancelDeployment(ctx context.Context, in *numberInput) (d api.Deployment, err error) {
	by := callerOf(ctx).Name
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		key := store.DeploymentKey(in.ref(), in.Number)
		found, err := store.Get[api.Deployment](tx, key)
		if err != nil {
			return err
		}
		d = *found
		switch {
		case d.State.Final():
			return api.Errorf(api.Conflict, "deployment %d of %s has ended already: it is %s", d.Number, d.EnvRef, d.State)
		case d.Cancel:
			return nil
		case d.Backwards: // by what it has met, which is to stand as its reason
			return isBackwards(&d)
		case d.CreatedBy != by:
			if err := s.passLock(ctx, tx, d.EnvRef); err != nil {
				return err
			}
		}
		cancel(&d, "cancelled by "+by, s)
		if err := store.Put(tx, key, d); err != nil {
			return err
		}
		kind := "deployment.cancelled"
		if !d.State.Final() {
			kind = "deployment.cancelling" // the control loop turns it back, and says when that is done
		}
		return store.AddEvent(tx, api.Event{EnvRef: d.EnvRef, Type: kind, Deployment: d.Number, Level: api.LevelWarn,
			Message: fmt.Sprintf("deployment %d to release %d was cancelled by %s", d.Number, d.To, by)})
	})
	return d, err
}

// pauseDeployment has a running deployment stay where it is until it is resumed.
func (s *Server) pauseDeployment(ctx context.Context, in *numberInput) (api.Deployment, error) {
	return s.steer(ctx, in, "paused", func(d *api.Deployment) bool {
		if d.Paused() {
			return false
		}
		d.PausedAt = s.now()
		return true
	})
}

// resumeDeployment has a deployment go on that is paused, or stands at a step that holds.
func (s *Server) resumeDeployment(ctx context.Context, in *numberInput) (api.Deployment, error) {
	return s.steer(ctx, in, "resumed", func(d *api.Deployment) bool {
		held := slices.ContainsFunc(d.Rollouts, func(r api.Rollout) bool { return r.State == api.RolloutPaused })
		if !d.Paused() && !held {
			return false
		}
		d.ResumedAt = s.now()
		return true
	})
}

// steer changes a running deployment; fn tells whether there was anything to change.
func (s *Server) steer(ctx context.Context, in *numberInput, what string, fn func(*api.Deployment) bool) (d api.Deployment, err error) {
	by := callerOf(ctx).Name
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		key := store.DeploymentKey(in.ref(), in.Number)
		found, err := store.Get[api.Deployment](tx, key)
		if err != nil {
			return err
		}
		d = *found
		switch {
		case d.State != api.DeployRunning:
			return api.Errorf(api.Conflict, "deployment %d of %s does not run: it is %s", d.Number, d.EnvRef, d.State)
		case d.Backwards:
			return isBackwards(&d)
		case !fn(&d):
			return nil
		case d.CreatedBy != by:
			if err := s.passLock(ctx, tx, d.EnvRef); err != nil {
				return err
			}
		}
		if err := store.Put(tx, key, d); err != nil {
			return err
		}
		return store.AddEvent(tx, api.Event{EnvRef: d.EnvRef, Type: "deployment." + what,
			Message: fmt.Sprintf("deployment %d to release %d was %s by %s", d.Number, d.To, what, by)})
	})
	return d, err
}

// isBackwards is the error of what comes too late for a deployment that is being taken back.
func isBackwards(d *api.Deployment) error {
	return api.Errorf(api.Conflict, "deployment %d of %s is on its way back already: %s", d.Number, d.EnvRef, d.Reason)
}

// cancel ends a deployment that is queued and marks one that runs.
func cancel(d *api.Deployment, reason string, s *Server) {
	d.Reason = reason
	if d.State == api.DeployQueued {
		d.State, d.EndedAt = api.DeployCancelled, s.now()
		return
	}
	d.Cancel = true
}
