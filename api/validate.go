package api

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Bounds of an AppSpec besides those in defaults.go.
const (
	MaxServices    = 200
	MaxName        = 63 // characters of a name, a DNS label's most
	MinMemoryBytes = 6 << 20
	maxReported    = 5 // wrong fields named in one error; the rest is counted
)

const (
	labelRule   = "1 to 63 lowercase letters, digits and '-', beginning and ending with a letter or digit"
	serviceRule = "1 to 63 lowercase letters, digits, '-' and '_', beginning and ending with a letter or digit"
	keyRule     = "1 to 63 letters, digits, '.', '_' and '-', beginning with a letter or digit"
	hostRule    = "a host name of letters, digits, '-', '_' and '.'"
	pathRule    = "an absolute path without '..'"
)

// Validate checks the whole spec: names, references between its parts, numbers, paths. It is what the server runs on
// every request, so that nothing wrong is half-applied. The error is of kind Invalid and names the first few wrong
// fields, each with its value and what was expected; it is deterministic.
func (s *AppSpec) Validate() error { return FieldErrors(s.Problems()) }

// Problems gives every wrong field, each as an *Error; see Validate.
func (s *AppSpec) Problems() []error {
	v := &validator{spec: s}
	v.label("app", s.App, dnsLabel(s.App), labelRule)
	v.label("env", s.Env, dnsLabel(s.Env), labelRule)
	if n := len(s.Services); n == 0 || n > MaxServices {
		v.bad("services", fmt.Sprint(n), fmt.Sprintf("1 to %d services", MaxServices))
	}
	v.parts()
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		field := "services." + name
		if !serviceName(name) {
			v.bad(field, name, serviceRule)
			continue
		}
		svc := s.Services[name]
		v.service(field, name, &svc)
	}
	v.checks("checks", "", s.Checks)
	v.published()
	v.routes()
	v.cycles()
	return v.errs
}

// FieldErrors makes one error of several: nil of none, the error itself of one, else an Invalid error that gives the
// first few sentences and counts the rest.
func FieldErrors(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	var lines []string
	for _, err := range errs[:min(len(errs), maxReported)] {
		lines = append(lines, err.Error())
	}
	if more := len(errs) - maxReported; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return &Error{Kind: Invalid, Message: strings.Join(lines, "\n"), err: errors.Join(errs...)}
}

// validator collects what is wrong with a spec.
type validator struct {
	spec *AppSpec
	errs []error
}

func (v *validator) bad(field, value, expected string) {
	v.errs = append(v.errs, FieldError(field, value, expected))
}

func (v *validator) label(field, value string, ok bool, rule string) {
	if !ok {
		v.bad(field, value, rule)
	}
}

func (v *validator) check(ok bool, field, value, expected string) {
	if !ok {
		v.bad(field, value, expected)
	}
}

// within checks a number's range; both ends belong to it.
func (v *validator) within(field string, n, least, most int64) {
	if n < least || n > most {
		v.bad(field, fmt.Sprint(n), fmt.Sprintf("%d to %d", least, most))
	}
}

func (v *validator) notNegative(field string, n int64) {
	if n < 0 {
		v.bad(field, fmt.Sprint(n), "0 or more")
	}
}

func (v *validator) duration(field string, d Duration) {
	if d < 0 {
		v.bad(field, d.String(), "a duration of 0 or more")
	}
}

func (v *validator) oneOf(field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.bad(field, value, "one of "+strings.Join(allowed, ", "))
	}
}

// parts checks what services refer to: volumes, networks, configs, secrets.
func (v *validator) parts() {
	for _, name := range slices.Sorted(maps.Keys(v.spec.Volumes)) {
		vol := v.spec.Volumes[name]
		v.label("volumes."+name, name, partName(name), keyRule)
		if vol.Name != "" {
			v.label("volumes."+name+".name", vol.Name, partName(vol.Name), keyRule)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.spec.Networks)) {
		v.label("networks."+name, name, partName(name), keyRule)
	}
	for _, name := range slices.Sorted(maps.Keys(v.spec.Configs)) {
		v.label("configs."+name, name, partName(name), keyRule)
		if n := len(v.spec.Configs[name].Content); n > MaxConfigBytes {
			v.bad("configs."+name+".content", fmt.Sprintf("%d bytes", n), fmt.Sprintf("at most %d bytes", MaxConfigBytes))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(v.spec.Secrets)) {
		v.label("secrets."+name, name, partName(name), keyRule)
		secret := v.spec.Secrets[name]
		if n := len(secret.Value); n > MaxSecretBytes {
			v.bad("secrets."+name, fmt.Sprintf("%d bytes", n), fmt.Sprintf("at most %d bytes", MaxSecretBytes))
		}
		switch {
		case secret.External:
			v.check(len(secret.Value) == 0, "secrets."+name, "", "no value: an external secret is the environment's")
			v.check(secret.Name == "" || partName(secret.Name), "secrets."+name+".name", secret.Name, keyRule)
		case len(secret.Value) == 0 && secret.Version == "":
			v.bad("secrets."+name, "", "a value that is not empty")
		}
	}
}

// published checks that no two services want the same port of the node.
func (v *validator) published() {
	type claim struct {
		field string
		port  PortSpec
	}
	var claims []claim
	for _, name := range slices.Sorted(maps.Keys(v.spec.Services)) {
		for i, p := range v.spec.Services[name].Ports {
			if p.Published == 0 {
				continue
			}
			field := fmt.Sprintf("services.%s.ports[%d]", name, i)
			for _, c := range claims {
				if c.port.Published == p.Published && sameAddress(c.port.HostIP, p.HostIP) {
					v.bad(field, fmt.Sprint(p.Published), "a published port that "+c.field+" does not publish already")
					break
				}
			}
			claims = append(claims, claim{field, p})
		}
	}
}

// sameAddress tells whether two listeners on one port would collide.
func sameAddress(a, b string) bool {
	every := func(s string) bool { return s == "" || s == "0.0.0.0" || s == "::" }
	return a == b || every(a) || every(b)
}

// cycles checks that dependencies have an order.
func (v *validator) cycles() {
	const open, done = 1, 2
	state := map[string]int{}
	var walk func(name string, trail []string) bool
	walk = func(name string, trail []string) bool {
		switch state[name] {
		case done:
			return true
		case open:
			at := slices.Index(trail, name)
			v.bad("services."+name+".dependsOn", strings.Join(append(trail[at:], name), " → "), "dependencies without a cycle")
			return false
		}
		state[name] = open
		for _, d := range v.spec.Services[name].DependsOn {
			if _, ok := v.spec.Services[d.Service]; ok && !walk(d.Service, append(slices.Clip(trail), name)) {
				return false
			}
		}
		state[name] = done
		return true
	}
	for _, name := range slices.Sorted(maps.Keys(v.spec.Services)) {
		if !walk(name, nil) {
			return
		}
	}
}

// CheckEnvName tells whether an environment may have this name.
func CheckEnvName(field, name string) error {
	if !dnsLabel(name) {
		return FieldError(field, name, labelRule)
	}
	return nil
}

var (
	dnsLabelShape = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	serviceShape  = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$`)
	partShape     = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)
	hostShape     = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?)*$`)
)

func dnsLabel(s string) bool    { return len(s) <= MaxName && dnsLabelShape.MatchString(s) }
func serviceName(s string) bool { return len(s) <= MaxName && serviceShape.MatchString(s) }
func partName(s string) bool    { return len(s) <= MaxName && partShape.MatchString(s) }
func hostName(s string) bool    { return len(s) <= 253 && hostShape.MatchString(s) }

// absolute tells whether p is an absolute path that stays where it points.
func absolute(p string) bool {
	return strings.HasPrefix(p, "/") && path.Clean(p) == strings.TrimSuffix(p, "/") && !strings.ContainsRune(p, 0)
}
