// Package check looks at a machine and tells what it lacks to be a node, and what to do about it.
//
// It changes nothing and keeps nothing. Start at [Machine].
package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Config says what kind of node the machine is to be.
type Config struct {
	DataDir string
	Listen  string // TCP address of the API
	HTTP    string // shared HTTP port; "" is none
	HTTPS   string // shared HTTPS port; "" is none
	Certs   string // directory of its certificates; "" is none
	Running bool   // a node runs on DataDir already, and has the API's port
	Routing bool   // a balancer of the node runs already, and has the port for routes
}

// Finding is one thing that was looked at.
type Finding struct {
	Name    string
	OK      bool
	Fatal   bool   // not OK, and a node cannot run like this
	Problem string // what is wrong
	Remedy  string // what to do
}

// The least that a node can live with, bytes.
const (
	leastDisk   = 1 << 30
	goodDisk    = 5 << 30
	leastMemory = 256 << 20
	goodFiles   = 16 << 10
)

// Machine looks at everything, in order.
func Machine(ctx context.Context, cfg Config) []Finding {
	var out []Finding
	for _, f := range []func(context.Context, Config) Finding{
		root, kernel, capabilities, controllers, overlay, namespaces, seccomp, bridges, firewall, forwarding, memory, files, dataDir, disk,
	} {
		out = append(out, f(ctx, cfg))
	}
	if !cfg.Running {
		out = append(out, port(ctx, "port of the API and registry", cfg.Listen, "--listen"))
	}
	if !cfg.Routing && cfg.HTTP != "" {
		out = append(out, port(ctx, "port for routes", cfg.HTTP, "--http"))
	}
	if !cfg.Routing && cfg.HTTPS != "" {
		out = append(out, port(ctx, "port for routes over TLS", cfg.HTTPS, "--https"))
	}
	if cfg.Certs != "" {
		out = append(out, certificates(cfg.Certs, time.Now()))
	}
	return out
}

func fine(name string) Finding { return Finding{Name: name, OK: true} }

func fatal(name, remedy, format string, args ...any) Finding {
	return Finding{Name: name, Fatal: true, Problem: fmt.Sprintf(format, args...), Remedy: remedy}
}

func warning(name, remedy, format string, args ...any) Finding {
	return Finding{Name: name, Problem: fmt.Sprintf(format, args...), Remedy: remedy}
}

func root(context.Context, Config) Finding {
	if os.Geteuid() != 0 {
		return fatal("root", "run it as root, or with sudo", "this is user %d; containers and networks are made by root", os.Geteuid())
	}
	return fine("root")
}

func kernel(context.Context, Config) Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return warning("kernel", "", "its version cannot be read: %v", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err == nil && (major < 5 || major == 5 && minor < 4) {
		return fatal("kernel", "upgrade to Linux 5.4 or newer", "Linux %s is too old", release)
	}
	return fine("kernel " + release)
}

func capabilities(context.Context, Config) Finding {
	const name = "capabilities"
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return warning(name, "", "they cannot be read: %v", err)
	}
	has := func(c int) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_MKNOD, "CAP_MKNOD"}} {
		if !has(c.bit) {
			return fatal(name, "run it outside of a container, or in a privileged one", "%s is missing", c.name)
		}
	}
	if !has(unix.CAP_SYS_RESOURCE) {
		return warning(name, "nothing need be done; grant CAP_SYS_RESOURCE where containers are to have negative OOM scores or raised limits",
			"CAP_SYS_RESOURCE is missing: negative OOM scores and raised ulimits are left out")
	}
	return fine(name)
}

func controllers(context.Context, Config) Finding {
	const name = "control groups"
	const remedy = "boot with cgroup_enable=memory swapaccount=1, or mount cgroup2 at /sys/fs/cgroup"
	have := map[string]bool{}
	if b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		for c := range strings.FieldsSeq(string(b)) {
			have[c] = true
		}
	}
	for _, c := range []string{"memory", "cpu", "pids"} {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", c)); err == nil {
			have[c] = true
		}
		if !have[c] {
			return fatal(name, remedy, "the %s controller is missing", c)
		}
	}
	return fine(name)
}

func overlay(context.Context, Config) Finding {
	b, err := os.ReadFile("/proc/filesystems")
	if err == nil && !strings.Contains(string(b), "\toverlay\n") {
		return warning("overlayfs", "modprobe overlay", "not in the kernel (or its module is not loaded yet): images would be copied for each container")
	}
	return fine("overlayfs")
}

func namespaces(context.Context, Config) Finding {
	for _, ns := range []string{"net", "pid", "mnt", "uts", "ipc"} {
		if _, err := os.Stat("/proc/self/ns/" + ns); err != nil {
			return fatal("namespaces", "use a kernel with CONFIG_NAMESPACES and its parts", "the %s namespace is missing", ns)
		}
	}
	return fine("namespaces")
}

func seccomp(context.Context, Config) Finding {
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); err != nil {
		return fatal("seccomp", "use a kernel with CONFIG_SECCOMP_FILTER", "the kernel does not filter system calls")
	}
	return fine("seccomp")
}

func bridges(context.Context, Config) Finding {
	if _, err := netlink.LinkList(); err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fatal("network links", "run it as root outside of a restricted container", "they cannot be listed: %v", err)
	}
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		if _, err := os.Stat("/sys/module/bridge"); err != nil {
			return warning("bridge", "modprobe bridge veth, if the start fails", "the bridge module is not loaded yet")
		}
	}
	return fine("bridge")
}

func firewall(context.Context, Config) Finding {
	conn, err := nftables.New()
	if err == nil {
		_, err = conn.ListTables()
	}
	if err != nil {
		return fatal("nftables", "modprobe nf_tables; use a kernel with CONFIG_NF_TABLES", "the kernel's packet filter does not answer: %v", err)
	}
	return fine("nftables")
}

func forwarding(context.Context, Config) Finding {
	const path = "/proc/sys/net/ipv4/ip_forward"
	if err := unix.Access(path, unix.W_OK); err != nil {
		return fatal("forwarding", "make /proc/sys writable", "%s cannot be written: %v", path, err)
	}
	return fine("forwarding")
}

func memory(context.Context, Config) Finding {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return warning("memory", "", "it cannot be measured: %v", err)
	}
	total := info.Totalram * uint64(info.Unit)
	if total < leastMemory {
		return fatal("memory", "use a machine with at least 512 MiB", "%d MiB are too little", total>>20)
	}
	return fine(fmt.Sprintf("memory %d MiB", total>>20))
}

// files looks at how many files may be open at once: the balancer has two for each request that it passes on.
func files(context.Context, Config) Finding {
	const name = "open files"
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return warning(name, "", "their limit cannot be read: %v", err)
	}
	return openFiles(name, l.Max) // the soft limit is raised to the hard one at the start
}

func openFiles(name string, limit uint64) Finding {
	if limit < goodFiles {
		return warning(name, "ulimit -Hn 65536 before it starts, or LimitNOFILE=65536 in the unit",
			"at most %d may be open at once, which bounds how many requests and tasks there can be", limit)
	}
	return fine(name)
}

func disk(_ context.Context, cfg Config) Finding {
	dir := existing(cfg.DataDir)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return warning("disk", "", "%s cannot be measured: %v", dir, err)
	}
	free := st.Bavail * uint64(st.Bsize)
	switch {
	case free < leastDisk && used(cfg.DataDir):
		// A node that is there must come up to make room, and to look after what it runs.
		return warning("disk", "free space: `ikada prune`", "only %d MiB are free at %s", free>>20, dir)
	case free < leastDisk:
		return fatal("disk", "free space, or choose another --data-dir", "%d MiB are free at %s, at least 1024 are needed", free>>20, dir)
	case free < goodDisk:
		return warning("disk", "free space, or choose another --data-dir", "only %d MiB are free at %s", free>>20, dir)
	}
	return fine(fmt.Sprintf("disk %d GiB free", free>>30))
}

// used tells whether a node has kept its state in the directory before.
func used(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "etcd"))
	return err == nil
}

func port(ctx context.Context, name, addr, flag string) Finding {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case err != nil && (errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EACCES)):
		return fatal(name, "stop what listens there (ss -ltnp), or choose another address with "+flag, "%s: %v", addr, err)
	case err != nil:
		return fatal(name, "give "+flag+" an address of this machine's with a port, such as 127.0.0.1:7600 or :80", "%s: %v", addr, err)
	}
	_ = l.Close()
	return fine(name + " " + addr)
}
