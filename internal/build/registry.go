package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/util/imageutil"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ikada/ikada/api"
)

// hosts tells BuildKit how to reach a registry: the cluster's own is read from the runtime's stores, any other over
// the network, its mirrors first.
func (b *Builder) hosts(images images.Store, blobs content.Store) docker.RegistryHosts {
	local := &http.Client{Transport: &localRegistry{images: images, blobs: blobs}}
	return func(host string) ([]docker.RegistryHost, error) {
		pull := docker.HostCapabilityPull | docker.HostCapabilityResolve
		if host == api.RegistryHost || b.cfg.OwnHost != nil && b.cfg.OwnHost(host) {
			return []docker.RegistryHost{{Client: local, Host: api.RegistryHost, Scheme: "http", Path: "/v2", Capabilities: pull}}, nil
		}
		var out []docker.RegistryHost
		if b.cfg.Mirrors != nil {
			for _, m := range b.cfg.Mirrors(host) {
				u, err := url.Parse(m)
				if err != nil || u.Host == "" {
					return nil, fmt.Errorf("parse mirror %q of registry %s: expected a URL", m, host)
				}
				out = append(out, docker.RegistryHost{Client: b.registryClient(u.Host), Host: u.Host, Scheme: u.Scheme, Path: path.Join("/", u.Path, "v2"), Capabilities: pull})
			}
		}
		scheme := "https"
		if loopback, _ := docker.MatchLocalhost(host); loopback || b.cfg.PlainHTTP != nil && b.cfg.PlainHTTP(host) {
			scheme = "http"
		}
		address, err := docker.DefaultHost(host)
		if err != nil {
			return nil, err
		}
		return append(out, docker.RegistryHost{Client: b.registryClient(host), Host: address, Scheme: scheme, Path: "/v2", Capabilities: pull}), nil
	}
}

func (b *Builder) registryClient(host string) *http.Client {
	if b.cfg.Credentials == nil {
		return &http.Client{Transport: b.cfg.Transport}
	}
	return &http.Client{Transport: &clusterLogin{
		next:  b.cfg.Transport,
		login: func() (string, string, error) { return b.cfg.Credentials(host) },
	}}
}

// clusterLogin answers a registry's challenge with the cluster's own login, if there is one. A request that is
// refused all the same goes back to BuildKit, which then asks the client's session.
type clusterLogin struct {
	next  http.RoundTripper
	login func() (user, password string, err error)

	mu             sync.Mutex
	user, password string            // what auth logs in with
	auth           docker.Authorizer // keeps tokens; nil before there was a login
}

// authorizer gives what answers challenges with the login as it is now; nil when there is none. BuildKit keeps the
// transport for good, and a login may change.
func (t *clusterLogin) authorizer() docker.Authorizer {
	user, password, err := t.login()
	if err != nil || user+password == "" {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.auth == nil || t.user != user || t.password != password {
		t.user, t.password = user, password
		t.auth = docker.NewDockerAuthorizer(docker.WithAuthClient(&http.Client{Transport: t.next}),
			docker.WithAuthCreds(func(string) (string, string, error) { return user, password, nil }))
	}
	return t.auth
}

// RoundTrip implements http.RoundTripper.
func (t *clusterLogin) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Authorization") != "" || req.Body != nil {
		return t.next.RoundTrip(req)
	}
	auth := t.authorizer()
	if auth == nil {
		return t.next.RoundTrip(req)
	}
	ctx := docker.WithScope(req.Context(), pullScope(req.URL.Path))
	try := req.Clone(ctx)
	if err := auth.Authorize(ctx, try); err != nil {
		return nil, fmt.Errorf("log in to registry %s: %w", req.URL.Host, err)
	}
	res, err := t.next.RoundTrip(try)
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		return res, err
	}
	if err := auth.AddResponses(ctx, []*http.Response{res}); err != nil {
		return res, nil //nolint:nilerr // a challenge that cannot be met is the caller's to see
	}
	res.Body.Close()
	again := req.Clone(ctx)
	if err := auth.Authorize(ctx, again); err != nil {
		return nil, fmt.Errorf("log in to registry %s: %w", req.URL.Host, err)
	}
	return t.next.RoundTrip(again)
}

// pullScope gives the token scope for a request to /v2/<repository>/manifests/… or /blobs/….
func pullScope(p string) string {
	_, rest, _ := strings.Cut(p, "/v2/")
	for _, kind := range []string{"/manifests/", "/blobs/"} {
		if repo, _, ok := strings.Cut(rest, kind); ok {
			return "repository:" + repo + ":pull"
		}
	}
	return ""
}

// localRegistry serves the pull part of the OCI distribution protocol from the runtime's stores, with no network.
type localRegistry struct {
	images images.Store
	blobs  content.Store
}

// RoundTrip implements http.RoundTripper.
func (r *localRegistry) RoundTrip(req *http.Request) (*http.Response, error) {
	repo, kind, ref, ok := splitPull(req.URL.Path)
	if !ok || req.Method != http.MethodGet && req.Method != http.MethodHead {
		return answer(req, http.StatusNotFound, nil, io.NopCloser(strings.NewReader(""))), nil
	}
	desc, err := r.find(req.Context(), repo, kind, ref)
	if err == nil {
		var blob content.ReaderAt
		if blob, err = r.blobs.ReaderAt(req.Context(), desc); err == nil {
			desc.Size = blob.Size()
			return r.give(req, desc, blob), nil
		}
	}
	if !errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("read %s/%s from local store: %w", api.RegistryHost, repo, err)
	}
	body, err := json.Marshal(map[string]any{"errors": []map[string]string{{"code": "MANIFEST_UNKNOWN", "message": ref + " is not known here"}}})
	if err != nil {
		return nil, err
	}
	return answer(req, http.StatusNotFound, http.Header{"Content-Type": {"application/json"}}, io.NopCloser(bytes.NewReader(body))), nil
}

func (r *localRegistry) give(req *http.Request, desc ocispec.Descriptor, blob content.ReaderAt) *http.Response {
	head := http.Header{
		"Content-Type":          {desc.MediaType},
		"Docker-Content-Digest": {desc.Digest.String()},
		"Content-Length":        {strconv.FormatInt(desc.Size, 10)},
	}
	if req.Method == http.MethodHead {
		blob.Close()
		return answer(req, http.StatusOK, head, http.NoBody)
	}
	body := struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(blob, 0, desc.Size), blob}
	res := answer(req, http.StatusOK, head, body)
	res.ContentLength = desc.Size
	return res
}

// find gives the descriptor of a manifest, by tag or digest, or of a blob.
func (r *localRegistry) find(ctx context.Context, repo, kind, ref string) (ocispec.Descriptor, error) {
	dgst, err := digest.Parse(ref)
	switch {
	case kind == "blobs" && err == nil:
		return ocispec.Descriptor{Digest: dgst, MediaType: "application/octet-stream"}, nil
	case kind == "blobs":
		return ocispec.Descriptor{}, errdefs.ErrNotFound
	case err != nil:
		img, err := r.images.Get(ctx, api.RegistryHost+"/"+repo+":"+ref)
		return img.Target, err
	}
	blob, err := r.blobs.ReaderAt(ctx, ocispec.Descriptor{Digest: dgst})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer blob.Close()
	mediaType, err := imageutil.DetectManifestMediaType(blob)
	if err != nil {
		return ocispec.Descriptor{}, errors.Join(errdefs.ErrNotFound, err)
	}
	return ocispec.Descriptor{Digest: dgst, MediaType: mediaType}, nil
}

// splitPull takes /v2/<repository>/<manifests or blobs>/<tag or digest> apart.
func splitPull(p string) (repo, kind, ref string, ok bool) {
	rest, ok := strings.CutPrefix(p, "/v2/")
	if !ok {
		return "", "", "", false
	}
	rest, ref = path.Split(rest)
	repo, kind = path.Split(strings.TrimSuffix(rest, "/"))
	repo = strings.TrimSuffix(repo, "/")
	return repo, kind, ref, repo != "" && ref != "" && (kind == "manifests" || kind == "blobs")
}

func answer(req *http.Request, code int, head http.Header, body io.ReadCloser) *http.Response {
	if head == nil {
		head = http.Header{}
	}
	return &http.Response{
		StatusCode: code, Status: strconv.Itoa(code) + " " + http.StatusText(code),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: head, Body: body, ContentLength: -1, Request: req,
	}
}
