package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type promoteInput struct {
	EnvPath
	Body api.PromoteRequest
}

// errDry ends a transaction that was only to tell what it would do.
var errDry = errors.New("dry run")

// promote makes a release with the images of another environment's release and the environment's own configuration.
func (s *Server) promote(ctx context.Context, in *promoteInput) (resp api.PromoteResponse, err error) {
	what, err := s.promoted(ctx, in)
	if err != nil {
		return resp, err
	}
	err = s.updateSealed(ctx, func(tx store.Tx) (err error) {
		resp, err = s.promoteIn(ctx, tx, in, what)
		return err
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	return resp, err
}

// promotion is what a promotion is made of, but for the environment itself.
type promotion struct {
	source *api.Release                // whose images are taken
	first  *prepared                   // what an environment without a release begins with; nil for nothing
	images map[string]*api.ImageConfig // what the environment's images ask for, as far as that is known
}

// promoted gives what a promotion is made of.
func (s *Server) promoted(ctx context.Context, in *promoteInput) (*promotion, error) {
	ref := in.ref()
	from := api.EnvRef{App: ref.App, Env: in.Body.From}
	if from.Env == "" || from == ref {
		return nil, api.FieldError("from", in.Body.From, "another environment of "+ref.App)
	}
	if err := allow(ctx, api.RoleView, from); err != nil {
		return nil, err
	}
	var what promotion
	_, err := s.store.View(ctx, func(tx store.Tx) (err error) {
		what.source, err = releaseOf(tx, from, in.Body.Release)
		return err
	})
	if err != nil {
		return nil, err
	}
	if in.Body.Spec == nil {
		what.images, err = s.imagesOf(ctx, ref)
		return &what, err
	}
	spec, err := withImages(*in.Body.Spec, what.source)
	if err != nil {
		return nil, err
	}
	first, err := s.prepare(ctx, ref, spec)
	what.first = &first
	return &what, err
}

// promoteIn is promote within its transaction. It ends a dry run with errDry.
func (s *Server) promoteIn(ctx context.Context, tx store.Tx, in *promoteInput, what *promotion) (api.PromoteResponse, error) {
	ref, source := in.ref(), what.source
	resp := api.PromoteResponse{From: originOf(source)}
	env, err := s.findOrMake(ctx, tx, ref)
	if err != nil {
		return resp, err
	}
	release := api.Release{EnvRef: ref, Commit: source.Commit, Message: in.Body.Message, CreatedBy: callerOf(ctx).Name}
	if release.Message == "" {
		release.Message = fmt.Sprintf("promotion of release %d of %s", source.Number, source.Env)
	}
	origin := originOf(source)
	release.From = &origin
	newest, err := store.Find[api.Release](tx, store.ReleaseKey(ref, env.LastRelease))
	if err != nil {
		return resp, err
	}
	var given *api.AppSpec
	var sealed []api.SealedSecret
	if what.first != nil {
		spec, fresh, err := s.seal(tx, ref, what.first, newest)
		if err != nil {
			return resp, err
		}
		given, sealed = &spec, fresh
	}
	before := api.AppSpec{App: ref.App, Env: ref.Env}
	base, warnings, err := promotionOf(tx, env, source, given, in.Body.Moves, what.images, &before)
	if err != nil {
		return resp, err
	}
	settings, err := settingsOf(tx, ref)
	if err != nil {
		return resp, err
	}
	if base, err = withSettings(settings, base); err != nil {
		return resp, err
	}
	if err := base.Validate(); err != nil {
		return resp, underSpec(err)
	}
	release.Spec = withGeneration(base, newest)
	release.Hash = api.HashSpec(release.Spec)
	resp.Changes = Compare(before, release.Spec)
	resp.Warnings = append(warnings, keptScale(env, &before, &release.Spec)...)
	same, err := s.unchanged(tx, env, newest, release.Hash)
	switch {
	case err != nil:
		return resp, err
	case same:
		resp.Unchanged, resp.Release = true, newest.Number
		return resp, nil
	}
	if err := s.refusePrivileges(ctx, tx, ref, &release.Spec); err != nil {
		return resp, err
	}
	if err := refuseTaken(tx, &release.Spec); err != nil {
		return resp, err
	}
	if in.Body.DryRun {
		return resp, errDry
	}
	if err := storeSecrets(tx, ref, &release.Spec, sealed); err != nil {
		return resp, err
	}
	err = s.commitRelease(tx, env, release, &resp.DeployResponse)
	return resp, err
}

// withImages gives a spec whose services run what they run in another release.
func withImages(spec api.AppSpec, source *api.Release) (api.AppSpec, error) {
	spec.Services = maps.Clone(spec.Services)
	for _, name := range slices.Sorted(maps.Keys(spec.Services)) {
		svc := spec.Services[name]
		if there, ok := source.Spec.Services[name]; ok {
			svc.Image = there.Image
			spec.Services[name] = svc
		} else if svc.Image == "" {
			return spec, api.FieldError("spec.services."+name+".image", "", fmt.Sprintf(
				"a service of release %d of %s, or an image: nothing is built in a promotion", source.Number, source.Env))
		}
	}
	return spec, nil
}

// promotionOf gives the spec of a promotion, before it is completed by the environment's settings; into before it
// writes the spec that is in force.
func promotionOf(tx store.Tx, env *api.Environment, source *api.Release, given *api.AppSpec, m api.Moves, images map[string]*api.ImageConfig, before *api.AppSpec) (api.AppSpec, []string, error) {
	if env.Release != 0 {
		if given != nil {
			return api.AppSpec{}, nil, api.FieldError("spec", "", fmt.Sprintf("no spec: %s has release %d, whose configuration it keeps", env.EnvRef, env.Release))
		}
		target, err := store.Get[api.Release](tx, store.ReleaseKey(env.EnvRef, env.Release))
		if err != nil {
			return api.AppSpec{}, nil, err
		}
		*before = target.Spec
		kept, err := store.List[api.Release](tx, store.ReleasesOf(source.EnvRef))
		if err != nil {
			return api.AppSpec{}, nil, err
		}
		return merged(source, target, kept, images, m)
	}
	spec := source.Spec
	if given != nil {
		spec = *given
	}
	if err := checkMoves(m, &spec); err != nil {
		return api.AppSpec{}, nil, err
	}
	spec.Services = maps.Clone(spec.Services)
	for name, svc := range spec.Services {
		spec.Services[name] = moved(svc, m)
	}
	if given != nil {
		return spec, nil, nil
	}
	spec.Env, spec.Secrets, spec.Volumes = env.Env, map[string]api.SecretSpec{}, ownVolumes(spec.Volumes)
	for key := range used(&source.Spec) {
		spec.Secrets[key] = external(source.Spec.Secrets[key])
	}
	return spec, nil, nil
}

// merged gives the target's spec with the source's images and what belongs to them, and with the services that only the
// source has; kept are the releases of the source's environment, images what the target's images ask for.
func merged(source, target *api.Release, kept []*api.Release, images map[string]*api.ImageConfig, m api.Moves) (api.AppSpec, []string, error) {
	spec := target.Spec
	spec.Services, spec.Secrets = maps.Clone(spec.Services), maps.Clone(spec.Secrets)
	spec.Volumes, spec.Networks, spec.Configs = maps.Clone(spec.Volumes), maps.Clone(spec.Networks), maps.Clone(spec.Configs)
	added := api.AppSpec{Services: map[string]api.ServiceSpec{}}
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(source.Spec.Services)) {
		there := source.Spec.Services[name]
		if svc, ok := spec.Services[name]; ok {
			if own := carry(&svc, &there, had(kept, name), images[svc.Image]); len(own) > 0 {
				warnings = append(warnings, keepsOwn(name, own, source))
			}
			svc.Image = there.Image
			spec.Services[name] = svc
			continue
		}
		added.Services[name] = there
	}
	if err := checkMoves(m, &added); err != nil {
		return spec, nil, err
	}
	for name, svc := range added.Services {
		spec.Services[name] = moved(svc, m)
		for _, mount := range svc.Mounts {
			if v, ok := source.Spec.Volumes[mount.Source]; ok && mount.Type == api.MountVolume {
				adopt(&spec.Volumes, mount.Source, ownVolume(v))
			}
		}
		for _, n := range svc.Networks {
			if v, ok := source.Spec.Networks[n.Network]; ok {
				adopt(&spec.Networks, n.Network, v)
			}
		}
		for _, c := range svc.Configs {
			adopt(&spec.Configs, c.Source, source.Spec.Configs[c.Source])
		}
	}
	for key := range used(&added) {
		adopt(&spec.Secrets, key, external(source.Spec.Secrets[key]))
	}
	var alone []string
	for name := range spec.Services {
		if _, ok := source.Spec.Services[name]; !ok {
			alone = append(alone, name)
		}
	}
	if len(alone) == 0 {
		return spec, warnings, nil
	}
	slices.Sort(alone)
	return spec, append(warnings, fmt.Sprintf("release %d of %s has no service %s: it stays as it is", source.Number, source.Env, strings.Join(alone, ", "))), nil
}

// adopt sets what is not there yet.
func adopt[V any](to *map[string]V, key string, v V) {
	if *to == nil {
		*to = map[string]V{}
	}
	if _, there := (*to)[key]; !there {
		(*to)[key] = v
	}
}

// external gives a secret of another environment as one that the new environment has to have itself.
func external(s api.SecretSpec) api.SecretSpec { return api.SecretSpec{External: true, Name: s.Name} }

// ownVolumes gives volumes that hold an environment's own data, whatever name those of another environment were given.
func ownVolumes(volumes map[string]api.VolumeSpec) map[string]api.VolumeSpec {
	out := maps.Clone(volumes)
	for key, v := range out {
		out[key] = ownVolume(v)
	}
	return out
}

func ownVolume(v api.VolumeSpec) api.VolumeSpec {
	if !v.External {
		v.Name = ""
	}
	return v
}
