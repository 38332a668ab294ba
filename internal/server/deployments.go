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

// watchDeployment sends the deployment as it is, then at every change, until it has ended.
func (s *Server) watchDeployment(ctx context.Context, in *numberInput) (sendFunc, error) {
	d, rev, err := s.loadDeployment(ctx, in)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, send func(string, any) error) error {
		for {
			if err := send("", d); err != nil || d.State.Final() {
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
				if next.State.Final() {
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
			if d, rev, err = s.loadDeployment(ctx, in); err != nil {
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

// cancel ends a deployment that is queued and marks one that runs.
func cancel(d *api.Deployment, reason string, s *Server) {
	d.Reason = reason
	if d.State == api.DeployQueued {
		d.State, d.EndedAt = api.DeployCancelled, s.now()
		return
	}
	d.Cancel = true
}
