package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type createEnvironmentInput struct {
	EnvPath
	Body api.CreateEnvironmentRequest
}

// createEnvironment makes an environment: an empty one, or a copy of another's release with settings and secrets of its
// own, which is deployed at once.
func (s *Server) createEnvironment(ctx context.Context, in *createEnvironmentInput) (resp api.CreateEnvironmentResponse, err error) {
	ref, by := in.ref(), callerOf(ctx).Name
	if err := s.checkCreate(ref, &in.Body); err != nil {
		return resp, err
	}
	err = s.updateSealed(ctx, func(tx store.Tx) error {
		resp = api.CreateEnvironmentResponse{}
		env, err := s.findOrMake(ctx, tx, ref)
		if err != nil {
			return err
		}
		if env.LastRelease != 0 {
			return api.Errorf(api.Conflict, "environment %s is there already and has releases; destroy it first, or promote to it", ref)
		}
		if in.Body.TTL != 0 {
			env.Expire(in.Body.TTL, s.now())
		}
		if in.Body.From == "" {
			if err := store.Put(tx, store.EnvironmentKey(ref), env); err != nil {
				return err
			}
			resp.Environment = *env
			return store.AddEvent(tx, api.Event{EnvRef: ref, Type: "environment.created",
				Message: fmt.Sprintf("environment %s was made by %s", ref, by)})
		}
		from := api.EnvRef{App: ref.App, Env: in.Body.From}
		if err := allow(ctx, api.RoleView, from); err != nil {
			return err
		}
		source, err := releaseOf(tx, from, in.Body.Release)
		if err != nil {
			return err
		}
		origin := originOf(source)
		resp.From, resp.Deployment = &origin, &api.DeployResponse{}
		release, err := s.copyOf(ctx, tx, source, ref, &in.Body, resp.Deployment)
		if err != nil {
			return err
		}
		release.CreatedBy, release.From = by, &origin
		for _, name := range slices.Sorted(maps.Keys(in.Body.Scale)) {
			if _, ok := release.Spec.Services[name]; !ok {
				return unknownService("scale", name, &release.Spec)
			}
		}
		if len(in.Body.Scale) > 0 {
			env.Scale = maps.Clone(in.Body.Scale)
		}
		if err := s.refusePrivileges(ctx, tx, ref, &release.Spec); err != nil {
			return err
		}
		if err := refuseTaken(tx, &release.Spec); err != nil {
			return err
		}
		err = store.AddEvent(tx, api.Event{EnvRef: ref, Type: "environment.created",
			Message: fmt.Sprintf("environment %s was made by %s as a copy of release %d of %s", ref, by, source.Number, source.Env)})
		if err != nil {
			return err
		}
		err = s.commitRelease(tx, env, *release, resp.Deployment)
		resp.Environment = *env
		return err
	})
	return resp, err
}

func (s *Server) checkCreate(ref api.EnvRef, in *api.CreateEnvironmentRequest) error {
	if err := checkTTL("ttl", in.TTL); err != nil {
		return err
	}
	if in.From == ref.Env {
		return api.FieldError("from", in.From, "another environment of "+ref.App)
	}
	if in.From == "" && (in.Release != 0 || len(in.Hosts)+len(in.Ports)+len(in.Scale)+len(in.Secrets) > 0) {
		return api.FieldError("from", "", "an environment to copy, since something of a copy was asked for")
	}
	if err := checkScale(in.Scale, 0); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(in.Secrets)) {
		if err := checkSecret("secrets."+name, in.Secrets[name]); err != nil {
			return err
		}
	}
	return nil
}

// copyOf gives the release of a copy, and writes the settings and the sealed secrets that go with it.
func (s *Server) copyOf(ctx context.Context, tx store.Tx, source *api.Release, ref api.EnvRef, in *api.CreateEnvironmentRequest, resp *api.DeployResponse) (*api.Release, error) {
	if err := checkMoves(in.Moves, &source.Spec); err != nil {
		return nil, err
	}
	spec := source.Spec
	spec.Env = ref.Env
	spec.Services, spec.Volumes = maps.Clone(spec.Services), ownVolumes(spec.Volumes)
	for name, svc := range spec.Services {
		svc = moved(svc, in.Moves)
		svc.Labels = maps.Clone(svc.Labels)
		delete(svc.Labels, GenerationLabel)
		spec.Services[name] = svc
	}
	settings, err := s.copySecrets(ctx, tx, &spec, source, ref, in.Secrets)
	if err != nil {
		return nil, err
	}
	if err := store.Put(tx, store.SettingsKey(ref), settings); err != nil {
		return nil, err
	}
	if spec, err = withSettings(settings, spec); err != nil {
		return nil, err
	}
	if err := spec.Validate(); err != nil {
		return nil, underSpec(err)
	}
	resp.Warnings = sharedWarnings(&spec, source.Env)
	release := &api.Release{EnvRef: ref, Commit: source.Commit, Message: in.Message, Spec: spec, Hash: api.HashSpec(spec)}
	if release.Message == "" {
		release.Message = fmt.Sprintf("copy of release %d of %s", source.Number, source.Env)
	}
	return release, nil
}

// copySecrets seals a release's secrets, and those of its environment's settings, anew for another environment, with the
// given values in place of the old ones. It writes the values, and gives the settings and, in spec, the versions.
func (s *Server) copySecrets(ctx context.Context, tx store.Tx, spec *api.AppSpec, source *api.Release, ref api.EnvRef, given map[string][]byte) (*api.Settings, error) {
	old, err := settingsOf(tx, source.EnvRef)
	if err != nil {
		return nil, err
	}
	own, err := settingsOf(tx, ref)
	if err != nil {
		return nil, err
	}
	settings := &api.Settings{EnvRef: ref, Variables: own.Variables, Secrets: maps.Clone(own.Secrets)}
	if len(own.Variables) == 0 {
		settings.Variables = old.Variables
	}
	taken := map[string]bool{}
	seal := func(name, version string) (string, error) {
		value, ok := given[name]
		if taken[name] = true; !ok {
			if err := allow(ctx, api.RoleDeploy, source.EnvRef); err != nil {
				return "", fmt.Errorf("copy secret %s: %w", name, err)
			}
			sealed, err := store.Get[api.SealedSecret](tx, store.SecretKey(source.EnvRef, version))
			if err != nil {
				return "", err
			}
			if value, err = s.key.OpenSecret(*sealed); err != nil {
				return "", err
			}
		}
		sealed := s.key.SealSecret(ref, name, value, s.now())
		return sealed.Version, store.Put(tx, store.SecretKey(ref, sealed.Version), sealed)
	}
	for _, name := range slices.Sorted(maps.Keys(old.Secrets)) {
		if _, there := own.Secrets[name]; there && given[name] == nil {
			continue // it was set before
		}
		version, err := seal(name, old.Secrets[name].Version)
		if err != nil {
			return nil, err
		}
		adopt(&settings.Secrets, name, api.SecretSetting{})
		settings.Secrets[name] = api.SecretSetting{Version: version, UpdatedAt: s.now()}
	}
	spec.Secrets = maps.Clone(spec.Secrets)
	for _, key := range slices.Sorted(maps.Keys(spec.Secrets)) {
		secret := spec.Secrets[key]
		if secret.External {
			// One that was removed from the settings since lives on in the release.
			name := secret.NameOf(key)
			if _, there := settings.Secrets[name]; !there {
				version, err := seal(name, secret.Version)
				if err != nil {
					return nil, err
				}
				adopt(&settings.Secrets, name, api.SecretSetting{Version: version, UpdatedAt: s.now()})
			}
			continue
		}
		if secret.Version, err = seal(key, secret.Version); err != nil {
			return nil, err
		}
		spec.Secrets[key] = secret
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !taken[name] {
			return nil, api.FieldError("secrets", name, "a secret of "+source.EnvRef.String()+": "+strings.Join(slices.Sorted(maps.Keys(taken)), ", "))
		}
	}
	return settings, nil
}

// sharedWarnings tells of data that a copy shares with its original.
func sharedWarnings(spec *api.AppSpec, env string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(spec.Volumes)) {
		if spec.Volumes[key].External {
			out = append(out, fmt.Sprintf("volume %s is external: %s and %s share its data", key, env, spec.Env))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Services)) {
		for _, m := range spec.Services[name].Mounts {
			if m.Type == api.MountBind && !m.ReadOnly {
				out = append(out, fmt.Sprintf("service %s may write to %s of the node, as in %s", name, m.Source, env))
			}
		}
	}
	return out
}

// checkSecret tells whether a secret may have the value; it is never repeated.
func checkSecret(field string, value []byte) error {
	if n := len(value); n == 0 || n > api.MaxSecretBytes {
		return api.FieldError(field, fmt.Sprintf("%d bytes", n), fmt.Sprintf("1 to %d bytes", api.MaxSecretBytes))
	}
	return nil
}
