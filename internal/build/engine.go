package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/cache/contenthash"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor/containerdexecutor"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	snapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/resolver"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/label"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/ikada/ikada/api"
)

// connectTimeout bounds the wait for containerd when BuildKit is opened.
const connectTimeout = 5 * time.Second

var errRuntimeGone = errors.New("containerd was restarted")

// engine is BuildKit on one connection to containerd. It lives as long as the connection: when that breaks, ctx ends
// with errRuntimeGone as its cause, and once nobody uses the engine any more it is closed and a new one is opened.
type engine struct {
	root    string // of its stores
	ctx     context.Context
	cancel  context.CancelCauseFunc
	client  *containerd.Client
	control *control.Controller
	watched chan struct{} // closed when watch has returned
	gone    chan struct{} // closed when the engine is closed
	users   int           // guarded by Builder.mu
}

// openEngine connects to containerd and opens BuildKit's stores.
func (b *Builder) openEngine(ctx context.Context) (_ *engine, err error) {
	cfg := b.cfg
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var undo []func() error
	defer func() {
		if err != nil {
			for _, f := range slices.Backward(undo) {
				_ = f() // the first error is the one to tell
			}
		}
	}()

	cd, err := containerd.New(cfg.ContainerdAddress, containerd.WithDefaultNamespace(cfg.Namespace), containerd.WithTimeout(connectTimeout))
	if err != nil {
		return nil, api.Errorf(api.Unavailable, "connect to containerd: %w", err)
	}
	undo = append(undo, cd.Close)
	if err := clearLeftovers(ctx, cd, cfg.CgroupParent); err != nil {
		if errdefs.IsUnavailable(err) {
			return nil, api.Errorf(api.Unavailable, "connect to containerd at %s: %w", cfg.ContainerdAddress, err)
		}
		return nil, err
	}
	if err := clearMounts(cfg.Root); err != nil {
		return nil, err
	}
	opt, err := b.workerOpt(ctx, cd)
	if err != nil {
		return nil, err
	}
	undo = append(undo, opt.MetadataStore.Close)
	w, err := base.NewWorker(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("open build cache: %w", err)
	}
	workers := &worker.Controller{}
	if err := workers.Add(w); err != nil {
		return nil, fmt.Errorf("open build cache: %w", err)
	}
	if removed, err := openIndex(cfg.Root); err != nil {
		return nil, err
	} else if removed {
		cfg.Log.Warn("build cache is filled anew: the machine went down while it was in use")
	}
	keys, err := bboltcachestorage.NewStore(filepath.Join(cfg.Root, indexFile))
	if err != nil {
		return nil, fmt.Errorf("open build cache: %w", err)
	}
	undo = append(undo, keys.Close)
	history, err := boltutil.SafeOpen(filepath.Join(cfg.Root, "history.db"), 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("open build history: %w", err)
	}
	undo = append(undo, history.Close)

	// The pool of registry connections is the process's: what an engine that is gone left there would read its stores.
	resolver.DefaultPool.Clear()
	var allowed []string
	if cfg.AllowHostNetwork {
		allowed = append(allowed, string(entitlements.EntitlementNetworkHost))
	}
	e := &engine{root: cfg.Root, client: cd, watched: make(chan struct{}), gone: make(chan struct{})}
	e.ctx, e.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	e.control, err = control.NewController(control.Opt{
		SessionManager:   b.sessions,
		WorkerController: workers,
		Frontends:        map[string]frontend.Frontend{"dockerfile.v0": forwarder.NewGatewayForwarder(workers.Infos(), solveDockerfile)},
		CacheManager:     solver.NewCacheManager(e.ctx, "local", keys, worker.NewCacheResultStorage(workers)),
		Entitlements:     allowed,
		HistoryDB:        history,
		HistoryConfig:    &config.HistoryConfig{MaxEntries: new(int64)}, // releases are ikada's history
		CacheStore:       keys,
		LeaseManager:     w.LeaseManager(),
		ContentStore:     w.ContentStore(),
		GarbageCollect:   w.GarbageCollect,
		GracefulStop:     e.ctx.Done(),
	})
	if err != nil {
		e.cancel(err)
		return nil, fmt.Errorf("open BuildKit: %w", err)
	}
	go func() {
		e.watch()
		b.retire(e)
	}()
	return e, nil
}

// workerOpt is what BuildKit's own containerd worker sets up, with networks, executor and registries of our own.
func (b *Builder) workerOpt(ctx context.Context, cd *containerd.Client) (base.WorkerOpt, error) {
	cfg := b.cfg
	var opt base.WorkerOpt
	server, err := cd.IntrospectionService().Server(ctx)
	if err != nil {
		return opt, api.Errorf(api.Unavailable, "connect to containerd at %s: %w", cfg.ContainerdAddress, err)
	}
	root := filepath.Join(cfg.Root, "containerd-"+cfg.Snapshotter)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return opt, fmt.Errorf("make build cache: %w", err)
	}
	id, err := base.ID(root)
	if err != nil {
		return opt, fmt.Errorf("read build worker's name: %w", err)
	}
	md, err := metadata.NewStore(filepath.Join(root, "metadata_v2.db"))
	if err != nil {
		return opt, fmt.Errorf("open build cache: %w", err)
	}
	if err := forgetChecksums(md); err != nil {
		return opt, errors.Join(err, md.Close())
	}
	networks := map[pb.NetMode]network.Provider{
		pb.NetMode_UNSET: network.NewNoneProvider(),
		pb.NetMode_HOST:  network.NewHostProvider(),
		pb.NetMode_NONE:  network.NewNoneProvider(),
	}
	if cfg.Network != nil {
		networks[pb.NetMode_UNSET] = &stepNetworks{net: cfg.Network, dir: filepath.Join(cfg.Root, "hosts")}
	}
	lm := leaseutil.WithNamespace(cd.LeasesService(), cfg.Namespace)
	blobs := snapshot.NewContentStore(cd.ContentStore(), cfg.Namespace)
	images := cd.ImageService()
	return base.WorkerOpt{
		ID:   id,
		Root: root,
		Labels: map[string]string{
			label.Executor:            "containerd",
			label.Snapshotter:         cfg.Snapshotter,
			label.ContainerdNamespace: cfg.Namespace,
			label.ContainerdUUID:      server.UUID,
		},
		Platforms:        []ocispec.Platform{platforms.Normalize(platforms.DefaultSpec())},
		GCPolicy:         cachePolicy(cfg.CacheBytes),
		NetworkProviders: networks,
		Executor: &cagedExecutor{cage: b.cage, Executor: containerdexecutor.New(containerdexecutor.ExecutorOptions{
			Client:           cd,
			Root:             root,
			CgroupParent:     cfg.CgroupParent,
			NetworkProviders: networks,
			Runtime:          runtimeOf(cfg),
		})},
		Snapshotter:    snapshot.NewSnapshotter(cfg.Snapshotter, cd.SnapshotService(cfg.Snapshotter), cfg.Namespace, nil),
		ContentStore:   blobs,
		Applier:        cd.DiffService(),
		Differ:         cd.DiffService(),
		ImageStore:     images,
		RegistryHosts:  b.hosts(images, blobs),
		LeaseManager:   lm,
		GarbageCollect: collect(lm),
		ParallelismSem: semaphore.NewWeighted(parallelSteps()),
		MetadataStore:  md,
		MountPoolRoot:  filepath.Join(root, "cachemounts"),
	}, nil
}

// forgetChecksums drops what BuildKit remembers, in the process, of the checksums of the cache's files: it would be
// written to the store of the engine that is gone.
func forgetChecksums(md *metadata.Store) error {
	records, err := md.All()
	if err != nil {
		return fmt.Errorf("read build cache: %w", err)
	}
	for _, r := range records {
		contenthash.ClearCacheContext(record{id: r.ID()})
	}
	return nil
}

// record names a cache record, which is all that dropping its checksums needs.
type record struct {
	cache.RefMetadata
	id string
}

// ID implements cache.RefMetadata.
func (r record) ID() string { return r.id }

// collect makes containerd collect its garbage: it does so when a lease is deleted synchronously.
func collect(lm *leaseutil.Manager) func(context.Context) (gc.Stats, error) {
	return func(ctx context.Context) (gc.Stats, error) {
		l, err := lm.Create(ctx)
		if err != nil {
			return nil, fmt.Errorf("collect garbage: %w", err)
		}
		return nil, lm.Delete(ctx, leases.Lease{ID: l.ID}, leases.SynchronousDelete)
	}
}

// runtimeOf gives the shim and runc that steps run with; nil is containerd's own choice.
func runtimeOf(cfg Config) *containerdexecutor.RuntimeInfo {
	if cfg.Shim == "" && cfg.Runc == "" && cfg.RuncRoot == "" {
		return nil
	}
	shim := cfg.Shim
	if shim == "" {
		shim = "io.containerd.runc.v2"
	}
	return &containerdexecutor.RuntimeInfo{Name: shim, Options: &options.Options{BinaryName: cfg.Runc, Root: cfg.RuncRoot}}
}

// cachePolicy says what goes when the cache is larger than size: first what is cheap to make again and was not used
// for two days, then the least used.
func cachePolicy(size int64) []client.PruneInfo {
	return []client.PruneInfo{
		{Filter: []string{"type==source.local,type==exec.cachemount,type==source.git.checkout"}, KeepDuration: 48 * time.Hour, MaxUsedSpace: size / 10},
		{All: true, MaxUsedSpace: size},
	}
}

// watch ends the engine's context when the connection to containerd breaks. gRPC would connect again by itself, but
// steps that ran are lost to this engine, and so is what it holds in memory about them.
func (e *engine) watch() {
	defer close(e.watched)
	conn, ok := e.client.Conn().(*grpc.ClientConn)
	if !ok {
		return
	}
	for state := conn.GetState(); ; state = conn.GetState() {
		if state != connectivity.Ready {
			e.cancel(errRuntimeGone)
			return
		}
		if !conn.WaitForStateChange(e.ctx, state) {
			return
		}
	}
}

// close closes everything that openEngine opened. Nobody uses the engine any more.
func (e *engine) close() error {
	e.cancel(context.Canceled)
	<-e.watched
	err := e.control.Close()
	if err == nil {
		err = closeIndex(e.root)
	}
	err = errors.Join(err, e.client.Close())
	close(e.gone)
	return err
}
