package compose

import (
	"cmp"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ikada/ikada/api"
)

// validate checks the spec as the server will, taking for granted the images that are still to be built. rename turns
// the spec's name of a field into the file's.
func validate(spec api.AppSpec, builds map[string]api.BuildSpec, rename func(string) string) error {
	checked := spec
	checked.Services = maps.Clone(spec.Services)
	for name := range builds {
		s := checked.Services[name]
		s.Image = cmp.Or(s.Image, "built")
		checked.Services[name] = s
	}
	problems := checked.Problems()
	renameFields(problems, rename)
	return api.FieldErrors(problems)
}

// renameFields gives errors other names for their fields.
func renameFields(errs []error, rename func(string) string) {
	for i, err := range errs {
		if e, ok := errors.AsType[*api.Error](err); ok {
			errs[i] = &api.Error{Kind: e.Kind, Field: rename(e.Field), Value: e.Value, Message: e.Message, Expected: e.Expected}
		}
	}
}

// fieldNames pairs the spec's names of a service's fields with Compose's.
var fieldNames = map[string]string{
	"pull": "pull_policy", "workingDir": "working_dir", "env": "environment", "groupAdd": "group_add",
	"extraHosts": "extra_hosts", "dnsSearch": "dns_search", "dependsOn": "depends_on", "replicas": "deploy.replicas",
	"resources.cpuMillis": "cpus", "resources.memoryBytes": "mem_limit", "resources.pids": "pids_limit",
	"resources.reserveCPUMillis": "deploy.resources.reservations.cpus", "resources.reserveMemory": "mem_reservation",
	"resources.cpuShares": "cpu_shares", "resources.memorySwapBytes": "memswap_limit",
	"resources.oomScoreAdj": "oom_score_adj", "resources.memorySwappiness": "mem_swappiness", "resources.cpuSet": "cpuset",
	"restart.condition": "deploy.restart_policy.condition", "restart.delay": "deploy.restart_policy.delay",
	"restart.window": "deploy.restart_policy.window", "restart.maxAttempts": "deploy.restart_policy.max_attempts",
	"update.order": "deploy.update_config.order", "update.parallelism": "deploy.update_config.parallelism",
	"update.delay": "deploy.update_config.delay", "update.monitor": "deploy.update_config.monitor",
	"update.maxFailureRatio":   "deploy.update_config.max_failure_ratio",
	"rollback.order":           "deploy.rollback_config.order",
	"rollback.delay":           "deploy.rollback_config.delay",
	"rollback.monitor":         "deploy.rollback_config.monitor",
	"rollback.maxFailureRatio": "deploy.rollback_config.max_failure_ratio",
	"placement.constraints":    "deploy.placement.constraints", "placement.maxPerNode": "deploy.placement.max_replicas_per_node",
	"capAdd": "cap_add", "capDrop": "cap_drop", "securityOpt": "security_opt", "stopSignal": "stop_signal",
	"stopGrace": "stop_grace_period", "shmSize": "shm_size", "logging.maxSize": "logging.options.max-size",
	"logging.maxFiles": "logging.options.max-file", "health.startPeriod": "healthcheck.start_period",
	"health.startInterval": "healthcheck.start_interval", "health.interval": "healthcheck.interval",
	"health.timeout": "healthcheck.timeout", "health.retries": "healthcheck.retries", "routes": "x-ikada.route",
	"secretEnv": "x-ikada.secrets", "exclusive": "x-ikada.exclusive", "drain": "x-ikada.strategy.drain",
	"release": "x-ikada.release", "cron": "x-ikada.cron",
	"checks": "x-ikada.checks",
}

// checkNames pairs the spec's names within a check with those of x-ikada.
var checkNames = strings.NewReplacer(".initialDelay", ".initial_delay", ".onError", ".on_error")

// policyNames pairs the spec's names within a route with those of x-ikada; those of users and headers stay.
var policyNames = map[string]string{
	"idleTimeout": "idle_timeout", "maxBody": "max_body", "rateLimit": "rate_limit", "basicAuth": "basic_auth",
	"sticky.maxAge": "sticky.max_age", "maintenance.retryAfter": "maintenance.retry_after",
}

var (
	serviceField = regexp.MustCompile(`^services\.([^.]+)\.(.+)$`)
	mountField   = regexp.MustCompile(`^mounts\[(\d+)\](.*)$`)
	checkField   = regexp.MustCompile(`^checks\[(\d+)\](.*)$`)
	routeField   = regexp.MustCompile(`^(routes\[\d+\]\.)(.+)$`)
)

// composeField turns "services.web.mounts[0].target" into "services.web.volumes[0].target", and so on.
func (m *model) composeField(field string) string {
	at := serviceField.FindStringSubmatch(field)
	if at == nil {
		if check := checkField.FindStringSubmatch(field); check != nil {
			return m.namedCheck(m.project.Extensions[extensionKey], check)
		}
		return field
	}
	service, rest := at[1], at[2]
	if check := checkField.FindStringSubmatch(rest); check != nil {
		return "services." + service + "." + m.namedCheck(m.project.Services[service].Extensions[extensionKey], check)
	}
	if mount := mountField.FindStringSubmatch(rest); mount != nil {
		n, err := strconv.Atoi(mount[1])
		if volumes := len(m.project.Services[service].Volumes); err == nil && n >= volumes {
			return "services." + service + ".tmpfs[" + strconv.Itoa(n-volumes) + "]"
		}
		return "services." + service + ".volumes[" + mount[1] + "]" + strings.Replace(mount[2], "subPath", "volume.subpath", 1)
	}
	if route := routeField.FindStringSubmatch(rest); route != nil {
		for name, ours := range policyNames {
			if tail, ok := strings.CutPrefix(route[2], name); ok && (tail == "" || tail[0] == '.') {
				rest = route[1] + ours + tail
			}
		}
	}
	best := ""
	for name := range fieldNames {
		next := strings.TrimPrefix(rest, name)
		if len(next) < len(rest) && (next == "" || next[0] == '.' || next[0] == '[') && len(name) > len(best) {
			best = name
		}
	}
	if best != "" {
		rest = m.limitField(service, fieldNames[best]) + rest[len(best):]
	}
	if !m.listsRoutes(service) {
		rest = strings.Replace(rest, "x-ikada.route[0]", "x-ikada.route", 1)
	}
	return "services." + service + "." + rest
}

// limitField names a limit as the file does: the one of deploy wins where it is set.
func (m *model) limitField(service, name string) string {
	deploy := m.project.Services[service].Deploy
	if deploy == nil || deploy.Resources.Limits == nil {
		return name
	}
	const limits = "deploy.resources.limits."
	switch l := deploy.Resources.Limits; {
	case name == "cpus" && l.NanoCPUs != 0:
		return limits + "cpus"
	case name == "mem_limit" && l.MemoryBytes != 0:
		return limits + "memory"
	case name == "pids_limit" && l.Pids != 0:
		return limits + "pids"
	}
	return name
}

// namedCheck gives a check's field as it stands in an extension: by its name where that is a mapping.
func (m *model) namedCheck(extension any, check []string) string {
	field := extensionKey + "." + checksKey
	at := "[" + check[1] + "]"
	keys, _ := extension.(map[string]any)
	if named, ok := keys[checksKey].(map[string]any); ok {
		names := slices.Sorted(maps.Keys(named))
		if n, err := strconv.Atoi(check[1]); err == nil && n < len(names) {
			at = "." + names[n]
		}
	}
	return field + at + checkNames.Replace(check[2])
}

// listsRoutes tells whether a service's routes stand in a list, and not as the only one.
func (m *model) listsRoutes(service string) bool {
	extension, _ := m.project.Services[service].Extensions[extensionKey].(map[string]any)
	_, list := extension["route"].([]any)
	return list
}
