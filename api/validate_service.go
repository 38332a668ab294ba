package api

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	imageShape  = regexp.MustCompile(`^[a-zA-Z0-9\[][a-zA-Z0-9._:/@\[\]+-]*$`) // the server parses it in full
	sysctlShape = regexp.MustCompile(`^[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_*/-]+)+$`)
	signalShape = regexp.MustCompile(`^(SIG)?(ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IOT?|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|` +
		`TERM|TRAP|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)$`) // signal(7)
	cpuSetShape = regexp.MustCompile(`^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$`)
)

// capabilityNames are the capabilities of capabilities(7), without CAP_.
var capabilityNames = []string{
	"AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN", "DAC_OVERRIDE",
	"DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN",
	"MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID",
	"SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT",
	"SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
}

func capability(name string) bool {
	name = strings.TrimPrefix(name, "CAP_")
	return name == "ALL" || slices.Contains(capabilityNames, name)
}

// ulimitNames are the limits that Linux knows, as setrlimit(2) without RLIMIT_.
var ulimitNames = []string{
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
	"rttime", "sigpending", "stack",
}

func (v *validator) service(field, name string, s *ServiceSpec) {
	v.check(imageShape.MatchString(s.Image), field+".image", s.Image, "an image reference")
	v.oneOf(field+".pull", s.Pull, "", "missing", "always", "never")
	v.process(field, s)
	v.reach(field, s)
	if s.Health != nil {
		v.health(field+".health", s.Health)
	}
	v.dependencies(field, name, s)
	v.jobs(field, s)
	v.checks(field+".checks", name, s.Checks)
	v.within(field+".replicas", int64(s.Replicas), 0, MaxReplicas)
	v.resources(field+".resources", &s.Resources)
	v.oneOf(field+".restart.condition", s.Restart.Condition, "", RestartAny, RestartOnFailure, RestartNone)
	v.duration(field+".restart.delay", s.Restart.Delay)
	v.duration(field+".restart.window", s.Restart.Window)
	v.notNegative(field+".restart.maxAttempts", int64(s.Restart.MaxAttempts))
	v.strategy(field+".update", &s.Update)
	v.strategy(field+".rollback", &s.Rollback)
	v.check(!s.Rollback.Weighted(), field+".rollback.kind", s.Rollback.Kind, Rolling+": a way back takes all requests as soon as its tasks serve")
	v.check(!s.Update.Weighted() || !s.Exclusive && !s.holdsData(), field+".update.kind", s.Update.Kind,
		Rolling+": two tasks at once could harm what the service keeps in a volume, or it is exclusive")
	if s.Exclusive && (s.Update.Order == StartFirst || s.Rollback.Order == StartFirst) {
		v.bad(field+".exclusive", "true", "no order "+StartFirst+": two tasks of an exclusive slot never run at once")
	}
	v.notNegative(field+".placement.maxPerNode", int64(s.Placement.MaxPerNode))
	v.constraints(field+".placement.constraints", s.Placement.Constraints)
	v.files(field, s)
	v.confinement(field, s)
	v.duration(field+".stopGrace", s.StopGrace)
	v.duration(field+".drain", s.Drain)
	v.notNegative(field+".shmSize", s.ShmSize)
	v.notNegative(field+".logging.maxSize", s.Logging.MaxSize)
	v.notNegative(field+".logging.maxFiles", int64(s.Logging.MaxFiles))
}

// process checks what the container's first process gets.
func (v *validator) process(field string, s *ServiceSpec) {
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		v.check(k != "" && !strings.ContainsAny(k, "=\x00"), field+".env", k, "a variable's name without '='")
		v.check(!strings.ContainsRune(s.Env[k], 0), field+".env."+k, "", "a value without a zero byte")
	}
	for _, k := range slices.Sorted(maps.Keys(s.Variables)) {
		v.check(k != "" && !strings.ContainsAny(k, "=\x00"), field+".variables", k, "a variable's name without '='")
		v.check(!strings.ContainsRune(s.Variables[k], 0), field+".variables."+k, "", "a value without a zero byte")
	}
	for _, k := range slices.Sorted(maps.Keys(s.SecretEnv)) {
		v.check(len(k) <= 255 && variableShape.MatchString(k), field+".secretEnv", k, variableRule)
		_, known := v.spec.Secrets[s.SecretEnv[k]]
		v.check(known, field+".secretEnv."+k, s.SecretEnv[k], "a secret of the app's secrets")
	}
	for i, args := range [][]string{s.Entrypoint, s.Command} {
		for j, a := range args {
			v.check(!strings.ContainsRune(a, 0), fmt.Sprintf("%s.%s[%d]", field, []string{"entrypoint", "command"}[i], j),
				"", "an argument without a zero byte")
		}
	}
	v.check(s.WorkingDir == "" || strings.HasPrefix(s.WorkingDir, "/"), field+".workingDir", s.WorkingDir, "an absolute path")
	v.check(!strings.ContainsAny(s.User, " \t\r\n\x00"), field+".user", s.User, "a name or uid, and maybe ':' and a group")
	v.check(s.Hostname == "" || hostName(s.Hostname), field+".hostname", s.Hostname, hostRule)
	if s.StopSignal != "" {
		n, err := strconv.Atoi(s.StopSignal)
		v.check(err == nil && n >= 1 && n <= 64 || err != nil && signalShape.MatchString(s.StopSignal),
			field+".stopSignal", s.StopSignal, "a signal's name, such as SIGTERM, or its number")
	}
}

// reach checks how the service is reached and what it reaches.
func (v *validator) reach(field string, s *ServiceSpec) {
	for i, p := range s.Ports {
		at := fmt.Sprintf("%s.ports[%d]", field, i)
		v.check(p.Target != 0, at+".target", "0", "a port from 1 to 65535")
		v.oneOf(at+".protocol", p.Protocol, ProtoAuto, ProtoHTTP, ProtoTCP)
		v.check(p.HostIP == "" || isIP(p.HostIP), at+".hostIP", p.HostIP, "an IP address of the node")
	}
	for i, p := range s.Expose {
		v.check(p != 0, fmt.Sprintf("%s.expose[%d]", field, i), "0", "a port from 1 to 65535")
	}
	for i := range s.Routes {
		v.route(fmt.Sprintf("%s.routes[%d]", field, i), &s.Routes[i])
	}
	joined := map[string]bool{}
	for i, n := range s.Networks {
		at := fmt.Sprintf("%s.networks[%d]", field, i)
		_, known := v.spec.Networks[n.Network]
		v.check(known || n.Network == DefaultNetwork, at, n.Network, "a network of the app's networks")
		v.check(!joined[n.Network], at, n.Network, "each network once")
		joined[n.Network] = true
		for _, a := range n.Aliases {
			v.check(hostName(a), at+".aliases", a, hostRule)
		}
	}
	for _, h := range slices.Sorted(maps.Keys(s.ExtraHosts)) {
		v.check(hostName(h), field+".extraHosts", h, hostRule)
		a := s.ExtraHosts[h]
		v.check(a == "host-gateway" || isIP(a), field+".extraHosts."+h, a, "an IP address or host-gateway")
	}
	for i, a := range s.DNS {
		v.check(isIP(a), fmt.Sprintf("%s.dns[%d]", field, i), a, "an IP address")
	}
	for i, d := range s.DNSSearch {
		v.check(d == "." || hostName(d), fmt.Sprintf("%s.dnsSearch[%d]", field, i), d, hostRule)
	}
}

func (v *validator) health(field string, h *HealthSpec) {
	kinds := 0
	for _, set := range []bool{h.Disabled, len(h.Command) > 0, h.HTTP != nil, h.TCP != nil} {
		if set {
			kinds++
		}
	}
	v.check(kinds == 1, field, "", "exactly one of http, tcp, command and disabled")
	if h.HTTP != nil {
		v.check(strings.HasPrefix(h.HTTP.Path, "/") && !strings.ContainsAny(h.HTTP.Path, " \t\r\n"), field+".http.path",
			h.HTTP.Path, "a path that begins with '/'")
		v.check(!strings.ContainsAny(h.HTTP.Host, " /\t\r\n"), field+".http.host", h.HTTP.Host, hostRule)
	}
	v.duration(field+".interval", h.Interval)
	v.duration(field+".timeout", h.Timeout)
	v.duration(field+".startPeriod", h.StartPeriod)
	v.duration(field+".startInterval", h.StartInterval)
	v.notNegative(field+".retries", int64(h.Retries))
}

func (v *validator) dependencies(field, name string, s *ServiceSpec) {
	for i, d := range s.DependsOn {
		at := fmt.Sprintf("%s.dependsOn[%d]", field, i)
		on, known := v.spec.Services[d.Service]
		v.check(known || d.Optional, at+".service", d.Service, "a service of the app")
		v.check(d.Service != name, at+".service", d.Service, "another service")
		v.oneOf(at+".condition", d.Condition, DependStarted, DependHealthy, DependCompleted)
		v.check(!known || d.Condition != DependCompleted || on.Restart.RunsToEnd(), at+".condition", d.Condition,
			"a service that runs to its end: services."+d.Service+` needs restart "no" or on-failure`)
	}
}

func (v *validator) resources(field string, r *Resources) {
	v.notNegative(field+".cpuMillis", r.CPUMillis)
	v.check(r.MemoryBytes == 0 || r.MemoryBytes >= MinMemoryBytes, field+".memoryBytes", fmt.Sprint(r.MemoryBytes),
		fmt.Sprintf("at least %d bytes (6 MiB), or 0 for no limit", MinMemoryBytes))
	v.check(r.PIDs >= -1, field+".pids", fmt.Sprint(r.PIDs), "a number above 0, 0 for the default, -1 for no limit")
	v.notNegative(field+".reserveCPUMillis", r.ReserveCPUMillis)
	v.notNegative(field+".reserveMemory", r.ReserveMemory)
	v.check(r.MemoryBytes <= 0 || r.ReserveMemory <= r.MemoryBytes, field+".reserveMemory", fmt.Sprint(r.ReserveMemory),
		"no more than the memory limit")
	v.check(r.CPUMillis <= 0 || r.ReserveCPUMillis <= r.CPUMillis, field+".reserveCPUMillis", fmt.Sprint(r.ReserveCPUMillis),
		"no more than the CPU limit")
	v.check(r.CPUShares == 0 || r.CPUShares >= 2 && r.CPUShares <= 262144, field+".cpuShares", fmt.Sprint(r.CPUShares), "2 to 262144")
	v.check(r.MemorySwapBytes == 0 || r.MemorySwapBytes == -1 || r.MemoryBytes > 0 && r.MemorySwapBytes >= r.MemoryBytes,
		field+".memorySwapBytes", fmt.Sprint(r.MemorySwapBytes), "at least the memory limit, which must be set, or -1")
	v.within(field+".oomScoreAdj", int64(r.OOMScoreAdj), -1000, 1000)
	if r.MemorySwappiness != nil {
		v.within(field+".memorySwappiness", int64(*r.MemorySwappiness), 0, 100)
	}
	v.check(r.CPUSet == "" || cpuSetShape.MatchString(r.CPUSet), field+".cpuSet", r.CPUSet, "cores such as 0-3,5")
}

func (v *validator) strategy(field string, s *Strategy) {
	v.oneOf(field+".order", s.Order, "", StartFirst, StopFirst)
	v.notNegative(field+".parallelism", int64(s.Parallelism))
	v.duration(field+".delay", s.Delay)
	v.duration(field+".monitor", s.Monitor)
	v.check(s.MaxFailureRatio >= 0 && s.MaxFailureRatio <= 1 && !math.IsNaN(s.MaxFailureRatio), field+".maxFailureRatio",
		fmt.Sprint(s.MaxFailureRatio), "0 to 1")
	v.oneOf(field+".failureAction", s.FailureAction, "", ActionRollback, ActionContinue)
	v.oneOf(field+".kind", s.Kind, "", Rolling, BlueGreen, Canary)
	v.check(!s.Weighted() || s.Order != StopFirst, field+".order", s.Order, StartFirst+" with "+s.Kind+": old and new serve side by side")
	v.canary(field, s)
	for name, d := range map[string]*Duration{"warm": s.Warm, "bake": s.Bake} {
		if d != nil {
			v.duration(field+"."+name, *d)
			v.check(*d <= MaxBake, field+"."+name, d.String(), "at most "+MaxBake.String())
		}
	}
}

// canary checks the steps and the requests that a canary gets.
func (v *validator) canary(field string, s *Strategy) {
	v.check(s.Kind == Canary || len(s.Steps) == 0, field+".steps", "", "none, unless the strategy is "+Canary)
	v.check(s.Kind == Canary || s.Match == nil, field+".match", "", "none, unless the strategy is "+Canary)
	v.check(len(s.Steps) <= MaxSteps, field+".steps", fmt.Sprint(len(s.Steps)), fmt.Sprintf("at most %d steps", MaxSteps))
	least := 0
	for i, step := range s.Steps {
		at := fmt.Sprintf("%s.steps[%d]", field, i)
		v.check(step.Weight >= least && step.Weight < 100, at+".weight", fmt.Sprint(step.Weight),
			fmt.Sprintf("%d to 99 percent, no less than the step before; all requests follow the last step by themselves", least))
		v.duration(at+".pause", step.Pause)
		least = max(least, step.Weight)
	}
	if s.Match == nil {
		return
	}
	v.check(len(s.Match.Headers)+len(s.Match.Cookies) > 0, field+".match", "", "headers or cookies")
	v.headers(field+".match.headers", s.Match.Headers)
	for _, name := range slices.Sorted(maps.Keys(s.Match.Cookies)) {
		v.check(len(name) <= maxCookie && tokenShape.MatchString(name), field+".match.cookies", name, "a cookie's name")
		v.matchValue(field+".match.cookies."+name, s.Match.Cookies[name])
	}
}

func (v *validator) constraints(field string, list []string) {
	for i, c := range list {
		key, value, ok := strings.Cut(c, "==")
		if !ok {
			key, value, ok = strings.Cut(c, "!=")
		}
		v.check(ok && PlacementAttribute(strings.TrimSpace(key)) && strings.TrimSpace(value) != "",
			fmt.Sprintf("%s[%d]", field, i), c, ConstraintRule)
	}
}

// ConstraintRule is what a placement constraint has to look like.
const ConstraintRule = "node.labels.NAME, node.hostname, node.name, node.platform.arch or node.platform.os, then == or !=, then a value"

// PlacementAttribute tells whether name is an attribute of nodes that placement constraints may ask for.
func PlacementAttribute(name string) bool {
	switch name {
	case "node.hostname", "node.name", "node.id", "node.platform.arch", "node.platform.os":
		return true
	}
	label, ok := strings.CutPrefix(name, "node.labels.")
	return ok && label != ""
}

// files checks mounts, configs and secrets, and that no two stand at one place.
func (v *validator) files(field string, s *ServiceSpec) {
	taken := map[string]string{}
	place := func(at, target string) {
		v.check(absolute(target) && target != "/", at+".target", target, pathRule+" other than '/'")
		clean := path.Clean(target)
		if first, used := taken[clean]; used {
			v.bad(at+".target", target, "a place that "+first+" does not take already")
			return
		}
		taken[clean] = at
	}
	for i, m := range s.Mounts {
		at := fmt.Sprintf("%s.mounts[%d]", field, i)
		place(at, m.Target)
		v.oneOf(at+".type", m.Type, MountVolume, MountBind, MountTmpfs)
		v.notNegative(at+".size", m.Size)
		v.within(at+".mode", int64(m.Mode), 0, 0o7777)
		v.within(at+".uid", int64(m.UID), 0, math.MaxUint32)
		v.within(at+".gid", int64(m.GID), 0, math.MaxUint32)
		v.check(m.SubPath == "" || !strings.HasPrefix(m.SubPath, "/") && !slices.Contains(strings.Split(m.SubPath, "/"), ".."),
			at+".subPath", m.SubPath, "a relative path without '..'")
		switch m.Type {
		case MountBind:
			v.check(absolute(m.Source) || m.Source == "/", at+".source", m.Source, pathRule+" of the node")
		case MountVolume:
			_, known := v.spec.Volumes[m.Source]
			v.check(m.Source == "" || known, at+".source", m.Source, "a volume of the app's volumes")
		case MountTmpfs:
			v.check(m.Source == "", at+".source", m.Source, "nothing: a tmpfs has no source")
		}
	}
	for i, f := range s.Configs {
		at := fmt.Sprintf("%s.configs[%d]", field, i)
		_, known := v.spec.Configs[f.Source]
		v.check(known, at+".source", f.Source, "a config of the app's configs")
		place(at, f.Target)
		v.fileMode(at, f)
	}
	for i, f := range s.Secrets {
		at := fmt.Sprintf("%s.secrets[%d]", field, i)
		_, known := v.spec.Secrets[f.Source]
		v.check(known, at+".source", f.Source, "a secret of the app's secrets")
		place(at, f.Target)
		v.fileMode(at, f)
	}
}

func (v *validator) fileMode(field string, f FileJoin) {
	v.within(field+".uid", int64(f.UID), 0, math.MaxUint32)
	v.within(field+".gid", int64(f.GID), 0, math.MaxUint32)
	v.within(field+".mode", int64(f.Mode), 0, 0o7777)
}

// confinement checks capabilities, limits and kernel parameters.
func (v *validator) confinement(field string, s *ServiceSpec) {
	for i, c := range s.CapAdd {
		v.check(capability(c), fmt.Sprintf("%s.capAdd[%d]", field, i), c, "a capability such as NET_ADMIN, or ALL")
	}
	for i, c := range s.CapDrop {
		v.check(capability(c), fmt.Sprintf("%s.capDrop[%d]", field, i), c, "a capability such as NET_RAW, or ALL")
	}
	for i, o := range s.SecurityOpt {
		v.oneOf(fmt.Sprintf("%s.securityOpt[%d]", field, i), o, "no-new-privileges:true", "no-new-privileges:false", "seccomp=unconfined")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Ulimits)) {
		u := s.Ulimits[name]
		at := field + ".ulimits." + name
		v.check(slices.Contains(ulimitNames, name), at, name, "one of "+strings.Join(ulimitNames, ", "))
		v.check(u.Soft >= -1 && u.Hard >= -1, at, fmt.Sprintf("%d:%d", u.Soft, u.Hard), "numbers of 0 or more, or -1 for no limit")
		v.check(u.Hard == -1 || u.Soft != -1 && u.Soft <= u.Hard, at+".soft", fmt.Sprint(u.Soft), "no more than the hard limit")
	}
	for _, k := range slices.Sorted(maps.Keys(s.Sysctls)) {
		v.check(sysctlShape.MatchString(k) && namespaced(k), field+".sysctls", k,
			"a parameter of the container's own: net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm*")
	}
}

// namespaced tells whether a kernel parameter is the container's own and not the node's; the list is that of
// runc's validator.
func namespaced(key string) bool {
	switch key {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
		"kernel.shmmni", "kernel.shm_rmid_forced":
		return true
	}
	return strings.HasPrefix(key, "net.") || strings.HasPrefix(key, "fs.mqueue.")
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
