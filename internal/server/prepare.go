package server

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/schedule"
	"github.com/ikada/ikada/internal/store"
)

// lookups is how many images are looked up at once.
const lookups = 4

// prepared is a request's spec as a release keeps it, but for the secrets that came with their values: they are sealed
// in the transaction that writes them.
type prepared struct {
	spec   api.AppSpec
	values map[string][]byte // by secret
}

// prepare checks a spec and completes it: defaults, pinned images, their health checks.
// It writes nothing and leaves the request's own spec as it is.
func (s *Server) prepare(ctx context.Context, ref api.EnvRef, given api.AppSpec) (prepared, error) {
	return s.prepareWith(ctx, s.deps.Images, ref, given)
}

// prepareWith is prepare by other images than the server's own.
func (s *Server) prepareWith(ctx context.Context, images Images, ref api.EnvRef, given api.AppSpec) (prepared, error) {
	for _, f := range []struct{ field, value, path string }{{"spec.app", given.App, ref.App}, {"spec.env", given.Env, ref.Env}} {
		if f.value != f.path {
			return prepared{}, api.FieldError(f.field, f.value, fmt.Sprintf("%q, as in the request's path", f.path))
		}
	}
	if err := given.Validate(); err != nil {
		return prepared{}, underSpec(err)
	}
	if err := checkSchedules(&given); err != nil {
		return prepared{}, underSpec(err)
	}
	if err := s.checkQueries(&given); err != nil {
		return prepared{}, underSpec(err)
	}
	p := prepared{spec: given}
	p.spec.Services = maps.Clone(given.Services)
	if err := pin(ctx, images, p.spec.Services); err != nil {
		return prepared{}, err
	}
	if err := checkRoutes(p.spec.Services); err != nil {
		return prepared{}, err
	}
	for name, svc := range p.spec.Services {
		p.spec.Services[name] = svc.WithDefaults()
	}
	p.spec.Secrets, p.values = maps.Clone(given.Secrets), map[string][]byte{}
	for name, secret := range given.Secrets {
		switch {
		case secret.External:
			secret.Version = "" // the environment's, as of the release
			p.spec.Secrets[name] = secret
		case secret.Value != nil:
			p.values[name] = secret.Value
			p.spec.Secrets[name] = api.SecretSpec{}
		}
	}
	return p, nil
}

// checkSchedules refuses schedules that cannot be read, or are never due.
func checkSchedules(spec *api.AppSpec) error {
	for _, service := range slices.Sorted(maps.Keys(spec.Services)) {
		crons := spec.Services[service].Cron
		for _, name := range slices.Sorted(maps.Keys(crons)) {
			if _, err := schedule.Parse("services."+service+".cron."+name, crons[name].Schedule, crons[name].Timezone); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkQueries refuses checks whose queries of ikada's own metrics cannot be run.
func (s *Server) checkQueries(spec *api.AppSpec) error {
	if s.deps.Metrics == nil {
		return nil
	}
	lists := map[string][]api.ReleaseCheck{"": spec.Checks}
	for name, svc := range spec.Services {
		lists["services."+name+"."] = svc.Checks
	}
	for _, at := range slices.Sorted(maps.Keys(lists)) {
		for i, c := range lists[at] {
			if c.PromQL == nil || c.PromQL.Prometheus != "" {
				continue
			}
			filled := api.FillCheck(c.PromQL.Query, c.Values(api.EnvRef{App: spec.App, Env: spec.Env}, 1))
			if err := s.deps.Metrics.CheckQuery(filled); err != nil {
				return &api.Error{Kind: api.Invalid, Field: fmt.Sprintf("%schecks[%d].promql", at, i), Value: c.PromQL.Query, Message: err.Error()}
			}
		}
	}
	return nil
}

// underSpec names a spec's field as a field of the request.
func underSpec(err error) error {
	e := errorOf(err)
	if e.Field == "" {
		return e
	}
	c := *e
	c.Field = "spec." + c.Field
	return &c
}

// pin resolves every service's image to a digest, and takes the image's health check, port and stop signal where
// the service has none.
func pin(ctx context.Context, images Images, services map[string]api.ServiceSpec) error {
	if images == nil {
		return missing("way to look up images")
	}
	names := slices.Sorted(maps.Keys(services))
	done := make([]api.ServiceSpec, len(names))
	failed := make([]error, len(names))
	var group errgroup.Group
	group.SetLimit(lookups)
	for i, name := range names {
		svc := services[name]
		group.Go(func() error {
			done[i], failed[i] = pinService(ctx, images, svc)
			return nil
		})
	}
	_ = group.Wait() // errors stand in failed, so that the first by name is told, not the first by time
	for i, name := range names {
		if failed[i] != nil {
			e := errorOf(failed[i])
			return &api.Error{Kind: e.Kind, Field: "spec.services." + name + ".image", Value: services[name].Image, Message: e.Error()}
		}
		services[name] = done[i]
	}
	return nil
}

func pinService(ctx context.Context, images Images, svc api.ServiceSpec) (api.ServiceSpec, error) {
	pinned, err := images.Resolve(ctx, svc.Image, svc.Pull)
	if err != nil {
		return svc, err
	}
	svc.Image = pinned
	if svc.Health != nil && svc.StopSignal != "" && !lacksPort(svc) {
		return svc, nil
	}
	config, err := images.Config(ctx, pinned)
	if err != nil {
		return svc, err
	}
	if svc.Health == nil {
		svc.Health = config.Health
	}
	svc.StopSignal = cmp.Or(svc.StopSignal, config.StopSignal)
	if lacksPort(svc) {
		svc.Routes = slices.Clone(svc.Routes)
		for i := range svc.Routes {
			svc.Routes[i].Port = impliedPort(config.Expose, svc.Health)
		}
	}
	return svc, nil
}

// impliedPort gives the port that a service without one is likely to listen on: the first that its image exposes, else
// the one that it is checked at; 0 for none.
func impliedPort(exposed []uint16, check *api.HealthSpec) uint16 {
	switch {
	case len(exposed) > 0:
		return exposed[0]
	case check == nil:
	case check.HTTP != nil:
		return check.HTTP.Port
	case check.TCP != nil:
		return check.TCP.Port
	}
	return 0
}

// lacksPort tells whether nothing in the spec says to which port of the container a route goes.
func lacksPort(svc api.ServiceSpec) bool { return len(svc.Routes) > 0 && svc.FirstPort() == 0 }

// checkRoutes refuses routes that lead to no port.
func checkRoutes(services map[string]api.ServiceSpec) error {
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if lacksPort(services[name]) {
			return api.FieldError("spec.services."+name+".routes[0].port", "",
				"the container's port: neither the service, EXPOSE of its image nor its health check names one")
		}
	}
	return nil
}

// seal gives the prepared spec with a version for each secret's value, and the sealed values that are to be written. A
// value that the newest release has keeps its version there, also when the key has been changed since.
func (s *Server) seal(tx store.Tx, ref api.EnvRef, p *prepared, newest *api.Release) (api.AppSpec, []api.SealedSecret, error) {
	spec := p.spec
	spec.Secrets = maps.Clone(spec.Secrets)
	var fresh []api.SealedSecret
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		version := ""
		if newest != nil {
			version = newest.Spec.Secrets[name].Version
		}
		same, err := s.holds(tx, ref, version, p.values[name])
		if err != nil {
			return spec, nil, err
		}
		if !same {
			sealed := s.key.SealSecret(ref, name, p.values[name], s.now())
			fresh = append(fresh, sealed)
			version = sealed.Version
		}
		spec.Secrets[name] = api.SecretSpec{Version: version}
	}
	return spec, fresh, nil
}

// holds tells whether a kept version has the value.
func (s *Server) holds(tx store.Tx, ref api.EnvRef, version string, value []byte) (bool, error) {
	if version == "" {
		return false, nil
	}
	sealed, err := store.Find[api.SealedSecret](tx, store.SecretKey(ref, version))
	if err != nil || sealed == nil {
		return false, err
	}
	kept, err := s.key.OpenSecret(*sealed)
	return err == nil && subtle.ConstantTimeCompare(kept, value) == 1, nil // what cannot be opened is sealed anew
}

// storeSecrets writes sealed values that are not there yet, and checks that all other versions of a spec are.
func storeSecrets(tx store.Tx, ref api.EnvRef, spec *api.AppSpec, sealed []api.SealedSecret) error {
	for _, secret := range sealed {
		key := store.SecretKey(ref, secret.Version)
		if _, there, err := tx.Get(key); err != nil {
			return err
		} else if there {
			continue
		}
		if err := store.Put(tx, key, secret); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Secrets)) {
		version := spec.Secrets[name].Version
		if _, there, err := tx.Get(store.SecretKey(ref, version)); err != nil {
			return err
		} else if !there {
			return api.FieldError("spec.secrets."+name+".version", version, "a version that "+ref.String()+" keeps, or a value")
		}
	}
	return nil
}

// updateSealed is Store.Update for a transaction that seals something: while one runs, the key is not changed under it.
func (s *Server) updateSealed(ctx context.Context, fn func(tx store.Tx) error) error {
	s.sealing.RLock()
	defer s.sealing.RUnlock()
	_, err := s.store.Update(ctx, fn)
	return err
}
