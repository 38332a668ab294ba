package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type scaleInput struct {
	EnvPath
	Body api.ScaleRequest
}

type destroyInput struct {
	EnvPath
	Volumes bool `query:"volumes" doc:"Remove its named volumes too"`
}

// byRelease is the number that gives a service's replicas back to its release.
const byRelease = -1

// scale sets replicas by hand.
func (s *Server) scale(ctx context.Context, in *scaleInput) (api.Environment, error) {
	if len(in.Body) == 0 {
		return api.Environment{}, api.FieldError("body", "", `services and their replicas, such as {"web": 3}`)
	}
	if err := checkScale(in.Body, byRelease); err != nil {
		return api.Environment{}, err
	}
	names := slices.Sorted(maps.Keys(in.Body))
	return s.change(ctx, in.ref(), func(tx store.Tx, env *api.Environment, by string) error {
		specs, err := specsInForce(tx, env)
		if err != nil {
			return err
		}
		if len(specs) == 0 {
			return api.Errorf(api.Conflict, "environment %s has no release yet; deploy one first", env.EnvRef)
		}
		scale := maps.Clone(env.Scale)
		if scale == nil {
			scale = map[string]int{}
		}
		for _, name := range names {
			if !slices.ContainsFunc(specs, func(spec *api.AppSpec) bool { _, ok := spec.Services[name]; return ok }) {
				return unknownService(name, name, specs[0])
			}
			n := in.Body[name]
			message := fmt.Sprintf("%s was scaled to %d by %s", name, n, by)
			if n == byRelease {
				delete(scale, name)
				message = fmt.Sprintf("%s was given back the replicas of its release by %s", name, by)
			} else {
				scale[name] = n
			}
			err := store.AddEvent(tx, api.Event{EnvRef: env.EnvRef, Service: name, Type: "service.scaled", Message: message})
			if err != nil {
				return err
			}
		}
		env.Scale = scale
		return nil
	})
}

// checkScale tells whether services may have so many replicas.
func checkScale(scale api.ScaleRequest, least int) error {
	for _, name := range slices.Sorted(maps.Keys(scale)) {
		if name == "" {
			return api.FieldError("body", `""`, "a service's name for each number")
		}
		if n := scale[name]; n < least || n > api.MaxReplicas {
			expected := fmt.Sprintf("0 to %d", api.MaxReplicas)
			if least < 0 {
				expected += fmt.Sprintf(", or %d for what the release says", byRelease)
			}
			return api.FieldError(name, strconv.Itoa(n), expected)
		}
	}
	return nil
}

// specsInForce gives the spec of the committed release and of those that deployments are bringing.
func specsInForce(tx store.Tx, env *api.Environment) ([]*api.AppSpec, error) {
	open, err := unfinished(tx, env.EnvRef)
	if err != nil {
		return nil, err
	}
	numbers := []uint64{env.Release}
	for _, d := range open {
		numbers = append(numbers, d.To)
	}
	var specs []*api.AppSpec
	for _, n := range numbers {
		r, err := store.Find[api.Release](tx, store.ReleaseKey(env.EnvRef, n))
		if err != nil {
			return nil, err
		}
		if r != nil {
			specs = append(specs, &r.Spec)
		}
	}
	return specs, nil
}

// down stops every task, and cancels what is being deployed.
func (s *Server) down(ctx context.Context, in *EnvPath) (api.Environment, error) {
	return s.change(ctx, in.ref(), func(tx store.Tx, env *api.Environment, by string) error {
		if env.Stopped {
			return nil
		}
		env.Stopped = true
		if err := s.cancelOpen(tx, env.EnvRef, "cancelled: the environment was taken down by "+by); err != nil {
			return err
		}
		return store.AddEvent(tx, api.Event{EnvRef: env.EnvRef, Type: "environment.down",
			Message: fmt.Sprintf("environment %s was taken down by %s", env.EnvRef, by)})
	})
}

// up starts the committed release of a stopped environment again, if what it publishes is still free.
func (s *Server) up(ctx context.Context, in *EnvPath) (api.Environment, error) {
	return s.change(ctx, in.ref(), func(tx store.Tx, env *api.Environment, by string) error {
		if !env.Stopped {
			return nil
		}
		if env.Release == 0 {
			return api.Errorf(api.Conflict, "environment %s has no committed release to start; deploy one first", env.EnvRef)
		}
		r, err := store.Get[api.Release](tx, store.ReleaseKey(env.EnvRef, env.Release))
		if err != nil {
			return err
		}
		if err := refuseClaimed(tx, &r.Spec); err != nil {
			return err
		}
		env.Stopped = false
		return store.AddEvent(tx, api.Event{EnvRef: env.EnvRef, Type: "environment.up",
			Message: fmt.Sprintf("environment %s was started again by %s", env.EnvRef, by)})
	})
}

// destroy marks an environment: the control loop removes it once its last task is gone.
func (s *Server) destroy(ctx context.Context, in *destroyInput) (env api.Environment, err error) {
	by := callerOf(ctx).Name
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		if err := s.passLock(ctx, tx, in.ref()); err != nil {
			return err
		}
		found, err := loadEnvironment(tx, in.ref())
		if err != nil {
			return err
		}
		env = *found
		if env.Destroying && (env.DropVolumes || !in.Volumes) {
			return nil
		}
		env.Destroying = true
		if err := s.dropLock(tx, env.EnvRef); err != nil {
			return err
		}
		env.DropVolumes = env.DropVolumes || in.Volumes
		if err := s.cancelOpen(tx, env.EnvRef, "cancelled: the environment is being destroyed by "+by); err != nil {
			return err
		}
		if err := store.Put(tx, store.EnvironmentKey(env.EnvRef), env); err != nil {
			return err
		}
		what := "environment " + env.EnvRef.String()
		if env.DropVolumes {
			what += " with its volumes"
		}
		return store.AddEvent(tx, api.Event{EnvRef: env.EnvRef, Type: "environment.destroying", Level: api.LevelWarn,
			Message: what + " is being destroyed by " + by})
	})
	return env, err
}

// change runs fn on an environment that may be changed, writes it and gives it as it is then.
func (s *Server) change(ctx context.Context, ref api.EnvRef, fn func(tx store.Tx, env *api.Environment, by string) error) (out api.Environment, err error) {
	by := callerOf(ctx).Name
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		env, err := s.changeable(ctx, tx, ref)
		if err != nil {
			return err
		}
		if err := fn(tx, env, by); err != nil {
			return err
		}
		out = *env
		return store.Put(tx, store.EnvironmentKey(ref), env)
	})
	if err != nil {
		return api.Environment{}, err
	}
	return out, nil
}
