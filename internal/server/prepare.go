package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// lookups is how many images are looked up at once.
const lookups = 4

// prepared is a request's spec as a release keeps it, with the secrets to be written beside it.
type prepared struct {
	spec    api.AppSpec
	secrets []api.SealedSecret
}

// prepare checks a spec and completes it: defaults, pinned images, their health checks, versions for secret values.
// It writes nothing and leaves the request's own spec as it is.
func (s *Server) prepare(ctx context.Context, ref api.EnvRef, given api.AppSpec) (prepared, error) {
	for _, f := range []struct{ field, value, path string }{{"spec.app", given.App, ref.App}, {"spec.env", given.Env, ref.Env}} {
		if f.value != f.path {
			return prepared{}, api.FieldError(f.field, f.value, fmt.Sprintf("%q, as in the request's path", f.path))
		}
	}
	if err := given.Validate(); err != nil {
		return prepared{}, underSpec(err)
	}
	p := prepared{spec: given}
	p.spec.Services = maps.Clone(given.Services)
	if err := s.pin(ctx, p.spec.Services); err != nil {
		return prepared{}, err
	}
	if err := checkRoutes(p.spec.Services); err != nil {
		return prepared{}, err
	}
	for name, svc := range p.spec.Services {
		p.spec.Services[name] = svc.WithDefaults()
	}
	p.spec.Secrets = maps.Clone(given.Secrets)
	for _, name := range slices.Sorted(maps.Keys(given.Secrets)) {
		if value := given.Secrets[name].Value; value != nil {
			sealed := s.key.SealSecret(ref, name, value, s.now())
			p.secrets = append(p.secrets, sealed)
			p.spec.Secrets[name] = api.SecretSpec{Version: sealed.Version}
		}
	}
	return p, nil
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
func (s *Server) pin(ctx context.Context, services map[string]api.ServiceSpec) error {
	if s.deps.Images == nil {
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
			done[i], failed[i] = s.pinService(ctx, svc)
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

func (s *Server) pinService(ctx context.Context, svc api.ServiceSpec) (api.ServiceSpec, error) {
	pinned, err := s.deps.Images.Resolve(ctx, svc.Image, svc.Pull)
	if err != nil {
		return svc, err
	}
	svc.Image = pinned
	if svc.Health != nil && svc.StopSignal != "" && !lacksPort(svc) {
		return svc, nil
	}
	config, err := s.deps.Images.Config(ctx, pinned)
	if err != nil {
		return svc, err
	}
	if svc.Health == nil {
		svc.Health = config.Health
	}
	svc.StopSignal = cmp.Or(svc.StopSignal, config.StopSignal)
	if lacksPort(svc) && len(config.Expose) > 0 {
		svc.Routes = slices.Clone(svc.Routes)
		for i := range svc.Routes {
			svc.Routes[i].Port = config.Expose[0]
		}
	}
	return svc, nil
}

// lacksPort tells whether nothing in the spec says to which port of the container a route goes.
func lacksPort(svc api.ServiceSpec) bool { return len(svc.Routes) > 0 && svc.FirstPort() == 0 }

// checkRoutes refuses routes that lead to no port.
func checkRoutes(services map[string]api.ServiceSpec) error {
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if lacksPort(services[name]) {
			return api.FieldError("spec.services."+name+".routes[0].port", "",
				"the container's port: neither the service nor EXPOSE of its image names one")
		}
	}
	return nil
}

// storeSecrets writes the prepared secrets that are not there yet, and checks that those which came as versions are.
func storeSecrets(tx store.Tx, ref api.EnvRef, p prepared) error {
	fresh := map[string]bool{}
	for _, sealed := range p.secrets {
		fresh[sealed.Version] = true
		key := secretKey(ref, sealed.Version)
		if _, there, err := tx.Get(key); err != nil {
			return err
		} else if there {
			continue
		}
		if err := store.Put(tx, key, sealed); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.spec.Secrets)) {
		version := p.spec.Secrets[name].Version
		if fresh[version] {
			continue
		}
		if _, there, err := tx.Get(secretKey(ref, version)); err != nil {
			return err
		} else if !there {
			return api.FieldError("spec.secrets."+name+".version", version, "a version that "+ref.String()+" keeps, or a value")
		}
	}
	return nil
}

func secretKey(ref api.EnvRef, version string) string {
	return store.Secrets + ref.String() + "/" + version
}
