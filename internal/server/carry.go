package server

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// carried are the fields of a service that belong to its image: how it is run, stopped and asked whether it is well. A
// promotion ships them with the image; all others are the environment's.
var carried = []struct {
	name string // in Compose's words
	of   func(*api.ServiceSpec) any
	set  func(to, from *api.ServiceSpec)
}{
	{"entrypoint", func(s *api.ServiceSpec) any { return s.Entrypoint }, func(to, from *api.ServiceSpec) { to.Entrypoint = from.Entrypoint }},
	{"command", func(s *api.ServiceSpec) any { return s.Command }, func(to, from *api.ServiceSpec) { to.Command = from.Command }},
	{"working_dir", func(s *api.ServiceSpec) any { return s.WorkingDir }, func(to, from *api.ServiceSpec) { to.WorkingDir = from.WorkingDir }},
	{"user", func(s *api.ServiceSpec) any { return s.User }, func(to, from *api.ServiceSpec) { to.User = from.User }},
	{"healthcheck", func(s *api.ServiceSpec) any { return s.Health }, func(to, from *api.ServiceSpec) { to.Health = from.Health }},
	{"stop_signal", func(s *api.ServiceSpec) any { return s.StopSignal }, func(to, from *api.ServiceSpec) { to.StopSignal = from.StopSignal }},
	{"x-ikada.release", func(s *api.ServiceSpec) any { return s.Release }, func(to, from *api.ServiceSpec) { to.Release = from.Release }},
}

// carry gives a service of the target what of the source's belongs to the image that it is given, but for what the target
// has set for itself: that is what neither a kept release of the source's environment had nor the target's own image asks
// for. It names what the target keeps so and the source has otherwise.
func carry(to, from *api.ServiceSpec, had []*api.ServiceSpec, image *api.ImageConfig) (own []string) {
	was := *to
	for _, f := range carried {
		mine := f.of(&was)
		if reflect.DeepEqual(mine, f.of(from)) {
			continue
		}
		of := func(s *api.ServiceSpec) bool { return reflect.DeepEqual(mine, f.of(s)) }
		if slices.ContainsFunc(had, of) || image != nil && of(&api.ServiceSpec{Health: image.Health, StopSignal: image.StopSignal}) {
			f.set(to, from)
			continue
		}
		own = append(own, f.name)
	}
	return own
}

// had gives what the kept releases of the source's environment say of a service.
func had(kept []*api.Release, service string) []*api.ServiceSpec {
	var out []*api.ServiceSpec
	for _, r := range kept {
		if s, ok := r.Spec.Services[service]; ok {
			out = append(out, &s)
		}
	}
	return out
}

// keepsOwn says what a service of the target keeps for itself.
func keepsOwn(service string, own []string, source *api.Release) string {
	return fmt.Sprintf("service %s keeps its own %s: release %d of %s has another", service, strings.Join(own, ", "), source.Number, source.Env)
}

// imagesOf gives what the images of an environment's committed release ask for, by reference, as far as that is known.
func (s *Server) imagesOf(ctx context.Context, ref api.EnvRef) (map[string]*api.ImageConfig, error) {
	var images []string
	_, err := s.store.View(ctx, func(tx store.Tx) error {
		images = nil
		env, err := store.Find[api.Environment](tx, store.EnvironmentKey(ref))
		if err != nil || env == nil || env.Release == 0 {
			return err
		}
		r, err := store.Find[api.Release](tx, store.ReleaseKey(ref, env.Release))
		if r != nil {
			for _, svc := range r.Spec.Services {
				images = append(images, svc.Image)
			}
		}
		return err
	})
	out := map[string]*api.ImageConfig{}
	if s.deps.Images == nil {
		return out, err
	}
	for _, image := range images {
		if config, err := s.deps.Images.Config(ctx, image); err == nil { // one that is gone says nothing
			out[image] = &config
		}
	}
	return out, err
}
