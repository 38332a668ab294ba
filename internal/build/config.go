package build

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime"

	"github.com/ikada/ikada/api"
)

// Network gives RUN steps a network of their own. Safe for concurrent use.
type Network interface {
	// Attach makes a network namespace with egress and gives its path and, where they are not empty, the paths of the
	// files to mount at /etc/resolv.conf and /etc/hosts.
	Attach(ctx context.Context, id string) (netns, resolvConf, hosts string, err error)
	// Detach removes the namespace again; an unknown ID is no error.
	Detach(ctx context.Context, id string) error
}

// Config says where a Builder works and what it may use. Root and ContainerdAddress are required.
type Config struct {
	Root              string // directory of the build cache's indexes; made when missing
	ContainerdAddress string // path of containerd's socket
	Namespace         string // containerd namespace; "" is "ikada"
	Snapshotter       string // "" is "overlayfs"

	Shim     string // absolute path of the runc shim; "" is containerd's own choice
	Runc     string // absolute path of runc; "" is the shim's own choice
	RuncRoot string // directory for runc's state; "" is the shim's own choice

	Network          Network // nil: RUN steps have no network
	AllowHostNetwork bool    // builds may ask for the host's network
	HostGateway      string  // address that "host-gateway" stands for in extra_hosts; "" refuses it

	CgroupParent string // path below the cgroup root; "" is "/ikada/build"
	MemoryBytes  int64  // limit of all builds together; 0 is half of the machine's memory
	CPUShares    uint64 // weight of all builds together in cgroup v1's unit, where 1024 is ordinary; 0 is 256
	PIDs         int64  // processes of all builds together; 0 is 8192

	MaxParallel int   // builds at a time; 0 is 2; up to as many again of environments that build nothing else
	CacheBytes  int64 // size that the build cache is trimmed to; 0 is 10 GiB

	// OwnHost tells whether a registry host, as users write it in FROM ("10.0.0.1:7600"), is this cluster's own
	// registry: its images are read from the local store. May be nil.
	OwnHost func(host string) bool
	// Mirrors gives base URLs ("http://mirror:5000") to try before the registry host. May be nil.
	Mirrors func(host string) []string
	// PlainHTTP tells whether a registry host speaks HTTP; hosts on the loopback interface always may. May be nil.
	PlainHTTP func(host string) bool
	// Credentials gives the cluster's own login for a registry host; empty strings when there is none, and then the
	// client's session is asked. May be nil.
	Credentials func(host string) (user, password string, err error)
	// Transport carries requests to registries; nil is one with Go's defaults.
	Transport http.RoundTripper

	Log *slog.Logger // nil: slog.Default
}

// Validate names the first field that cannot be.
func (c Config) Validate() error {
	if !filepath.IsAbs(c.Root) {
		return api.FieldError("build.root", c.Root, "an absolute path")
	}
	if c.ContainerdAddress == "" {
		return api.FieldError("build.containerdAddress", "", "the path of containerd's socket")
	}
	for _, f := range []struct {
		name  string
		value int64
	}{{"build.memoryBytes", c.MemoryBytes}, {"build.maxParallel", int64(c.MaxParallel)}, {"build.cacheBytes", c.CacheBytes}, {"build.pids", c.PIDs}} {
		if f.value < 0 {
			return api.FieldError(f.name, "negative", "zero or more")
		}
	}
	return nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Namespace == "" {
		c.Namespace = "ikada"
	}
	if c.Snapshotter == "" {
		c.Snapshotter = "overlayfs"
	}
	if c.CgroupParent == "" {
		c.CgroupParent = "/ikada/build"
	}
	c.CgroupParent = filepath.Clean("/" + c.CgroupParent)
	if c.MemoryBytes == 0 {
		total, err := machineMemory()
		if err != nil {
			return c, err
		}
		c.MemoryBytes = total / 2
	}
	if c.CPUShares == 0 {
		c.CPUShares = 256
	}
	if c.PIDs == 0 {
		c.PIDs = 8192
	}
	if c.MaxParallel == 0 {
		c.MaxParallel = 2
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 10 << 30
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c, nil
}

// parallelSteps bounds the steps that run at a time, over all builds.
func parallelSteps() int64 { return int64(2 * runtime.NumCPU()) }
