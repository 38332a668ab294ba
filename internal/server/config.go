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

type configInput struct {
	EnvPath
	Body api.ConfigRequest
}

// listConfig gives an environment's variables, those of all services first.
func (s *Server) listConfig(ctx context.Context, in *EnvPath) (out []api.VariableView, err error) {
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		out = []api.VariableView{}
		spec, err := committedSpec(tx, in.ref())
		if err != nil {
			return err
		}
		settings, err := settingsOf(tx, in.ref())
		if err != nil {
			return err
		}
		for _, service := range slices.Sorted(maps.Keys(settings.Variables)) {
			for _, name := range slices.Sorted(maps.Keys(settings.Variables[service])) {
				v := api.VariableView{Service: service, Name: name, Value: settings.Variables[service][name]}
				v.Pending = pendingVariable(settings, spec, service, name)
				out = append(out, v)
			}
		}
		return nil
	})
	return out, err
}

// pendingVariable tells whether a service that a variable is for runs with another value.
func pendingVariable(settings *api.Settings, spec *api.AppSpec, service, name string) bool {
	for other, svc := range spec.Services {
		if service != api.EveryService && other != service {
			continue
		}
		has, ok := svc.Variables[name]
		if wants := settings.VariablesOf(other)[name]; !ok || has != wants {
			return true
		}
	}
	return false
}

// changeConfig changes an environment's variables, and deploys its release with them.
func (s *Server) changeConfig(ctx context.Context, in *configInput) (api.SettingsResponse, error) {
	if err := checkConfig(&in.Body); err != nil {
		return api.SettingsResponse{}, err
	}
	ref := in.ref()
	return s.changeSettings(ctx, ref, in.Body.NoDeploy, func(tx store.Tx, settings *api.Settings, by string) (bool, string, error) {
		if err := knownServices(tx, ref, in.Body.Set); err != nil {
			return false, "", err
		}
		names, changed := []string{}, false
		variables := map[string]map[string]string{}
		for service, vars := range settings.Variables {
			variables[service] = maps.Clone(vars)
		}
		for service, vars := range in.Body.Set {
			adopt(&variables, service, map[string]string{})
			for name, value := range vars {
				old, there := variables[service][name]
				changed = changed || !there || old != value
				variables[service][name] = value
				names = append(names, variableName(service, name))
			}
		}
		for service, unset := range in.Body.Unset {
			for _, name := range unset {
				if _, there := variables[service][name]; !there {
					return false, "", api.FieldError("unset", variableName(service, name), "a variable that is set for "+ref.String())
				}
				delete(variables[service], name)
				changed = true
				names = append(names, variableName(service, name))
			}
			if len(variables[service]) == 0 {
				delete(variables, service)
			}
		}
		slices.Sort(names)
		what := "config " + strings.Join(names, ", ") + " was changed"
		if err := checkVariables(ref, variables); err != nil || !changed {
			return false, what, err
		}
		settings.Variables = variables
		return true, what, store.AddEvent(tx, api.Event{EnvRef: ref, Type: "config.changed",
			Message: fmt.Sprintf("config %s of %s was changed by %s", strings.Join(names, ", "), ref, by)})
	})
}

// knownServices refuses variables for services that nothing in force has.
func knownServices(tx store.Tx, ref api.EnvRef, set map[string]map[string]string) error {
	env, err := store.Find[api.Environment](tx, store.EnvironmentKey(ref))
	if err != nil || env == nil {
		return err
	}
	specs, err := specsInForce(tx, env)
	if err != nil || len(specs) == 0 {
		return err
	}
	for _, service := range slices.Sorted(maps.Keys(set)) {
		has := func(spec *api.AppSpec) bool { _, ok := spec.Services[service]; return ok }
		if service != api.EveryService && !slices.ContainsFunc(specs, has) {
			return unknownService("set", service, specs[0])
		}
	}
	return nil
}

// variableName names a variable with its service, never with its value.
func variableName(service, name string) string {
	if service == api.EveryService {
		return name
	}
	return service + "." + name
}

func checkConfig(c *api.ConfigRequest) error {
	n := 0
	for _, service := range slices.Sorted(maps.Keys(c.Set)) {
		for _, name := range slices.Sorted(maps.Keys(c.Set[service])) {
			n++
			field := "set." + variableName(service, name)
			if err := api.CheckVariableName(field, name); err != nil {
				return err
			}
			value := c.Set[service][name]
			if len(value) > api.MaxVariableBytes || strings.ContainsRune(value, 0) {
				return api.FieldError(field, fmt.Sprintf("%d bytes", len(value)), fmt.Sprintf("at most %d bytes, none of them zero", api.MaxVariableBytes))
			}
		}
	}
	for service, names := range c.Unset {
		for _, name := range names {
			n++
			if _, both := c.Set[service][name]; both {
				return api.FieldError("unset", variableName(service, name), "a variable that is not set at the same time")
			}
		}
	}
	if n == 0 {
		return api.FieldError("body", "", `variables to set or unset, such as {"set": {"": {"LEVEL": "info"}}}`)
	}
	return nil
}

// checkVariables bounds all variables of an environment together.
func checkVariables(ref api.EnvRef, variables map[string]map[string]string) error {
	n, size := 0, 0
	for _, vars := range variables {
		for name, value := range vars {
			n, size = n+1, size+len(name)+len(value)
		}
	}
	if n > api.MaxVariables || size > api.MaxVariablesBytes {
		return api.Errorf(api.Exhausted, "environment %s would have %d variables of %d bytes together, at most %d of %d bytes are kept; mount a config for more",
			ref, n, size, api.MaxVariables, api.MaxVariablesBytes)
	}
	return nil
}
