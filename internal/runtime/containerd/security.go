package containerd

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ikada/ikada/api"
)

// defaultCapabilities are Docker's.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// maskedPaths and readonlyPaths are Docker's.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// security is what a service's security options come to.
type security struct {
	noNewPrivileges bool
	seccomp         bool
}

// parseSecurity reads the security options that can be honoured, and refuses the others by name. Options of AppArmor and
// SELinux that ask for no confinement are granted, since neither is used.
func parseSecurity(s api.ServiceSpec) (security, error) {
	out := security{noNewPrivileges: !s.Privileged, seccomp: !s.Privileged}
	for _, o := range s.SecurityOpt {
		key, value, _ := strings.Cut(strings.Replace(o, ":", "=", 1), "=")
		switch {
		case key == "no-new-privileges" && (value == "" || value == "true"):
			out.noNewPrivileges = true
		case key == "no-new-privileges" && value == "false":
			out.noNewPrivileges = false
		case key == "seccomp" && value == "unconfined":
			out.seccomp = false
		case key == "seccomp" && (value == "builtin" || value == "default"):
			out.seccomp = true
		case key == "apparmor" && value == "unconfined", key == "label" && value == "disable":
		default:
			return security{}, api.FieldError("security_opt", o, "no-new-privileges[:true|false], seccomp=unconfined, apparmor=unconfined or label=disable")
		}
	}
	return out, nil
}

// capabilities gives the names that the container's processes may have: Docker's defaults, less what is dropped, with
// what is added; ALL stands for every one. Those that ikada itself lacks cannot be given and are left out.
func capabilities(s api.ServiceSpec, h host) ([]string, error) {
	add, allAdded, err := capabilityNames("cap_add", s.CapAdd)
	if err != nil {
		return nil, err
	}
	drop, allDropped, err := capabilityNames("cap_drop", s.CapDrop)
	if err != nil {
		return nil, err
	}
	base := defaultCapabilities
	switch {
	case s.Privileged:
		return slices.Clone(h.capabilities), nil
	case allAdded:
		base = h.capabilities
	case allDropped:
		base = nil
	}
	var names []string
	for _, name := range slices.Concat(base, add) {
		dropped := slices.Contains(drop, name) && !slices.Contains(add, name)
		if !dropped && !slices.Contains(names, name) && slices.Contains(h.capabilities, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// capabilityNames reads names with or without CAP_, in any case.
func capabilityNames(field string, list []string) (names []string, all bool, err error) {
	known := knownCapabilities()
	for _, n := range list {
		name := strings.ToUpper(strings.TrimSpace(n))
		if name == "ALL" || name == "CAP_ALL" {
			all = true
			continue
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if !slices.Contains(known, name) {
			return nil, false, api.FieldError(field, n, "the name of a Linux capability, such as NET_ADMIN, or ALL")
		}
		names = append(names, name)
	}
	return names, all, nil
}

func knownCapabilities() []string {
	var names []string
	for _, c := range capability.ListKnown() {
		names = append(names, "CAP_"+strings.ToUpper(c.String()))
	}
	return names
}

// rlimits gives the limits that are asked for. Without the right to raise a hard limit they stop at ikada's own.
func rlimits(ulimits map[string]api.Ulimit, h host) ([]specs.POSIXRlimit, error) {
	var list []specs.POSIXRlimit
	for name, u := range ulimits {
		kind, ok := rlimitKinds[strings.ToLower(name)]
		if !ok {
			return nil, api.FieldError("ulimits", name, "the name of a limit, such as nofile or nproc")
		}
		r := specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)}
		if !h.can("CAP_SYS_RESOURCE") {
			if own, ok := h.hardLimit(kind); ok {
				r.Hard = min(r.Hard, own)
			}
		}
		r.Soft = min(r.Soft, r.Hard)
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b specs.POSIXRlimit) int { return strings.Compare(a.Type, b.Type) })
	return list, nil
}

// oomScore gives the score to set, nil to inherit ikada's: what protects ikada itself must not protect its containers.
// Lowering it below ikada's own needs a right that ikada may lack.
func oomScore(score int, h host) *int {
	if score == h.oomScore || (score < h.oomScore && !h.can("CAP_SYS_RESOURCE")) {
		return nil
	}
	return &score
}

func itoa(n int64) string   { return strconv.FormatInt(n, 10) }
func octal(n uint32) string { return strconv.FormatUint(uint64(n), 8) }
