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

// settingsOf gives what is set for an environment; empty settings when nothing is.
func settingsOf(tx store.Tx, ref api.EnvRef) (*api.Settings, error) {
	found, err := store.Find[api.Settings](tx, store.SettingsKey(ref))
	if err != nil || found != nil {
		return found, err
	}
	return &api.Settings{EnvRef: ref}, nil
}

// withSettings gives a spec as a release of its environment has it: with the environment's variables, and with the
// versions of its secrets. It names the secrets that the environment lacks; a version that a release had stays in a
// release that is made of it.
func withSettings(settings *api.Settings, spec api.AppSpec) (api.AppSpec, error) {
	spec.Services, spec.Secrets = maps.Clone(spec.Services), maps.Clone(spec.Secrets)
	for name, svc := range spec.Services {
		svc.Variables = settings.VariablesOf(name)
		spec.Services[name] = svc
	}
	var lacking []string
	for _, key := range slices.Sorted(maps.Keys(spec.Secrets)) {
		secret := spec.Secrets[key]
		if !secret.External {
			continue
		}
		set, ok := settings.Secrets[secret.NameOf(key)]
		if !ok {
			if secret.Version == "" {
				lacking = append(lacking, secret.NameOf(key))
			}
			continue
		}
		secret.Version = set.Version
		spec.Secrets[key] = secret
	}
	if len(lacking) == 0 {
		return spec, nil
	}
	slices.Sort(lacking)
	lacking = slices.Compact(lacking)
	noun := "secret "
	if len(lacking) > 1 {
		noun = "secrets "
	}
	return spec, api.Errorf(api.Conflict, "environment %s lacks the %s%s; set it with `ikada secret set %s -a %s -e %s`",
		settings.EnvRef, noun, strings.Join(lacking, ", "), lacking[0], settings.App, settings.Env)
}

// used tells which secrets of a spec some service mounts or has as a variable, or some check sends.
func used(spec *api.AppSpec) map[string]bool {
	out := map[string]bool{}
	for _, svc := range spec.Services {
		for _, source := range svc.SecretSources() {
			out[source] = true
		}
	}
	for _, c := range spec.AllChecks() {
		if token := c.Token(); token != "" {
			out[token] = true
		}
	}
	return out
}

// changeSettings runs fn on an environment's settings, writes them, and unless noDeploy queues the deployment to a release
// with them, if one that is in force would be another one. An environment that is not there is made.
func (s *Server) changeSettings(ctx context.Context, ref api.EnvRef, noDeploy bool,
	fn func(tx store.Tx, settings *api.Settings, by string) (changed bool, what string, err error)) (resp api.SettingsResponse, err error) {
	by := callerOf(ctx).Name
	err = s.updateSealed(ctx, func(tx store.Tx) error {
		resp = api.SettingsResponse{}
		env, err := s.findOrMake(ctx, tx, ref)
		if err != nil {
			return err
		}
		settings, err := settingsOf(tx, ref)
		if err != nil {
			return err
		}
		changed, what, err := fn(tx, settings, by)
		switch {
		case err != nil:
			return err
		case !changed:
			resp.Unchanged = true
		default:
			if err := store.Put(tx, store.SettingsKey(ref), settings); err != nil {
				return err
			}
		}
		return s.deploySettings(tx, env, settings, deployOfSettings{what: what, by: by, no: noDeploy}, &resp)
	})
	return resp, err
}

// deployOfSettings says why there is to be a release, who wants it, and whether it is to be left for later.
type deployOfSettings struct {
	what, by string
	no       bool
}

// deploySettings makes a release of the one that is in force with the settings, where that would be another one.
func (s *Server) deploySettings(tx store.Tx, env *api.Environment, settings *api.Settings, d deployOfSettings, resp *api.SettingsResponse) error {
	base, err := newestInForce(tx, env)
	if err != nil {
		return err
	}
	if base == nil {
		key := store.EnvironmentKey(env.EnvRef)
		if _, there, err := tx.Get(key); err != nil || there {
			return err
		}
		return store.Put(tx, key, env)
	}
	spec, err := withSettings(settings, base.Spec)
	if err != nil {
		return err
	}
	hash := api.HashSpec(spec)
	switch {
	case hash == base.Hash:
		return nil
	case env.Stopped:
		resp.Warnings = append(resp.Warnings, fmt.Sprintf("%s is down: this counts from its next deploy on", env.EnvRef))
		return nil
	case d.no:
		return nil
	}
	release := api.Release{EnvRef: env.EnvRef, Spec: spec, Hash: hash, CreatedBy: d.by, Commit: base.Commit, From: base.From, Message: d.what}
	resp.Deployment = &api.DeployResponse{}
	return s.commitRelease(tx, env, release, resp.Deployment)
}

// settingsWarnings tells that a release to return to has other settings than new ones will.
func settingsWarnings(tx store.Tx, r *api.Release) ([]string, error) {
	settings, err := settingsOf(tx, r.EnvRef)
	if err != nil {
		return nil, err
	}
	spec, err := withSettings(settings, r.Spec)
	if err != nil || api.HashSpec(spec) == r.Hash {
		return nil, nil //nolint:nilerr // what is lacking is told when a release is made of it
	}
	return []string{fmt.Sprintf("release %d runs with the secrets and variables that it was made with; the environment's have changed since, and count again from the next deploy on", r.Number)}, nil
}

// newestInForce gives the release that a deployment is bringing, else the committed one; nil when there is none.
func newestInForce(tx store.Tx, env *api.Environment) (*api.Release, error) {
	open, err := unfinished(tx, env.EnvRef)
	if err != nil {
		return nil, err
	}
	number := env.Release
	for _, d := range open {
		if !d.Backwards && !d.Cancel {
			number = d.To
		}
	}
	if number == 0 {
		return nil, nil
	}
	return store.Find[api.Release](tx, store.ReleaseKey(env.EnvRef, number))
}

// committedSpec gives the spec of the committed release; an empty one when there is none.
func committedSpec(tx store.Tx, ref api.EnvRef) (*api.AppSpec, error) {
	env, err := loadEnvironment(tx, ref)
	if err != nil || env.Release == 0 {
		return &api.AppSpec{}, err
	}
	r, err := store.Find[api.Release](tx, store.ReleaseKey(ref, env.Release))
	if err != nil || r == nil {
		return &api.AppSpec{}, err
	}
	return &r.Spec, nil
}
