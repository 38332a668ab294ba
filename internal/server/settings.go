package server

import (
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
// versions of its secrets. It names the secrets that the environment lacks.
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
			lacking = append(lacking, secret.NameOf(key))
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

// used tells which secrets some service of a spec mounts or has as a variable.
func used(spec *api.AppSpec) map[string]bool {
	out := map[string]bool{}
	for _, svc := range spec.Services {
		for _, source := range svc.SecretSources() {
			out[source] = true
		}
	}
	return out
}
