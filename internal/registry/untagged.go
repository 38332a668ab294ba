package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// DefaultKeepUntagged is how long a manifest stays when its last tag has gone, where Config is silent.
const DefaultKeepUntagged = 7 * 24 * time.Hour

// Needed gives the pinned names of the images that the cluster needs, "ikada.local/REPOSITORY@DIGEST" among them; known
// is false while it cannot tell.
type Needed = func() (names map[string]bool, known bool)

// RemoveUntagged lets go of manifests that were pushed and that nobody can be waiting for: no tag names them, no kept
// index holds them, their subject is not kept either (a signature goes with what it signs), needed does not give them,
// and all that for Config.KeepUntagged. It gives their names; with dry it removes none. What they kept is then the
// runtime's to collect.
//
// needed is asked when a repository has been read, so that what becomes needed later was seen to be young or is in it.
func (r *Registry) RemoveUntagged(ctx context.Context, needed Needed, dry bool) ([]string, error) {
	ctx = namespaces.WithNamespace(ctx, r.cfg.Namespace)
	repos, err := r.repositories(ctx)
	if err != nil {
		return nil, err
	}
	var removed []string
	var errs []error
	for _, repo := range repos {
		names, err := r.removeUntagged(ctx, repo, needed, dry)
		removed = append(removed, names...)
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

func (r *Registry) removeUntagged(ctx context.Context, repo string, needed Needed, dry bool) (removed []string, err error) {
	unlock := r.lock(repo) // nobody pushes a tag or an index for one of them meanwhile
	defer unlock()
	list, err := r.repoImages(ctx, repo)
	if err != nil {
		return nil, err
	}
	v, err := r.viewOf(ctx, repo, list)
	if err != nil {
		return nil, err
	}
	names, known := needed()
	if !known {
		return nil, nil
	}
	defer r.changed(repo)
	for _, name := range untagged(repo, list, v, r.keeps(names)) {
		if !dry {
			if err := r.cfg.Images.Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
				return removed, fmt.Errorf("remove image %s: %w", name, err)
			}
		}
		removed = append(removed, name)
	}
	return removed, nil
}

// keeps tells of an image known by digest whether it stays for its own sake.
func (r *Registry) keeps(needed map[string]bool) func(images.Image) bool {
	before := r.cfg.Now().Add(-r.cfg.KeepUntagged)
	return func(img images.Image) bool {
		return needed[img.Name] || img.UpdatedAt.After(before) || r.cfg.Foreign != nil && r.cfg.Foreign(img.Labels)
	}
}

// untagged gives the entries by digest that nothing leads to from a tag or from an entry that stays for its own sake,
// be it through an index or from a subject to its referrers; sorted.
func untagged(repo string, list []images.Image, v *view, keeps func(images.Image) bool) []string {
	kept := map[digest.Digest]bool{}
	var keep func(d digest.Digest)
	keep = func(d digest.Digest) {
		if kept[d] {
			return
		}
		kept[d] = true
		if s := v.manifests[d]; s != nil {
			for _, c := range s.node.children {
				if c.manifest {
					keep(c.desc.Digest)
				}
			}
		}
		for _, referrer := range v.referrers[d] {
			keep(referrer)
		}
	}
	byDigest := map[string]digest.Digest{}
	for _, img := range list {
		name, tag, ok := splitName(img.Name)
		switch {
		case !ok || name != repo:
		case tag != "" || keeps(img):
			keep(img.Target.Digest)
		default:
			byDigest[img.Name] = img.Target.Digest
		}
	}
	var names []string
	for name, d := range byDigest {
		if !kept[d] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// tagTarget gives the manifest that a tag points at; "" when there is no such tag.
func (r *Registry) tagTarget(ctx context.Context, repo, tag string) (digest.Digest, error) {
	img, err := r.cfg.Images.Get(ctx, tagName(repo, tag))
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("get image %s: %w", tagName(repo, tag), err)
	}
	return img.Target.Digest, nil
}

// lostTag lets the time that a manifest is kept without a tag begin now. One that is not known by its digest is gone
// with its tag already.
func (r *Registry) lostTag(ctx context.Context, repo string, d digest.Digest) error {
	name := digestName(repo, d)
	img, err := r.cfg.Images.Get(ctx, name)
	if err == nil {
		_, err = r.cfg.Images.Update(ctx, img, "target") // the store notes the time of every update
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("renew image %s: %w", name, err)
	}
	return nil
}
