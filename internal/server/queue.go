package server

import (
	"context"
	"fmt"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// loadEnvironment gives an environment that exists and is not about to go.
func loadEnvironment(tx store.Tx, ref api.EnvRef) (*api.Environment, error) {
	return store.Get[api.Environment](tx, store.EnvironmentKey(ref))
}

// changeable gives an environment that the caller may change now: it is not locked by another, nor about to go.
func (s *Server) changeable(ctx context.Context, tx store.Tx, ref api.EnvRef) (*api.Environment, error) {
	if err := s.passLock(ctx, tx, ref); err != nil {
		return nil, err
	}
	env, err := loadEnvironment(tx, ref)
	if err == nil && env.Destroying {
		return nil, api.Errorf(api.Conflict, "environment %s is being destroyed; wait until it is gone", ref)
	}
	return env, err
}

// unfinished gives an environment's deployments that have not ended, by number.
func unfinished(tx store.Tx, ref api.EnvRef) ([]*api.Deployment, error) {
	all, err := store.List[api.Deployment](tx, store.DeploymentsOf(ref))
	var open []*api.Deployment
	for _, d := range all {
		if !d.State.Final() {
			open = append(open, d)
		}
	}
	return open, err
}

// enqueue writes a deployment to a release behind the one that runs, in place of those that wait: the newest wins.
// It gives env its number and writes it too.
func (s *Server) enqueue(tx store.Tx, env *api.Environment, kind string, to uint64, by string) (*api.Deployment, error) {
	env.LastDeployment++
	d := &api.Deployment{
		EnvRef: env.EnvRef, Number: env.LastDeployment, Kind: kind, From: env.Release, To: to,
		State: api.DeployQueued, CreatedAt: s.now(), CreatedBy: by,
	}
	open, err := unfinished(tx, env.EnvRef)
	if err != nil {
		return nil, err
	}
	for _, old := range open {
		if old.State != api.DeployQueued {
			continue
		}
		old.State, old.EndedAt = api.DeploySuperseded, s.now()
		old.Reason = fmt.Sprintf("superseded by deployment %d to release %d, which %s asked for", d.Number, to, by)
		if err := store.Put(tx, store.DeploymentKey(env.EnvRef, old.Number), old); err != nil {
			return nil, err
		}
		err := store.AddEvent(tx, api.Event{EnvRef: env.EnvRef, Type: "deployment.superseded", Deployment: old.Number,
			Message: fmt.Sprintf("deployment %d to release %d was %s", old.Number, old.To, old.Reason)})
		if err != nil {
			return nil, err
		}
	}
	env.Stopped = false
	if err := store.Put(tx, store.EnvironmentKey(env.EnvRef), env); err != nil {
		return nil, err
	}
	if err := store.Put(tx, store.DeploymentKey(env.EnvRef, d.Number), d); err != nil {
		return nil, err
	}
	verb := "deployment"
	if kind == api.KindRollback {
		verb = "rollback"
	}
	return d, store.AddEvent(tx, api.Event{EnvRef: env.EnvRef, Type: "deployment.queued", Deployment: d.Number,
		Message: fmt.Sprintf("%s %d to release %d was queued by %s", verb, d.Number, to, by)})
}

// cancelOpen cancels every deployment of an environment that has not ended. One that is on its way back already keeps the
// reason that it has for that.
func (s *Server) cancelOpen(tx store.Tx, ref api.EnvRef, reason string) error {
	open, err := unfinished(tx, ref)
	if err != nil {
		return err
	}
	for _, d := range open {
		if d.Cancel || d.Backwards {
			continue
		}
		cancel(d, reason, s)
		if err := store.Put(tx, store.DeploymentKey(ref, d.Number), d); err != nil {
			return err
		}
	}
	return nil
}
