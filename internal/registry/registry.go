package registry

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"github.com/ikada/ikada/api"
)

// What is taken where Config is silent.
const (
	DefaultUploadTTL = 24 * time.Hour
	DefaultGrace     = 6 * time.Hour // see also DefaultKeepUntagged
)

// Config is what a Registry stands on. Content, Images, Leases and Namespace are required.
type Config struct {
	Content   content.Store  // of the runtime, with the metadata that its garbage collector works on
	Images    images.Store   // of the same runtime
	Leases    leases.Manager // of the same runtime
	Namespace string         // of the runtime, that all of it lives in

	// Auth is asked before every request; nil lets everything through. An error of kind Unauthorized becomes a 401
	// with a Basic challenge, any other a 403. It sees the method and the path; a mount also names the repository to
	// take from in the query parameter "from".
	Auth func(*http.Request) error

	// Foreign tells by an image's labels that others put it into a repository and remove it themselves. Nil: none did.
	Foreign func(labels map[string]string) bool

	UploadTTL    time.Duration    // an upload untouched for so long is given up; 0 is DefaultUploadTTL
	Grace        time.Duration    // how long a pushed blob is kept that no manifest names; 0 is DefaultGrace
	KeepUntagged time.Duration    // how long a pushed manifest is kept that nothing names; 0 is DefaultKeepUntagged
	Now          func() time.Time // nil is time.Now
	Log          *slog.Logger     // nil discards
}

// Validate names the first required field that is missing.
func (c Config) Validate() error {
	switch {
	case c.Content == nil:
		return api.FieldError("Content", "", "a content store")
	case c.Images == nil:
		return api.FieldError("Images", "", "an image store")
	case c.Leases == nil:
		return api.FieldError("Leases", "", "a lease manager")
	case c.Namespace == "":
		return api.FieldError("Namespace", "", "the runtime's namespace")
	}
	return nil
}

// Registry is the handler of /v2/.
type Registry struct {
	cfg   Config
	log   *slog.Logger
	nodes *lru.Cache[digest.Digest, *manifest] // parsed manifests: immutable, since they are known by digest
	seed  maphash.Seed
	locks [64]sync.Mutex // by repository: who writes or removes its manifests

	mu      sync.Mutex // guards what follows; never held during a call to the runtime, but for the first load
	loaded  bool
	uploads map[string]*upload                 // by upload ID
	holds   map[string]map[digest.Digest]*hold // by repository
	views   map[string]*cachedView             // by repository
}

// nodesKept is how many parsed manifests are remembered, at one or two kilobytes each.
const nodesKept = 16384

// New makes a registry. It does not call the runtime yet, which may still be starting.
func New(cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure registry: %w", err)
	}
	if cfg.UploadTTL == 0 {
		cfg.UploadTTL = DefaultUploadTTL
	}
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.KeepUntagged == 0 {
		cfg.KeepUntagged = DefaultKeepUntagged
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	nodes, err := lru.New[digest.Digest, *manifest](nodesKept)
	if err != nil {
		return nil, fmt.Errorf("make manifest cache: %w", err)
	}
	return &Registry{
		cfg:     cfg,
		log:     cfg.Log,
		nodes:   nodes,
		seed:    maphash.MakeSeed(),
		uploads: map[string]*upload{},
		holds:   map[string]map[digest.Digest]*hold{},
		views:   map[string]*cachedView{},
	}, nil
}

// ServeHTTP answers a request below /v2/.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	req = req.WithContext(namespaces.WithNamespace(req.Context(), r.cfg.Namespace))
	if err := r.serve(w, req); err != nil {
		r.fail(w, req, err)
	}
}

// serve checks, finds the handler and runs it. An error that it returns was not yet answered.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request) error {
	if r.cfg.Auth != nil {
		if err := r.cfg.Auth(req); err != nil {
			return denied(err)
		}
	}
	rt, err := parsePath(req.URL.Path)
	if err != nil {
		return err
	}
	if err := r.load(req.Context()); err != nil {
		return err
	}
	handle := r.handler(rt.kind, req.Method)
	if handle == nil {
		return problemf(http.StatusMethodNotAllowed, codeUnsupported, "%s is not supported here", req.Method)
	}
	return handle(w, req, rt)
}

type handler func(w http.ResponseWriter, req *http.Request, rt route) error

func (r *Registry) handler(kind resource, method string) handler {
	read := method == http.MethodGet || method == http.MethodHead
	switch {
	case kind == resourceBase && read:
		return r.base
	case kind == resourceCatalog && read:
		return r.catalog
	case kind == resourceTags && read:
		return r.listTags
	case kind == resourceReferrers && read:
		return r.listReferrers
	case kind == resourceBlob && read:
		return r.getBlob
	case kind == resourceBlob && method == http.MethodDelete:
		return r.deleteBlob
	case kind == resourceUploads && method == http.MethodPost:
		return r.postUpload
	case kind == resourceUpload && read:
		return r.getUpload
	case kind == resourceUpload && method == http.MethodPatch:
		return r.patchUpload
	case kind == resourceUpload && method == http.MethodPut:
		return r.putUpload
	case kind == resourceUpload && method == http.MethodDelete:
		return r.deleteUpload
	case kind == resourceManifest && read:
		return r.getManifest
	case kind == resourceManifest && method == http.MethodPut:
		return r.putManifest
	case kind == resourceManifest && method == http.MethodDelete:
		return r.deleteManifest
	}
	return nil
}

// base tells a client that this is a registry.
func (r *Registry) base(w http.ResponseWriter, _ *http.Request, _ route) error {
	return writeJSON(w, http.StatusOK, "application/json", struct{}{})
}

// lock excludes other writers and removers of the repository's manifests until the function it gives is called.
func (r *Registry) lock(repo string) (unlock func()) {
	m := &r.locks[maphash.String(r.seed, repo)%uint64(len(r.locks))]
	m.Lock()
	return m.Unlock
}

// background is a context for work that must not end with the request that caused it.
func (r *Registry) background(ctx context.Context) context.Context {
	return namespaces.WithNamespace(context.WithoutCancel(ctx), r.cfg.Namespace)
}
