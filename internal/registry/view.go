package registry

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ikada/ikada/api"
)

// viewTTL is how long a view may be used to say yes: the builder and the garbage collector change the image store
// behind the registry's back. A no is always looked up afresh.
const viewTTL = 5 * time.Second

// nodeChildren is how many children a manifest may have to be cached: a bound for the cache's memory.
const nodeChildren = 512

// view is what a repository shows: everything its image entries name, directly or through an index.
type view struct {
	roots     int                               // image entries
	tags      map[string]ocispec.Descriptor     // tag → manifest
	manifests map[digest.Digest]*shown          // readable manifests
	blobs     map[digest.Digest]struct{}        // named by a manifest
	referrers map[digest.Digest][]digest.Digest // subject → manifests
}

// shown is a manifest in a view.
type shown struct {
	desc    ocispec.Descriptor
	node    *manifest
	parents []digest.Digest // indexes that name it
}

// cachedView is a view and its age. A view of a repository that was changed since gets lost with its entry.
type cachedView struct {
	view *view // nil while it is being made
	at   time.Time
}

// repoView gives a repository's view; with fresh, none older than the call.
func (r *Registry) repoView(ctx context.Context, repo string, fresh bool) (*view, error) {
	now := r.cfg.Now()
	r.mu.Lock()
	c := r.views[repo]
	if !fresh && c != nil && c.view != nil && now.Sub(c.at) < viewTTL {
		r.mu.Unlock()
		return c.view, nil
	}
	mine := &cachedView{at: now}
	r.views[repo] = mine
	r.mu.Unlock()

	v, err := r.makeView(ctx, repo)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.views[repo] == mine { // nothing changed the repository meanwhile
		if mine.view = v; err != nil || v.roots == 0 {
			delete(r.views, repo)
		}
	}
	return v, err
}

// changed forgets a repository's view.
func (r *Registry) changed(repo string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.views, repo)
}

// repoImages gives the image entries of a repository.
func (r *Registry) repoImages(ctx context.Context, repo string) ([]images.Image, error) {
	list, err := r.cfg.Images.List(ctx, fmt.Sprintf("name~=%q", "^"+regexp.QuoteMeta(api.RegistryHost+"/"+repo)+"[:@]"))
	if err != nil {
		return nil, fmt.Errorf("list images of %s: %w", repo, err)
	}
	return list, nil
}

func (r *Registry) makeView(ctx context.Context, repo string) (*view, error) {
	list, err := r.repoImages(ctx, repo)
	if err != nil {
		return nil, err
	}
	return r.viewOf(ctx, repo, list)
}

// viewOf gives what a repository of these image entries shows.
func (r *Registry) viewOf(ctx context.Context, repo string, list []images.Image) (*view, error) {
	v := &view{
		tags:      map[string]ocispec.Descriptor{},
		manifests: map[digest.Digest]*shown{},
		blobs:     map[digest.Digest]struct{}{},
		referrers: map[digest.Digest][]digest.Digest{},
	}
	for _, img := range list {
		name, tag, ok := splitName(img.Name)
		if !ok || name != repo {
			continue
		}
		v.roots++
		if tag != "" {
			v.tags[tag] = img.Target
		}
		if err := r.walk(ctx, v, img.Target, ""); err != nil {
			return nil, fmt.Errorf("walk %s: %w", img.Name, err)
		}
	}
	return v, nil
}

// walk adds a manifest and what it names to the view. A manifest that is not there (an image pulled for one platform
// lacks the others') or that is none of the known kinds is left out.
func (r *Registry) walk(ctx context.Context, v *view, desc ocispec.Descriptor, parent digest.Digest) error {
	if s, ok := v.manifests[desc.Digest]; ok {
		if parent != "" {
			s.parents = append(s.parents, parent)
		}
		return nil
	}
	node, err := r.node(ctx, desc)
	if err != nil || node == nil {
		return err
	}
	s := &shown{node: node, desc: ocispec.Descriptor{MediaType: node.mediaType, Digest: desc.Digest, Size: node.size}}
	if parent != "" {
		s.parents = append(s.parents, parent)
	}
	v.manifests[desc.Digest] = s
	if node.subject != "" {
		v.referrers[node.subject] = append(v.referrers[node.subject], desc.Digest)
	}
	for _, c := range node.children {
		if !c.manifest {
			v.blobs[c.desc.Digest] = struct{}{}
			continue
		}
		if err := r.walk(ctx, v, c.desc, desc.Digest); err != nil {
			return err
		}
	}
	return nil
}

// node gives the parsed manifest; nil when it is not there or of no known kind. One that was parsed once counts as
// there, since whatever leads to it keeps it from being collected.
func (r *Registry) node(ctx context.Context, desc ocispec.Descriptor) (*manifest, error) {
	if n, ok := r.nodes.Get(desc.Digest); ok {
		return n, nil
	}
	body, err := r.readManifest(ctx, desc.Digest)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := parseManifest(body, "")
	if err != nil {
		n, err = parseManifest(body, desc.MediaType)
	}
	if err != nil {
		r.log.Debug("image entry is no manifest", "digest", desc.Digest, "err", err)
		return nil, nil
	}
	if len(n.children) <= nodeChildren {
		r.nodes.Add(desc.Digest, n)
	}
	return n, nil
}

// readManifest reads a whole manifest from the content store.
func (r *Registry) readManifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	ra, err := r.cfg.Content.ReaderAt(ctx, ocispec.Descriptor{Digest: d})
	if err != nil {
		return nil, fmt.Errorf("open manifest %s: %w", d, err)
	}
	defer ra.Close()
	if ra.Size() > maxManifest {
		return nil, fmt.Errorf("manifest %s of %d bytes is too large: %w", d, ra.Size(), errdefs.ErrNotFound)
	}
	body := make([]byte, ra.Size())
	if n, err := ra.ReadAt(body, 0); n < len(body) {
		return nil, fmt.Errorf("read manifest %s: %w", d, err)
	}
	return body, nil
}

// findManifest gives the descriptor of a manifest that the repository shows; ok is false when it shows none.
func (r *Registry) findManifest(ctx context.Context, rt route) (desc ocispec.Descriptor, ok bool, err error) {
	name := tagName(rt.repo, rt.tag)
	if rt.tag == "" {
		name = digestName(rt.repo, rt.digest)
	}
	img, err := r.cfg.Images.Get(ctx, name)
	switch {
	case err == nil:
		return img.Target, true, nil
	case !errdefs.IsNotFound(err):
		return desc, false, fmt.Errorf("get image %s: %w", name, err)
	case rt.tag != "":
		return desc, false, nil
	}
	s, err := r.shownManifest(ctx, rt.repo, rt.digest)
	if err != nil || s == nil {
		return desc, false, err
	}
	return s.desc, true, nil
}

// shownManifest gives a manifest of the repository's view; nil when it is not in it.
func (r *Registry) shownManifest(ctx context.Context, repo string, d digest.Digest) (*shown, error) {
	for _, fresh := range []bool{false, true} {
		v, err := r.repoView(ctx, repo, fresh)
		if err != nil {
			return nil, err
		}
		if s := v.manifests[d]; s != nil {
			return s, nil
		}
	}
	return nil, nil
}

// showsBlob tells whether the repository shows a blob: pushed into it, mounted, or named by one of its manifests.
func (r *Registry) showsBlob(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	if r.held(repo, d) {
		return true, nil
	}
	for _, fresh := range []bool{false, true} {
		v, err := r.repoView(ctx, repo, fresh)
		if err != nil {
			return false, err
		}
		if _, ok := v.blobs[d]; ok {
			return true, nil
		}
	}
	return false, nil
}

// repositories gives the names of all repositories that hold an image, sorted.
func (r *Registry) repositories(ctx context.Context) ([]string, error) {
	list, err := r.cfg.Images.List(ctx, fmt.Sprintf("name~=%q", "^"+regexp.QuoteMeta(api.RegistryHost)+"/"))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	repos := []string{}
	for _, img := range list {
		if repo, _, ok := splitName(img.Name); ok {
			repos = append(repos, repo)
		}
	}
	slices.Sort(repos)
	return slices.Compact(repos), nil
}
