package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ikada/ikada/api"
)

// maxManifest bounds what is read of a manifest or an image's configuration, as registries do.
const maxManifest = 8 << 20

const (
	dockerHub         = "docker.io"
	dockerHubRegistry = "registry-1.docker.io"
)

// hosts says which addresses to ask for the images of a registry, and as whom.
type hosts struct {
	cfg    Config
	client *http.Client
}

func newHosts(cfg Config) *hosts {
	return &hosts{cfg: cfg, client: &http.Client{Transport: docker.DefaultHTTPTransport(nil)}}
}

// resolver finds and fetches images. It keeps the logins that it has used, so it is made anew for each image: a login
// that is changed or forgotten counts at once.
func (h *hosts) resolver() remotes.Resolver {
	auth := docker.NewDockerAuthorizer(docker.WithAuthClient(h.client), docker.WithAuthCreds(h.credentials))
	return docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		return h.registryHosts(host, auth)
	}})
}

func (h *hosts) credentials(host string) (string, string, error) {
	if h.cfg.Credentials == nil {
		return "", "", nil
	}
	if host == dockerHubRegistry {
		host = dockerHub
	}
	return h.cfg.Credentials(host)
}

// registryHosts gives a registry's mirrors, then the registry itself.
func (h *hosts) registryHosts(host string, auth docker.Authorizer) ([]docker.RegistryHost, error) {
	var list []docker.RegistryHost
	for _, m := range h.cfg.Mirrors[host] {
		u, err := url.Parse(m)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, api.FieldError("mirror", m, "an http or https URL")
		}
		list = append(list, docker.RegistryHost{
			Client: h.client, Authorizer: auth, Scheme: u.Scheme, Host: u.Host,
			Path:         strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/v2") + "/v2",
			Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
		})
	}
	if host == api.RegistryHost {
		return list, nil
	}
	origin := docker.RegistryHost{
		Client: h.client, Authorizer: auth, Scheme: "https", Host: host, Path: "/v2",
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
	}
	if host == dockerHub {
		origin.Host = dockerHubRegistry
	}
	if isLoopback(host) {
		origin.Scheme = "http"
	}
	return append(list, origin), nil
}

// isLoopback tells whether a host, with or without a port, is this machine: no certificate could be had for it.
func isLoopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return ip != nil && ip.IsLoopback()
}

// config reads an image's configuration at its registry, for this machine's platform.
func (h *hosts) config(ctx context.Context, ref string) (api.ImageConfig, error) {
	resolver := h.resolver()
	name, desc, err := resolver.Resolve(ctx, ref)
	if err != nil {
		return api.ImageConfig{}, err
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return api.ImageConfig{}, err
	}
	if images.IsIndexType(desc.MediaType) {
		b, err := fetchAll(ctx, fetcher, desc)
		if err != nil {
			return api.ImageConfig{}, err
		}
		if desc, err = choosePlatform(b); err != nil {
			return api.ImageConfig{}, err
		}
	}
	b, err := fetchAll(ctx, fetcher, desc)
	if err != nil {
		return api.ImageConfig{}, err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(b, &manifest); err != nil {
		return api.ImageConfig{}, fmt.Errorf("read manifest: %w", err)
	}
	if b, err = fetchAll(ctx, fetcher, manifest.Config); err != nil {
		return api.ImageConfig{}, err
	}
	return parseConfig(b)
}

// choosePlatform gives the manifest of an index that fits this machine best.
func choosePlatform(b []byte) (ocispec.Descriptor, error) {
	var index ocispec.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("read index: %w", err)
	}
	match := platforms.Default()
	var best *ocispec.Descriptor
	for i, d := range index.Manifests {
		if d.Platform == nil || !match.Match(*d.Platform) {
			continue
		}
		if best == nil || match.Less(*d.Platform, *best.Platform) {
			best = &index.Manifests[i]
		}
	}
	if best == nil {
		return ocispec.Descriptor{}, fmt.Errorf("no manifest for platform %s: %w", platforms.DefaultString(), errdefs.ErrNotFound)
	}
	return *best, nil
}

// fetchAll reads a small blob and checks it against its digest.
func fetchAll(ctx context.Context, f remotes.Fetcher, desc ocispec.Descriptor) ([]byte, error) {
	rc, err := f.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(rc, maxManifest))
	if err != nil {
		return nil, err
	}
	if got := desc.Digest.Algorithm().FromBytes(b); got != desc.Digest {
		return nil, fmt.Errorf("fetch %s: what came has digest %s", desc.Digest, got)
	}
	return b, nil
}
