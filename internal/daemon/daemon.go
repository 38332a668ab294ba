package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/audit"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/build"
	"github.com/ikada/ikada/internal/control"
	"github.com/ikada/ikada/internal/dispatch"
	"github.com/ikada/ikada/internal/hook"
	"github.com/ikada/ikada/internal/house"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/metrics"
	"github.com/ikada/ikada/internal/network"
	"github.com/ikada/ikada/internal/proxy/remote"
	"github.com/ikada/ikada/internal/registry"
	containers "github.com/ikada/ikada/internal/runtime"
	"github.com/ikada/ikada/internal/runtime/containerd"
	"github.com/ikada/ikada/internal/server"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/etcd"
)

// stopGrace bounds the orderly stop of all tasks at shutdown.
const stopGrace = 2 * time.Minute

// takeOverWait bounds how long the API waits for the agent to find out what became of the tasks of before.
const takeOverWait = 5 * time.Second

// stoppedMark is a file that is there from a completed shutdown to the next start.
const stoppedMark = "stopped"

// node is everything that runs.
type node struct {
	cfg    Config
	key    *auth.Key
	signer *auth.Signer

	audit *audit.Log

	etcd       *etcd.Server
	mirror     *store.Mirror
	containerd *containerd.Daemon
	runtime    *containerd.Runtime
	network    *network.Network
	proxy      *remote.Balancer
	builder    *build.Builder
	registry   *registry.Registry
	dispatcher *dispatch.Dispatcher
	agent      *agent.Agent
	keeper     *house.Keeper
	metrics    *metrics.Book
	server     *server.Server
	listeners  *server.Listeners

	shutdown chan struct{} // a value asks to stop the node with its tasks
}

// Run runs a node until ctx ends, then stops it and leaves its tasks running; or until a client asks to shut it down,
// then stops its tasks too.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockDir(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read host name: %w", err)
	}
	if cfg.Name, err = identify(cfg.dir("node"), cfg.Name, strings.ToLower(host)); err != nil {
		return err
	}
	n := &node{cfg: cfg, shutdown: make(chan struct{}, 1)}
	defer n.close()
	if err := n.start(ctx); err != nil {
		return err
	}
	return n.run(ctx)
}

// lockDir makes sure that one ikada at a time uses a data directory.
func lockDir(cfg Config) (*os.File, error) {
	f, err := os.OpenFile(cfg.dir("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid := make([]byte, 20)
		k, _ := f.Read(pid)
		_ = f.Close()
		return nil, api.Errorf(api.Conflict, "another ikada (process %s) runs on %s", string(pid[:k]), cfg.DataDir)
	}
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	_, err = fmt.Fprint(f, os.Getpid())
	return f, err
}

// step runs one part of the start and tells of it.
func (n *node) step(part string, f func() (detail string, err error)) error {
	began := time.Now()
	detail, err := f()
	if err != nil {
		return fmt.Errorf("start %s: %w", part, err)
	}
	if n.cfg.Progress != nil {
		n.cfg.Progress(part, detail, time.Since(began))
	}
	return nil
}

// start brings every part up, those that do not need each other at once.
func (n *node) start(ctx context.Context) error {
	var err error
	if n.key, err = loadKey(n.cfg); err != nil {
		return err
	}
	if n.signer, err = auth.LoadSigner(n.cfg.DataDir); err != nil {
		return err
	}
	if n.audit, err = audit.Open(audit.Config{Dir: n.cfg.dir("audit"), Log: n.cfg.Log.With("part", "audit")}); err != nil {
		return err
	}
	if n.listeners, err = server.Listen(ctx, n.cfg.server()); err != nil {
		return err
	}
	if n.proxy, err = newProxy(n.cfg); err != nil { // the network announces to it
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.step("store", func() (string, error) { return n.startStore(ctx) }) })
	g.Go(func() error { return n.step("containerd", func() (string, error) { return n.startRuntime(gctx) }) })
	g.Go(func() error { return n.step("network", func() (string, error) { return n.startNetwork(ctx) }) })
	g.Go(func() error { return n.step("balancer", func() (string, error) { return n.startProxy(ctx) }) })
	if err := g.Wait(); err != nil {
		return err
	}
	if err := n.step("builder", func() (string, error) { return n.startBuilder(ctx) }); err != nil {
		return err
	}
	if err := n.step("registry", n.startRegistry); err != nil {
		return err
	}
	n.makeAgent()
	return n.makeServer()
}

func (n *node) startStore(ctx context.Context) (detail string, err error) {
	n.etcd, err = etcd.Open(ctx, etcd.Config{Dir: n.cfg.dir("etcd"), Name: n.cfg.Name, Log: n.cfg.Log.With("part", "etcd")})
	if err != nil {
		return "", err
	}
	n.mirror = store.NewMirror(n.etcd, n.cfg.Log.With("part", "mirror"))
	return n.cfg.dir("etcd"), nil
}

func (n *node) startRuntime(ctx context.Context) (detail string, err error) {
	cfg := n.cfg.containerd()
	cfg.Credentials = n.credentials
	if n.containerd, err = containerd.NewDaemon(cfg); err != nil {
		return "", err
	}
	if err := os.Remove(n.cfg.dir(stoppedMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := n.containerd.Start(ctx); err != nil {
		return "", err
	}
	if n.runtime, err = containerd.New(cfg); err != nil {
		return "", err
	}
	return fmt.Sprintf("process %d", n.containerd.PID()), nil
}

func (n *node) startNetwork(ctx context.Context) (detail string, err error) {
	n.network, err = network.New(network.Config{Instance: n.cfg.containerd().Instance(), StateDir: n.cfg.dir("network"),
		Subnet: n.cfg.Subnet, Announce: n.proxy.Announce, Log: n.cfg.Log.With("part", "network")})
	if err != nil {
		return "", err
	}
	if err := n.network.Start(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s and %s on %s", n.network.Subnet(), n.network.Services(), n.network.BridgeName()), nil
}

func (n *node) startProxy(ctx context.Context) (detail string, err error) {
	if err := n.proxy.Start(ctx); err != nil {
		return "", err
	}
	shared := "published ports only"
	if ports := slices.DeleteFunc([]string{n.cfg.HTTP, n.cfg.HTTPS}, func(s string) bool { return s == "" }); len(ports) > 0 {
		shared = strings.Join(ports, ", ") + " and published ports"
	}
	return fmt.Sprintf("process %d, %s", n.proxy.PID(), shared), nil
}

// newProxy makes the node's side of the balancer's process.
func newProxy(cfg Config) (*remote.Balancer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	config, err := cfg.remote()
	if err != nil {
		return nil, err
	}
	return remote.New(config, cfg.dir("proxy"), []string{self, "proxy"}, cfg.Log.With("part", "proxy"))
}

func (n *node) startBuilder(ctx context.Context) (detail string, err error) {
	c := n.cfg.containerd()
	n.builder, err = build.New(ctx, build.Config{
		Root: n.cfg.dir("build"), ContainerdAddress: c.Address(), Namespace: containerd.Namespace,
		Snapshotter: n.runtime.Snapshotter(), Shim: filepath.Join(c.BinDir(), containers.Shim), Runc: c.RuncPath(),
		Network: buildNetwork{n.network}, HostGateway: n.network.Gateway().String(),
		CgroupParent: c.CgroupPath("builds"), OwnHost: n.ownHost,
		Mirrors:     func(host string) []string { return n.cfg.Mirrors[host] },
		Credentials: n.credentials, Log: n.cfg.Log.With("part", "build"),
	})
	return "ready when asked", err
}

func (n *node) startRegistry() (detail string, err error) {
	c := n.runtime.Client()
	n.registry, err = registry.New(registry.Config{Content: c.ContentStore(), Images: c.ImageService(),
		Leases: c.LeasesService(), Namespace: containerd.Namespace, Foreign: build.Built, Log: n.cfg.Log.With("part", "registry")})
	return n.cfg.Listen + "/v2/", err
}

func (n *node) makeAgent() {
	n.dispatcher = dispatch.New(dispatch.Config{Store: n.etcd, Mirror: n.mirror,
		Unseal:    func(s *api.SealedSecret) ([]byte, error) { return n.key.OpenSecret(*s) },
		Addresses: n.network.Services(), Log: n.cfg.Log.With("part", "dispatch")})
	host, _ := os.Hostname()
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info)
	n.agent = agent.New(agent.Config{
		Node: api.Node{Name: n.cfg.Name, Labels: n.cfg.Labels, Hostname: host, Arch: runtime.GOARCH, OS: runtime.GOOS,
			CPUMilli: int64(runtime.NumCPU()) * 1000, Memory: int64(info.Totalram) * int64(info.Unit),
			Version: n.cfg.Version, Address: n.cfg.Listen},
		Dispatcher: n.dispatcher, Runtime: n.runtime, Network: n.network, Balancer: n.proxy,
		FilesDir: n.cfg.dir("tasks"), SecretsDir: n.cfg.dir("secrets"), VolumesDir: n.cfg.dir("volumes"),
		Log: n.cfg.Log.With("part", "agent"), Memory: memory, Problems: n.problems,
	})
	n.keeper = house.New(house.Config{Dir: n.cfg.DataDir, Images: storedImages{n.runtime.Images()}, Cache: buildCache{n.builder},
		Registry: n.registry, Needed: n.neededImages, Log: n.cfg.Log.With("part", "house")})
}

func (n *node) makeServer() (err error) {
	version := api.Version{Version: n.cfg.Version, Node: n.cfg.Name, DataDir: n.cfg.DataDir}
	n.metrics = metrics.New(metrics.Config{Version: version, Requests: requests{n.proxy}, World: scenes{n.mirror}})
	n.server, err = server.New(server.Deps{
		Version: version, Metrics: n.metrics,
		Store: n.etcd, Key: n.key, Log: n.cfg.Log.With("part", "server"),
		Images: ownImages{n}, Builder: n.builder, Tasks: taskReach{n}, Traffic: n.proxy, Rehearser: control.NewRehearsals(n.mirror, dispatch.LeaseTime), Housekeeper: n.keeper, Registry: n.registry, Audit: n.audit, Hooks: hook.NewSender(), Signer: n.signer,
		Shutdown: func() {
			select {
			case n.shutdown <- struct{}{}:
			default:
			}
		},
	})
	return err
}

// serve answers clients once the agent has found out what became of the tasks of before: until then they would be told
// that tasks are ready which a restart of the machine has ended. Their connections are accepted and wait.
func (n *node) serve(ctx context.Context) error {
	err := n.step("tasks", func() (string, error) {
		select {
		case <-n.agent.Settled():
			return "taken over", nil
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(takeOverWait):
			return "not taken over yet; what is told of them may be old", nil
		}
	})
	if err != nil {
		return err
	}
	at := n.cfg.Listen + " and " + n.cfg.Socket()
	if f := n.listeners.Fingerprint(); f != "" {
		at = "https://" + at + ", fingerprint " + f
	}
	if err := n.step("API", func() (string, error) { return at, nil }); err != nil {
		return err
	}
	return n.server.Serve(ctx, n.listeners)
}

// run runs every part until ctx ends or a shutdown is asked for. A part that ends by itself ends the others.
func (n *node) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	p := parts{group: g, running: map[string]bool{}}
	p.run("store", func() error { return n.etcd.Run(ctx) })
	p.run("containerd", func() error { return n.containerd.Run(ctx) })
	p.run("mirror", func() error { return n.mirror.Run(ctx) })
	p.run("balancer", func() error { return n.proxy.Run(ctx) })
	p.run("registry", func() error { return n.registry.Run(ctx) })
	p.run("dispatcher", func() error { return n.dispatcher.Run(ctx) })
	p.run("agent", func() error { return n.agent.Run(ctx) })
	p.run("house-keeper", func() error { return n.keeper.Run(ctx) })
	p.run("ports", func() error { return n.keepPorts(ctx) })
	p.run("metrics", func() error { return n.metrics.Run(ctx) })
	p.run("audit", func() error { return n.audit.Run(ctx) })
	p.run("server", func() error { return n.serve(ctx) })
	p.run("key", func() error {
		n.server.FinishRotation(ctx)
		<-ctx.Done()
		return nil
	})
	p.run("control", func() error {
		election := leader.New(n.etcd, "control", n.cfg.Name, n.cfg.Log.With("part", "leader"))
		return election.Run(ctx, func(ctx context.Context, fence leader.Fence) error {
			term, ctx := errgroup.WithContext(ctx)
			term.Go(func() error {
				return control.New(control.Config{Mirror: n.mirror, Traffic: traffic{n.proxy}, Checks: n.checks(), Log: n.cfg.Log.With("part", "control")}, fence).Run(ctx)
			})
			term.Go(func() error {
				return hook.New(hook.Config{Store: n.etcd, Sender: hook.NewSender(), Open: n.key.OpenHook, Cluster: n.cfg.Name,
					Log: n.cfg.Log.With("part", "hook")}, fence).Run(ctx)
			})
			return term.Wait()
		})
	})
	p.run("shutdown", func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-n.shutdown:
			return errShutdown
		}
	})
	err := p.wait(ctx, n.cfg.Log)
	if errors.Is(err, errShutdown) {
		return n.stopTasks()
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

var errShutdown = errors.New("shutdown was asked for")

// stopTasks stops every task of the node and then its containerd, after everything else has stopped. Until the last task
// is gone containerd is kept running: it may have died just before, and nothing can be stopped without it.
func (n *node) stopTasks() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	keeping, unkeep := context.WithCancel(ctx)
	defer unkeep()
	kept := make(chan error, 1)
	go func() { kept <- n.containerd.Run(keeping) }()
	if err := n.proxy.Stop(ctx); err != nil {
		n.cfg.Log.Error("stop balancer", "error", err)
	}
	if err := n.agent.StopAll(ctx); err != nil {
		n.cfg.Log.Error("stop tasks", "error", err)
	}
	if n.builder != nil {
		if err := n.builder.Close(); err != nil {
			n.cfg.Log.Warn("close builder", "error", err)
		}
		n.builder = nil
	}
	if err := n.runtime.RemoveAll(ctx); err != nil {
		return err
	}
	unkeep()
	if err := errors.Join(<-kept, n.containerd.Stop(ctx)); err != nil {
		return err
	}
	return os.WriteFile(n.cfg.dir(stoppedMark), nil, 0o600)
}

// close releases what start took; what is to outlive this process stays.
func (n *node) close() {
	var errs []error
	if n.listeners != nil {
		errs = append(errs, n.listeners.Close())
	}
	if n.builder != nil {
		errs = append(errs, n.builder.Close())
	}
	if n.runtime != nil {
		errs = append(errs, n.runtime.Close())
	}
	if n.network != nil {
		errs = append(errs, n.network.Close())
	}
	if n.etcd != nil {
		errs = append(errs, n.etcd.Close())
	}
	if n.audit != nil {
		errs = append(errs, n.audit.Close())
	}
	if err := errors.Join(errs...); err != nil {
		n.cfg.Log.Debug("close", "error", err)
	}
}
