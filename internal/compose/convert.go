package compose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
)

// converter turns one project into a spec and collects what it cannot.
type converter struct {
	options  Options
	project  *types.Project
	builds   map[string]api.BuildSpec
	errs     []error
	warnings []string
}

func (c *converter) bad(field, value, expected string) {
	c.errs = append(c.errs, api.FieldError(field, value, expected))
}

// refuse says that a value, which the specification allows, cannot be honoured, and why.
func (c *converter) refuse(field, value, why string) {
	c.errs = append(c.errs, &api.Error{Kind: api.Invalid, Field: field, Value: value, Message: why})
}

func (c *converter) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

func (c *converter) app() api.AppSpec {
	spec := api.AppSpec{
		App:      c.project.Name,
		Env:      c.options.Env,
		Services: map[string]api.ServiceSpec{},
		Networks: c.networks(),
		Volumes:  c.volumes(),
		Configs:  c.configs(),
		Secrets:  c.secrets(),
	}
	for _, name := range slices.Sorted(maps.Keys(c.project.Services)) {
		s := c.project.Services[name]
		spec.Services[name] = c.service("services."+name, &s)
	}
	c.topExtension(&spec)
	c.impliedSecrets(&spec)
	if len(spec.Services) == 0 && len(c.errs) == 0 {
		c.bad("services", "", "at least one service whose profile is active")
	}
	for name, s := range spec.Services {
		if c.endsByItself(name) {
			s.Restart.Condition = api.RestartNone
			spec.Services[name] = s
		}
	}
	return spec
}

// endsByItself tells whether a service that names no restart policy is waited for to its end. Plain Compose restarts
// nothing by default; ikada heals by default, but not what is meant to end.
func (c *converter) endsByItself(name string) bool {
	s := c.project.Services[name]
	if s.Restart != "" || s.Deploy != nil && s.Deploy.RestartPolicy != nil {
		return false
	}
	for _, other := range c.project.Services {
		if d, ok := other.DependsOn[name]; ok && d.Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	return false
}

func (c *converter) service(field string, s *types.ServiceConfig) api.ServiceSpec {
	out := api.ServiceSpec{
		Image:       s.Image,
		Pull:        c.pullPolicy(field, s),
		Entrypoint:  s.Entrypoint,
		Command:     s.Command,
		Env:         environment(s.Environment),
		WorkingDir:  s.WorkingDir,
		User:        s.User,
		GroupAdd:    s.GroupAdd,
		Hostname:    s.Hostname,
		Labels:      c.labels(s),
		TTY:         s.Tty,
		StdinOpen:   s.StdinOpen,
		Ports:       c.ports(field, s),
		Expose:      c.expose(field, s),
		Networks:    c.joins(field, s),
		ExtraHosts:  c.extraHosts(field+".extra_hosts", s.ExtraHosts),
		DNS:         s.DNS,
		DNSSearch:   s.DNSSearch,
		DependsOn:   dependencies(s),
		Replicas:    s.GetScale(),
		Resources:   c.resources(field, s),
		Restart:     c.restart(field, s),
		Placement:   c.placement(field, s),
		Mounts:      c.mounts(field, s),
		Configs:     c.fileJoins(field+".configs", "/", configRefs(s.Configs)),
		Secrets:     c.fileJoins(field+".secrets", "/run/secrets/", secretRefs(s.Secrets)),
		CapAdd:      upper(s.CapAdd),
		CapDrop:     upper(s.CapDrop),
		SecurityOpt: c.securityOpt(field, s.SecurityOpt),
		Privileged:  s.Privileged,
		ReadOnly:    s.ReadOnly,
		Ulimits:     ulimits(s.Ulimits),
		Sysctls:     s.Sysctls,
		Init:        s.Init != nil && *s.Init,
		StopSignal:  strings.ToUpper(s.StopSignal),
		StopGrace:   duration(s.StopGracePeriod),
		ShmSize:     int64(s.ShmSize),
		Logging:     c.logging(field+".logging", s.Logging),
	}
	out.Update, out.Rollback = c.strategies(field, s)
	out.Health = c.health(field+".healthcheck", s.HealthCheck)
	c.namespaces(field, s)
	c.build(field, s)
	c.extension(field, s, &out)
	return out
}

// upper writes names of capabilities as ikada has them; Docker takes them in any case.
func upper(names []string) []string {
	out := slices.Clone(names)
	for i, n := range out {
		out[i] = strings.ToUpper(n)
	}
	return out
}

func environment(vars types.MappingWithEquals) map[string]string {
	out := make(map[string]string, len(vars))
	for k, v := range vars {
		if v != nil { // a name without a value, and none in the caller's environment: not passed, as with Docker
			out[k] = *v
		}
	}
	return out
}

func duration(d *types.Duration) api.Duration {
	if d == nil {
		return 0
	}
	return api.Duration(*d)
}

// pullPolicy maps Compose's policies; images are resolved to digests at each deploy, which is what the refreshing
// ones come to.
func (c *converter) pullPolicy(field string, s *types.ServiceConfig) string {
	policy, _, err := s.GetPullPolicy()
	if err != nil {
		c.bad(field+".pull_policy", s.PullPolicy, "one of always, missing, never, build, refresh, daily, weekly, every_DURATION")
		return ""
	}
	switch policy {
	case types.PullPolicyAlways, types.PullPolicyNever:
		return policy
	case types.PullPolicyBuild:
		if s.Build == nil {
			c.bad(field+".pull_policy", s.PullPolicy, "a service with build")
		}
	case types.PullPolicyRefresh:
		c.warn("%s.pull_policy %s is taken as always: tags are resolved again at each deploy", field, cmp.Or(s.PullPolicy, policy))
		return "always"
	}
	return ""
}

// labels joins the service's and the deployment's: ikada's services have one set.
func (c *converter) labels(s *types.ServiceConfig) map[string]string {
	out := map[string]string{}
	if s.Deploy != nil {
		maps.Copy(out, s.Deploy.Labels)
	}
	maps.Copy(out, s.Labels)
	if len(out) == 0 {
		return nil
	}
	return out
}

func dependencies(s *types.ServiceConfig) []api.Dependency {
	var out []api.Dependency
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		d := s.DependsOn[name]
		out = append(out, api.Dependency{Service: name, Condition: cmp.Or(d.Condition, api.DependStarted), Optional: !d.Required})
	}
	return out
}

func (c *converter) securityOpt(field string, opts []string) []string {
	var out []string
	for i, o := range opts {
		at := fmt.Sprintf("%s.security_opt[%d]", field, i)
		key, value, _ := strings.Cut(strings.Replace(o, "=", ":", 1), ":")
		switch {
		case key == "no-new-privileges" && (value == "" || value == "true"):
			out = append(out, "no-new-privileges:true")
		case key == "no-new-privileges" && value == "false":
			out = append(out, "no-new-privileges:false")
		case key == "seccomp" && value == "unconfined":
			out = append(out, "seccomp=unconfined")
		case key == "apparmor" && value == "unconfined", key == "label" && value == "disable":
			c.warn("%s %s has no effect: no such profile is set", at, o)
		default:
			c.refuse(at, o, "not supported; expected no-new-privileges[:true|false] or seccomp=unconfined")
		}
	}
	return out
}

func ulimits(limits map[string]*types.UlimitsConfig) map[string]api.Ulimit {
	out := map[string]api.Ulimit{}
	for name, l := range limits {
		switch {
		case l == nil:
		case l.Single != 0:
			out[name] = api.Ulimit{Soft: int64(l.Single), Hard: int64(l.Single)}
		default:
			out[name] = api.Ulimit{Soft: int64(l.Soft), Hard: int64(l.Hard)}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// logging honours the bounds of Docker's file drivers; others would send the output elsewhere.
func (c *converter) logging(field string, l *types.LoggingConfig) api.Logging {
	var out api.Logging
	if l == nil {
		return out
	}
	switch l.Driver {
	case "", "json-file", "local":
	case "none":
		return api.Logging{Disabled: true}
	default:
		c.refuse(field+".driver", l.Driver, "not supported; expected json-file, local or none: read logs with `ikada logs`")
		return out
	}
	for _, key := range slices.Sorted(maps.Keys(l.Options)) {
		at, value := field+".options."+key, l.Options[key]
		switch key {
		case "max-size":
			var size types.UnitBytes
			if err := size.DecodeMapstructure(value); err != nil || size <= 0 {
				c.bad(at, value, "a size such as 10m")
			}
			out.MaxSize = int64(size)
		case "max-file":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				c.bad(at, value, "a number of files, 1 or more")
			}
			out.MaxFiles = n
		case "compress", "mode", "max-buffer-size", "tag", "labels", "labels-regex", "env", "env-regex":
			c.warn("%s has no effect: logs are kept in ikada's own format", at)
		default:
			c.refuse(at, value, "unknown option; expected max-size or max-file")
		}
	}
	return out
}

// health maps a Compose healthcheck; nil leaves the image's, or ikada's default.
func (c *converter) health(field string, h *types.HealthCheckConfig) *api.HealthSpec {
	if h == nil {
		return nil
	}
	if h.Disable || len(h.Test) > 0 && h.Test[0] == "NONE" {
		return &api.HealthSpec{Disabled: true}
	}
	out := &api.HealthSpec{
		Interval: duration(h.Interval), Timeout: duration(h.Timeout),
		StartPeriod: duration(h.StartPeriod), StartInterval: duration(h.StartInterval),
	}
	if h.Retries != nil {
		out.Retries = int(min(*h.Retries, 1<<30))
	}
	if len(h.Test) == 0 {
		c.bad(field+".test", "", "a command: the image's check cannot be changed in part")
		return nil
	}
	switch kind, args := h.Test[0], h.Test[1:]; {
	case len(args) == 0 || args[0] == "":
		c.bad(field+".test", kind, "a command after "+kind)
	case kind == "CMD-SHELL":
		if len(args) > 1 {
			c.bad(field+".test", strings.Join(h.Test, " "), "one string after CMD-SHELL")
		}
		out.Command = []string{"/bin/sh", "-c", args[0]}
	default:
		out.Command = args
	}
	return out
}
