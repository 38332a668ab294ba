package containerd

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/shimenv"
)

const (
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	initTarget  = "/dev/.ikada-init" // on the container's own tmpfs, so that the image is left alone
	cpuPeriod   = 100_000            // microseconds; the kernel's default
	minCPUQuota = 1000               // microseconds; the kernel's least
)

// specInput is everything that a container's OCI specification follows from.
type specInput struct {
	container agent.Container
	image     api.ImageConfig
	user      specs.User // who the process runs as, looked up in the image
	cgroup    string     // path
	initPath  string     // of the program that is PID 1 where asked for
	host      host
}

// buildSpec makes the OCI specification. What a field means where it is silent is what Docker does.
func buildSpec(in specInput) (*specs.Spec, error) {
	c := in.container
	args, err := processArgs(c.Spec, in.image)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Hold:
		args = append([]string{initTarget, "hold", "--"}, args...)
	case c.Spec.Init:
		args = append([]string{initTarget, "init", "--"}, args...)
	}
	security, err := parseSecurity(c.Spec)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(c.Spec, in.host)
	if err != nil {
		return nil, err
	}
	rlimits, err := rlimits(c.Spec.Ulimits, in.host)
	if err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version:  specs.Version,
		Hostname: c.Host,
		Root:     &specs.Root{Path: "rootfs", Readonly: c.Spec.ReadOnly},
		Process: &specs.Process{
			Terminal:        c.Spec.TTY,
			Args:            args,
			Env:             processEnv(c, in.image),
			Cwd:             cmp.Or(c.Spec.WorkingDir, in.image.WorkingDir, "/"),
			User:            in.user,
			NoNewPrivileges: security.noNewPrivileges,
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps},
			Rlimits:         rlimits,
			OOMScoreAdj:     oomScore(c.Spec.Resources.OOMScoreAdj, in.host),
		},
		Mounts: mounts(c, in),
		Linux: &specs.Linux{
			CgroupsPath: in.cgroup,
			Namespaces:  linuxNamespaces(c.Netns, in.host),
			Resources:   resources(c.Spec, in.host),
			Sysctl:      sysctls(c.Spec.Sysctls),
		},
	}
	if c.EnvFile != "" {
		s.Annotations = map[string]string{shimenv.Annotation: c.EnvFile}
	}
	if in.user.UID != 0 {
		// A process of another user has no capabilities of its own, as with Docker; those of the bounding set are what
		// a set-uid program could get.
		s.Process.Capabilities.Permitted, s.Process.Capabilities.Effective = nil, nil
	}
	if c.Spec.Privileged {
		return s, nil
	}
	s.Linux.MaskedPaths = slices.Clone(maskedPaths)
	s.Linux.ReadonlyPaths = slices.Clone(readonlyPaths)
	if security.seccomp {
		if s.Linux.Seccomp, err = seccomp.GetDefaultProfile(s); err != nil {
			return nil, api.Errorf(api.Internal, "make seccomp profile: %w", err)
		}
	}
	return s, nil
}

// processArgs puts entrypoint and command together: an entrypoint of the service drops the image's command too.
func processArgs(s api.ServiceSpec, image api.ImageConfig) ([]string, error) {
	entrypoint, command := image.Entrypoint, image.Command
	if s.Entrypoint != nil {
		entrypoint, command = s.Entrypoint, nil
	}
	if s.Command != nil {
		command = s.Command
	}
	args := slices.Concat(entrypoint, command)
	if len(args) == 0 {
		return nil, api.FieldError("command", "", "a command, since the image has neither entrypoint nor command")
	}
	return args, nil
}

// processEnv is the image's environment with the service's over it.
func processEnv(c agent.Container, image api.ImageConfig) []string {
	env := map[string]string{"PATH": defaultPath}
	if c.Host != "" {
		env["HOSTNAME"] = c.Host
	}
	if c.Spec.TTY {
		env["TERM"] = "xterm"
	}
	for _, kv := range image.Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	maps.Copy(env, c.Spec.Environ())
	for name := range c.Spec.SecretEnv {
		delete(env, name) // the shim adds it, in memory
	}
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}

func linuxNamespaces(netns string, h host) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.NetworkNamespace, Path: netns},
	}
	if h.cgroup2 {
		list = append(list, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return list
}

// sysctls leaves out those of the network: they are set in the network namespace by whoever makes it.
func sysctls(all map[string]string) map[string]string {
	own := map[string]string{}
	for k, v := range all {
		if !strings.HasPrefix(k, "net.") && !strings.HasPrefix(k, "net/") {
			own[k] = v
		}
	}
	return own
}

// resources gives the limits of the container's cgroup. Devices are denied but for the standard ones, which runc adds.
func resources(s api.ServiceSpec, h host) *specs.LinuxResources {
	r := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: s.Privileged, Access: "rwm"}},
		Memory:  &specs.LinuxMemory{},
		CPU:     &specs.LinuxCPU{Cpus: s.Resources.CPUSet},
	}
	if n := s.Resources.MemoryBytes; n > 0 {
		r.Memory.Limit = &n
		if h.swapLimit {
			// Docker's default: as much swap again.
			swap := cmp.Or(s.Resources.MemorySwapBytes, 2*n)
			r.Memory.Swap = &swap
		}
	}
	if n := s.Resources.ReserveMemory; n > 0 {
		r.Memory.Reservation = &n
	}
	if s.Resources.DisableOOMKill && !h.cgroup2 {
		r.Memory.DisableOOMKiller = &s.Resources.DisableOOMKill
	}
	if n := s.Resources.MemorySwappiness; n != nil && !h.cgroup2 {
		u := uint64(*n)
		r.Memory.Swappiness = &u
	}
	if n := s.Resources.CPUMillis; n > 0 {
		quota, period := max(n*cpuPeriod/1000, minCPUQuota), uint64(cpuPeriod)
		r.CPU.Quota, r.CPU.Period = &quota, &period
	}
	if n := s.Resources.CPUShares; n > 0 {
		u := uint64(n)
		r.CPU.Shares = &u
	}
	pids := cmp.Or(s.Resources.PIDs, api.DefaultPIDs)
	r.Pids = &specs.LinuxPids{Limit: &pids}
	return r
}

// mounts gives the container's mounts, parents before what is mounted inside them.
func mounts(c agent.Container, in specInput) []specs.Mount {
	sysMode := "ro"
	if c.Spec.Privileged {
		sysMode = "rw"
	}
	shm := cmp.Or(c.Spec.ShmSize, api.DefaultShmSize)
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + itoa(shm)}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", sysMode}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", sysMode}},
	}
	if c.Spec.Init || c.Hold {
		list = append(list, specs.Mount{Destination: initTarget, Type: "bind", Source: in.initPath, Options: []string{"bind", "ro", "nosuid", "nodev"}})
	}
	for _, m := range c.Spec.Mounts {
		if m.Type == api.MountTmpfs {
			list = append(list, specs.Mount{Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: tmpfsOptions(m)})
		}
	}
	for _, m := range c.Mounts {
		mode := "rw"
		if m.ReadOnly {
			mode = "ro"
		}
		list = append(list, specs.Mount{Destination: m.Target, Type: "bind", Source: m.Source, Options: []string{"rbind", "rprivate", mode}})
	}
	// What the user mounts replaces a mount of ours at the same place.
	last := map[string]int{}
	for i, m := range list {
		last[path.Clean(m.Destination)] = i
	}
	kept := list[:0:0]
	for i, m := range list {
		if last[path.Clean(m.Destination)] == i {
			kept = append(kept, m)
		}
	}
	slices.SortStableFunc(kept, func(a, b specs.Mount) int { return cmp.Compare(depth(a.Destination), depth(b.Destination)) })
	return kept
}

func depth(p string) int { return strings.Count(path.Clean(p), "/") }

func tmpfsOptions(m api.Mount) []string {
	o := []string{"nosuid", "nodev"}
	if !m.Exec {
		o = append(o, "noexec")
	}
	if m.ReadOnly {
		o = append(o, "ro")
	}
	if m.Size > 0 {
		o = append(o, "size="+itoa(m.Size))
	}
	if m.UID > 0 {
		o = append(o, "uid="+itoa(int64(m.UID)))
	}
	if m.GID > 0 {
		o = append(o, "gid="+itoa(int64(m.GID)))
	}
	mode := cmp.Or(m.Mode, 0o1777)
	return append(o, "mode="+octal(mode))
}
