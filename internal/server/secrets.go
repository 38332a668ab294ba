package server

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// SecretPath is the part of a path that names a secret of an environment.
type SecretPath struct {
	EnvPath
	Name string `path:"name" maxLength:"63" pattern:"^[a-zA-Z0-9][a-zA-Z0-9._-]*$" patternDescription:"letters, digits, '.', '_' and '-', beginning with a letter or digit"`
}

type setSecretInput struct {
	SecretPath
	Body api.SecretRequest
}

// listSecrets gives the secrets that live in an environment, and those that came with its committed release's file.
func (s *Server) listSecrets(ctx context.Context, in *EnvPath) (out []api.SecretView, err error) {
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		out = []api.SecretView{}
		spec, err := committedSpec(tx, in.ref())
		if err != nil {
			return err
		}
		settings, err := settingsOf(tx, in.ref())
		if err != nil {
			return err
		}
		views := map[string]*api.SecretView{}
		for name, set := range settings.Secrets {
			views[name] = &api.SecretView{Name: name, Version: set.Version, UpdatedAt: set.UpdatedAt, UpdatedBy: set.UpdatedBy}
		}
		for key, secret := range spec.Secrets {
			name := key
			if secret.External {
				name = secret.NameOf(key)
			}
			v := views[name]
			if v == nil {
				v = &api.SecretView{Name: name, Version: secret.Version, InFile: !secret.External}
				views[name] = v
			}
			v.Pending = v.Pending || secret.External && v.Version != secret.Version
			if !secret.External && !v.InFile {
				continue // the file has one of its own by this name
			}
			for service, svc := range spec.Services {
				if slices.Contains(svc.SecretSources(), key) && !slices.Contains(v.Services, service) {
					v.Services = append(v.Services, service)
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(views)) {
			slices.Sort(views[name].Services)
			out = append(out, *views[name])
		}
		return nil
	})
	return out, err
}

// setSecret sets a secret of an environment, and deploys the release that uses it anew.
func (s *Server) setSecret(ctx context.Context, in *setSecretInput) (api.SettingsResponse, error) {
	if err := checkSecret("value", in.Body.Value); err != nil {
		return api.SettingsResponse{}, err
	}
	ref, name := in.ref(), in.Name
	return s.changeSettings(ctx, ref, in.Body.NoDeploy, func(tx store.Tx, settings *api.Settings, by string) (bool, string, error) {
		what := fmt.Sprintf("secret %s was set", name)
		old, there := settings.Secrets[name]
		if !there && len(settings.Secrets) >= api.MaxSecrets {
			return false, "", api.Errorf(api.Exhausted, "environment %s has %d secrets, the most that it may have", ref, api.MaxSecrets)
		}
		if same, err := s.holds(tx, ref, old.Version, in.Body.Value); err != nil || same {
			return false, what, err
		}
		sealed := s.key.SealSecret(ref, name, in.Body.Value, s.now())
		if err := store.Put(tx, store.SecretKey(ref, sealed.Version), sealed); err != nil {
			return false, "", err
		}
		adopt(&settings.Secrets, name, api.SecretSetting{})
		settings.Secrets[name] = api.SecretSetting{Version: sealed.Version, UpdatedAt: s.now(), UpdatedBy: by}
		return true, what, store.AddEvent(tx, api.Event{EnvRef: ref, Type: "secret.set", Message: fmt.Sprintf("secret %s of %s was set by %s", name, ref, by)})
	})
}

// deleteSecret removes a secret of an environment that no release in force uses. Its value stays for as long as a kept
// release names it.
func (s *Server) deleteSecret(ctx context.Context, in *SecretPath) (struct{}, error) {
	ref, name, by := in.ref(), in.Name, callerOf(ctx).Name
	_, err := s.store.Update(ctx, func(tx store.Tx) error {
		env, err := s.changeable(ctx, tx, ref)
		if err != nil {
			return err
		}
		settings, err := settingsOf(tx, ref)
		if err != nil {
			return err
		}
		if _, there := settings.Secrets[name]; !there {
			return unknownSecret(ref, name)
		}
		specs, err := specsInForce(tx, env)
		if err != nil {
			return err
		}
		for _, spec := range specs {
			for key, secret := range spec.Secrets {
				if secret.External && secret.NameOf(key) == name {
					return api.Errorf(api.Conflict, "secret %s of %s is used by what runs there; take it out of the Compose file and deploy first", name, ref)
				}
			}
		}
		delete(settings.Secrets, name)
		if err := store.Put(tx, store.SettingsKey(ref), settings); err != nil {
			return err
		}
		return store.AddEvent(tx, api.Event{EnvRef: ref, Type: "secret.deleted", Message: fmt.Sprintf("secret %s of %s was removed by %s", name, ref, by)})
	})
	return struct{}{}, err
}

// revealSecret gives a secret in the clear, and writes down who asked.
func (s *Server) revealSecret(ctx context.Context, in *SecretPath) (out api.SecretValue, err error) {
	ref, by := in.ref(), callerOf(ctx).Name
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		settings, err := settingsOf(tx, ref)
		if err != nil {
			return err
		}
		version := settings.Secrets[in.Name].Version
		if version == "" {
			spec, err := committedSpec(tx, ref)
			if err != nil {
				return err
			}
			version = spec.Secrets[in.Name].Version
		}
		if version == "" {
			return unknownSecret(ref, in.Name)
		}
		sealed, err := store.Get[api.SealedSecret](tx, store.SecretKey(ref, version))
		if err != nil {
			return err
		}
		value, err := s.key.OpenSecret(*sealed)
		if err != nil {
			return err
		}
		out = api.SecretValue{Name: in.Name, Version: version, Value: value}
		return store.AddEvent(tx, api.Event{EnvRef: ref, Type: "secret.revealed", Level: api.LevelWarn,
			Message: fmt.Sprintf("secret %s of %s was shown to %s", in.Name, ref, by)})
	})
	if err != nil {
		return api.SecretValue{}, err
	}
	return out, nil
}

func unknownSecret(ref api.EnvRef, name string) error {
	return api.Errorf(api.NotFound, "environment %s has no secret %s", ref, name)
}
