package containerd

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/locker"
	"github.com/opencontainers/image-spec/identity"

	"github.com/ikada/ikada/api"
)

// The pull policies, in Compose's words. The empty one is PullMissing, but for the tag latest, which is looked up again
// if the registry can be reached.
const (
	PullMissing = "missing"
	PullAlways  = "always"
	PullNever   = "never"
)

// labelTag keeps, with an image that is known by its digest, the tag by which it was asked for.
const labelTag = "dev.ikada.tag"

// Images are the images of this node: found out about, pulled, listed, removed. An image is kept in containerd's store
// under its canonical name, NAME@DIGEST; as long as the store names it there, its blobs and snapshots are kept.
type Images struct {
	cfg         Config
	client      *client.Client
	snapshotter string
	configs     *configCache
	hosts       *hosts
	pulls       *locker.Locker // by pinned reference

	mu   sync.Mutex
	tags map[string]string // pinned reference → tag that was resolved to it, until it is pulled
}

// Image is an image that the store names.
type Image struct {
	Name      string // as the store knows it: NAME@DIGEST of pulled ones
	Digest    string
	CreatedAt time.Time
	UpdatedAt time.Time
	Labels    map[string]string
}

// localImage is what a start needs of an image that is unpacked.
type localImage struct {
	chainID string // name of its snapshot
	config  api.ImageConfig
}

func newImages(cfg Config, c *client.Client, snapshotter string, cache *configCache) *Images {
	return &Images{
		cfg: cfg, client: c, snapshotter: snapshotter, configs: cache, hosts: newHosts(cfg),
		tags: map[string]string{}, pulls: locker.New(),
	}
}

// Resolve pins a reference: it gives NAME@DIGEST, asking the registry where the policy wants it. Errors are of kind
// Invalid, NotFound, Unauthorized or Unavailable.
func (i *Images) Resolve(ctx context.Context, ref, policy string) (string, error) {
	named, err := parse(ref)
	if err != nil {
		return "", err
	}
	switch policy {
	case "", PullMissing, PullAlways, PullNever:
	default:
		return "", api.FieldError("pull_policy", policy, "missing, always or never")
	}
	ctx = inNamespace(ctx)
	own := i.isLocal(named)
	if d, ok := named.(reference.Digested); ok {
		pinned := pin(named, d.Digest().String())
		if own {
			err = i.renew(ctx, pinned)
		}
		return pinned, convert(err, "resolve image %s", ref)
	}
	tagged := named.String()
	known, found, err := i.findTag(ctx, tagged)
	if err != nil {
		return "", convert(err, "resolve image %s", ref)
	}
	latest := strings.HasSuffix(tagged, ":latest")
	if found && own {
		if err := i.renew(ctx, pin(named, known)); err != nil {
			return "", convert(err, "resolve image %s", ref)
		}
	}
	switch {
	case found && (own || policy == PullNever || policy == PullMissing || (policy == "" && !latest)):
		return pin(named, known), nil
	case own:
		return "", api.Errorf(api.NotFound, "resolve image %s: not found in this cluster's registry; push it first", ref)
	case policy == PullNever:
		return "", api.Errorf(api.NotFound, "resolve image %s: not found on this node, and it is never to be pulled", ref)
	}
	_, desc, err := i.hosts.resolver().Resolve(ctx, tagged)
	if err != nil {
		if found && policy == "" && kindOf(err) == api.Unavailable {
			return pin(named, known), nil
		}
		return "", convert(err, "resolve image %s", ref)
	}
	pinned := pin(named, desc.Digest.String())
	if err := i.remember(ctx, pinned, tagged); err != nil {
		return "", convert(err, "resolve image %s", ref)
	}
	return pinned, nil
}

// findTag gives the digest that the store knows a tag for: a record of that name, or the one that was last asked for
// by it.
func (i *Images) findTag(ctx context.Context, tagged string) (digest string, found bool, err error) {
	list, err := i.client.ImageService().List(ctx, fmt.Sprintf("name==%q", tagged), fmt.Sprintf("labels.%q==%q", labelTag, tagged))
	if err != nil {
		return "", false, err
	}
	var newest time.Time
	for _, img := range list {
		if img.Name == tagged {
			return img.Target.Digest.String(), true, nil
		}
		if !found || img.UpdatedAt.After(newest) {
			digest, found, newest = img.Target.Digest.String(), true, img.UpdatedAt
		}
	}
	return digest, found, nil
}

// renew makes an image of this cluster young again for the house-keeper, which has not seen the release yet that is
// about to name it: it could not be pulled a second time.
func (i *Images) renew(ctx context.Context, pinned string) error {
	img, err := i.client.ImageService().Get(ctx, pinned)
	if err == nil {
		_, err = i.client.ImageService().Update(ctx, img, "target") // the store notes the time of every update
	}
	if errdefs.IsNotFound(err) {
		return nil // what starts it says so
	}
	return err
}

// remember notes the tag of a pinned reference: at once with an image that is here, else when it is pulled.
func (i *Images) remember(ctx context.Context, pinned, tagged string) error {
	i.mu.Lock()
	i.tags[pinned] = tagged
	i.mu.Unlock()
	img, err := i.client.ImageService().Get(ctx, pinned)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if img.Labels[labelTag] == tagged {
		return nil
	}
	if img.Labels == nil {
		img.Labels = map[string]string{}
	}
	img.Labels[labelTag] = tagged
	_, err = i.client.ImageService().Update(ctx, img, "labels")
	return err
}

// Pull makes an image present and unpacked; ref is pinned. Progress gets bytes done and in all. Several pulls of one
// image at a time are made one.
func (i *Images) Pull(ctx context.Context, ref string, progress func(done, total int64)) error {
	named, err := parse(ref)
	if err != nil {
		return err
	}
	if _, ok := named.(reference.Digested); !ok {
		return api.FieldError("image", ref, "a reference with a digest (name@sha256:…)")
	}
	ref = named.String()
	i.pulls.Lock(ref)
	defer i.pulls.Unlock(ref) //nolint:errcheck // it fails only when it was not locked
	ctx = inNamespace(ctx)
	if _, err := i.local(ctx, ref); err == nil {
		return nil
	} else if !errdefs.IsNotFound(err) && !api.IsKind(err, api.NotFound) {
		return convert(err, "pull image %s", ref)
	}
	unpacked, err := i.unpackPresent(ctx, named)
	if err != nil {
		return convert(err, "pull image %s", ref)
	}
	if !unpacked {
		if i.isLocal(named) {
			return api.Errorf(api.NotFound, "pull image %s: it is not on this node", ref)
		}
		if err := i.fetch(ctx, ref, progress); err != nil {
			return convert(err, "pull image %s", ref)
		}
	}
	_, err = i.local(ctx, ref)
	return convert(err, "pull image %s", ref)
}

// unpackPresent unpacks an image whose blobs are in the store already, under whatever name, and gives it its canonical
// name. It tells whether there was one.
func (i *Images) unpackPresent(ctx context.Context, named reference.Named) (bool, error) {
	digest := named.(reference.Digested).Digest()
	list, err := i.client.ImageService().List(ctx, fmt.Sprintf("target.digest==%s", digest))
	if err != nil || len(list) == 0 {
		return false, err
	}
	target := list[0].Target
	ok, _, _, _, err := images.Check(ctx, i.client.ContentStore(), target, platforms.Default())
	if err != nil || !ok {
		return false, err
	}
	img, err := i.put(ctx, images.Image{Name: named.String(), Target: target})
	if err != nil {
		return false, err
	}
	if err := client.NewImage(i.client, img).Unpack(ctx, i.snapshotter); err != nil {
		return false, fmt.Errorf("unpack: %w", err)
	}
	return true, nil
}

// put names an image in the store, with the tag that it was asked for by.
func (i *Images) put(ctx context.Context, img images.Image) (images.Image, error) {
	if tag := i.takeTag(img.Name); tag != "" {
		img.Labels = map[string]string{labelTag: tag}
	}
	made, err := i.client.ImageService().Create(ctx, img)
	if errdefs.IsAlreadyExists(err) {
		return i.client.ImageService().Get(ctx, img.Name)
	}
	return made, err
}

func (i *Images) takeTag(pinned string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	tag := i.tags[pinned]
	delete(i.tags, pinned)
	return tag
}

// fetch pulls from a registry and unpacks.
func (i *Images) fetch(ctx context.Context, ref string, progress func(done, total int64)) error {
	opts := []client.RemoteOpt{
		client.WithPullUnpack,
		client.WithPullSnapshotter(i.snapshotter),
		client.WithResolver(i.hosts.resolver()),
	}
	if tag := i.takeTag(ref); tag != "" {
		opts = append(opts, client.WithPullLabel(labelTag, tag))
	}
	if progress != nil {
		m := newPullMeter(i.client.ContentStore(), progress)
		opts = append(opts, client.WithImageHandlerWrapper(m.wrap))
		defer m.run(ctx)()
	}
	_, err := i.client.Pull(ctx, ref, opts...)
	return err
}

// local gives what a start needs of an image that is present and unpacked under its canonical name. The error is
// errdefs' not found when it is not.
func (i *Images) local(ctx context.Context, ref string) (localImage, error) {
	named, err := parse(ref)
	if err != nil {
		return localImage{}, err
	}
	ref = named.String()
	i.configs.mu.Lock()
	l, ok := i.configs.images[ref]
	i.configs.mu.Unlock()
	if !ok {
		img, err := i.client.ImageService().Get(ctx, ref)
		if err != nil {
			return localImage{}, err
		}
		if l, err = i.read(ctx, img); err != nil {
			return localImage{}, err
		}
	}
	if _, err := i.client.SnapshotService(i.snapshotter).Stat(ctx, l.chainID); err != nil {
		i.configs.forget(ref)
		return localImage{}, err
	}
	i.configs.mu.Lock()
	i.configs.images[ref] = l
	i.configs.mu.Unlock()
	return l, nil
}

func (i *Images) read(ctx context.Context, img images.Image) (localImage, error) {
	c := client.NewImage(i.client, img)
	diffIDs, err := c.RootFS(ctx)
	if err != nil {
		return localImage{}, err
	}
	desc, err := c.Config(ctx)
	if err != nil {
		return localImage{}, err
	}
	config, err := readConfig(ctx, i.client.ContentStore(), desc)
	if err != nil {
		return localImage{}, err
	}
	return localImage{chainID: identity.ChainID(diffIDs).String(), config: config}, nil
}

// Config gives what an image says about how to run it. One that is not on this node is asked for at its registry,
// without its layers.
func (i *Images) Config(ctx context.Context, ref string) (api.ImageConfig, error) {
	named, err := parse(ref)
	if err != nil {
		return api.ImageConfig{}, err
	}
	ctx = inNamespace(ctx)
	filter := fmt.Sprintf("name==%q", named.String())
	if d, ok := named.(reference.Digested); ok {
		filter = fmt.Sprintf("target.digest==%s", d.Digest())
	}
	list, err := i.client.ImageService().List(ctx, filter)
	if err != nil {
		return api.ImageConfig{}, convert(err, "read image %s", ref)
	}
	var unfit error
	for _, img := range list {
		desc, err := img.Config(ctx, i.client.ContentStore(), platforms.Default())
		if err != nil { // it is not all there, or of other platforms
			unfit = cmp.Or(unfit, otherPlatforms(ctx, i.client.ContentStore(), img.Target))
			continue
		}
		config, err := readConfig(ctx, i.client.ContentStore(), desc)
		return config, convert(err, "read image %s", ref)
	}
	switch {
	case unfit != nil:
		return api.ImageConfig{}, convert(unfit, "read image %s", ref)
	case i.isLocal(named):
		return api.ImageConfig{}, api.Errorf(api.NotFound, "read image %s: it is not on this node", ref)
	}
	config, err := i.hosts.config(ctx, named.String())
	return config, convert(err, "read image %s", ref)
}

// List gives every image that the store names.
func (i *Images) List(ctx context.Context) ([]Image, error) {
	list, err := i.client.ImageService().List(inNamespace(ctx))
	if err != nil {
		return nil, convert(err, "list images")
	}
	out := make([]Image, 0, len(list))
	for _, img := range list {
		out = append(out, Image{
			Name: img.Name, Digest: img.Target.Digest.String(), CreatedAt: img.CreatedAt, UpdatedAt: img.UpdatedAt, Labels: img.Labels,
		})
	}
	return out, nil
}

// Remove takes a name out of the store; blobs and snapshots that nothing else needs go with it, in the background or
// at [Images.Collect]. A name that is not there is no error.
func (i *Images) Remove(ctx context.Context, name string) error {
	i.configs.forget(name)
	if err := i.client.ImageService().Delete(inNamespace(ctx), name); err != nil && !errdefs.IsNotFound(err) {
		return convert(err, "remove image %s", name)
	}
	return nil
}

// Collect waits until what no name needs is gone from the disk.
func (i *Images) Collect(ctx context.Context) error {
	ctx = inNamespace(ctx)
	m := i.client.LeasesService()
	l, err := m.Create(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err == nil { // a lease of nothing: its end, waited for, is how containerd is asked to collect
		err = m.Delete(ctx, l, leases.SynchronousDelete)
	}
	return convert(err, "collect images")
}

// isLocal tells whether only this node's store can have the image: what was built or pushed is in it already, and no
// registry is asked unless a mirror is configured for the name.
func (i *Images) isLocal(named reference.Named) bool {
	return reference.Domain(named) == api.RegistryHost && len(i.cfg.Mirrors[api.RegistryHost]) == 0
}

// parse reads a reference as Docker does: docker.io and library/ where it names no host, the tag latest where it has
// neither tag nor digest, and no tag beside a digest.
func parse(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, api.FieldError("image", ref, "an image reference, such as nginx:1.27 or host/name@sha256:…")
	}
	return named, nil
}

func pin(named reference.Named, digest string) string {
	return reference.TrimNamed(named).String() + "@" + digest
}
