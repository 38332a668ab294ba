package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// manifestLease is the expiry of the lease under which a manifest is put together, for when the process dies in it.
const manifestLease = time.Hour

// noTime makes http.ServeContent leave out Last-Modified.
var noTime time.Time

// getManifest serves a manifest by tag or digest.
func (r *Registry) getManifest(w http.ResponseWriter, req *http.Request, rt route) error {
	ctx := req.Context()
	unknown := problemf(http.StatusNotFound, codeManifestUnknown, "manifest %s is not known in %s", rt.reference(), rt.repo)
	desc, ok, err := r.findManifest(ctx, rt)
	if err != nil {
		return err
	}
	if !ok {
		return unknown
	}
	body, err := r.readManifest(ctx, desc.Digest)
	if errdefs.IsNotFound(err) {
		return unknown
	}
	if err != nil {
		return err
	}
	serveContent(w, req, desc.Digest, desc.MediaType, bytes.NewReader(body))
	return nil
}

// push is a manifest on its way in.
type push struct {
	repo string
	body []byte
	node *manifest
	desc ocispec.Descriptor
	tags []string
}

// putManifest takes a manifest whose parts are all there, and names it.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, rt route) error {
	p, err := readPush(w, req, rt)
	if err != nil {
		return err
	}
	// From here on the client's hanging up must leave all or nothing.
	ctx := r.background(req.Context())
	unlock := r.lock(rt.repo)
	defer unlock()
	lease, err := r.newLease(ctx, time.Now().Add(manifestLease), map[string]string{labelRepository: rt.repo})
	if err != nil {
		return err
	}
	defer r.dropLease(ctx, lease.ID)
	if err := r.checkParts(ctx, p, lease); err != nil {
		return err
	}
	if err := r.storeManifest(leases.WithLease(ctx, lease.ID), p); err != nil {
		return err
	}
	if err := r.nameManifest(ctx, p); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", fmt.Sprintf("/v2/%s/manifests/%s", p.repo, rt.reference()))
	h.Set("Docker-Content-Digest", p.desc.Digest.String())
	if p.node.subject != "" {
		h.Set("OCI-Subject", p.node.subject.String())
	}
	if rt.tag == "" {
		for _, t := range p.tags {
			h.Add("OCI-Tag", t)
		}
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// readPush reads and checks what a client sends as a manifest. Tags beside a digest come as query parameters "tag", a
// digest beside a tag as "digest": additions to the specification after 1.1, that harm no older client.
func readPush(w http.ResponseWriter, req *http.Request, rt route) (*push, error) {
	p := &push{repo: rt.repo}
	mediaType, err := contentType(req.Header)
	if err != nil {
		return nil, err
	}
	p.body, err = io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifest))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, problemf(http.StatusRequestEntityTooLarge, codeSizeInvalid,
			"manifest is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, manifestInvalid("body broke off: %v", err)
	}
	d, err := pushDigest(rt, req.URL.Query(), p.body)
	if err != nil {
		return nil, err
	}
	if p.tags, err = pushTags(rt, req.URL.Query()); err != nil {
		return nil, err
	}
	if p.node, err = parseManifest(p.body, mediaType); err != nil {
		return nil, err
	}
	p.desc = ocispec.Descriptor{MediaType: p.node.mediaType, Digest: d, Size: int64(len(p.body))}
	return p, nil
}

// pushDigest gives the digest that a manifest is kept under: the client's if it named one, which has to be right.
func pushDigest(rt route, q url.Values, body []byte) (digest.Digest, error) {
	d := rt.digest
	if s := q.Get("digest"); d == "" && s != "" {
		var err error
		if d, err = parseDigest(s); err != nil {
			return "", err
		}
	}
	if d == "" {
		return digest.FromBytes(body), nil
	}
	if have := d.Algorithm().FromBytes(body); have != d {
		return "", problemf(http.StatusBadRequest, codeDigestInvalid, "manifest has the digest %s, not %s", have, d)
	}
	return d, nil
}

// maxTags is how many tags one push by digest may set; the specification wants at least ten.
const maxTags = 100

func pushTags(rt route, q url.Values) ([]string, error) {
	if rt.tag != "" {
		return []string{rt.tag}, nil
	}
	tags := q["tag"]
	if len(tags) > maxTags {
		return nil, problemf(http.StatusRequestURITooLong, codeManifestInvalid, "%d tags: expected at most %d", len(tags), maxTags)
	}
	for _, t := range tags {
		if !validTag(t) {
			return nil, manifestInvalid("tag %q: expected %s", t, tagRule)
		}
	}
	return tags, nil
}

// checkParts makes sure that the repository shows what the manifest names, and that the lease keeps it.
func (r *Registry) checkParts(ctx context.Context, p *push, lease leases.Lease) error {
	missing := &problem{status: http.StatusNotFound}
	type part struct {
		digest   digest.Digest
		size     int64
		manifest bool
	}
	seen := map[part]bool{}
	for _, c := range p.node.children {
		key := part{c.desc.Digest, c.desc.Size, c.manifest}
		if seen[key] {
			continue
		}
		seen[key] = true
		res := leases.Resource{ID: c.desc.Digest.String(), Type: "content"}
		if err := r.cfg.Leases.AddResource(ctx, lease, res); err != nil {
			return fmt.Errorf("lease %s: %w", c.desc.Digest, err)
		}
		shown, err := r.showsPart(ctx, p.repo, c)
		if err != nil {
			return err
		}
		if shown {
			info, err := r.cfg.Content.Info(ctx, c.desc.Digest)
			switch {
			case errdefs.IsNotFound(err):
				shown = false
			case err != nil:
				return fmt.Errorf("look up %s: %w", c.desc.Digest, err)
			case info.Size != c.desc.Size:
				return manifestInvalid("%s: %s has %d bytes, the manifest says %d", c.label, c.desc.Digest, info.Size, c.desc.Size)
			}
		}
		if !shown && !c.foreign {
			missing.errs = append(missing.errs, errorEntry{
				Code:    codeManifestBlobUnknown,
				Message: fmt.Sprintf("%s: %s is not known in %s", c.label, c.desc.Digest, p.repo),
				Detail:  map[string]string{"digest": c.desc.Digest.String()},
			})
		}
	}
	if len(missing.errs) > 0 {
		return missing
	}
	return nil
}

func (r *Registry) showsPart(ctx context.Context, repo string, c child) (bool, error) {
	if !c.manifest {
		return r.showsBlob(ctx, repo, c.desc.Digest)
	}
	_, ok, err := r.findManifest(ctx, route{repo: repo, digest: c.desc.Digest})
	return ok, err
}

// storeManifest writes a manifest with the labels by which the runtime's collector finds its parts. Content of the same
// digest may be there without them, pushed as a blob.
func (r *Registry) storeManifest(ctx context.Context, p *push) error {
	d := p.desc.Digest
	err := content.WriteBlob(ctx, r.cfg.Content, "ikada-manifest-"+d.String(), bytes.NewReader(p.body), p.desc)
	if err != nil {
		return fmt.Errorf("write manifest %s: %w", d, err)
	}
	info, err := r.cfg.Content.Info(ctx, d)
	if err != nil {
		return fmt.Errorf("look up manifest %s: %w", d, err)
	}
	var paths []string
	labels := map[string]string{}
	for _, c := range p.node.children {
		key := "containerd.io/gc.ref.content." + c.label
		if info.Labels[key] != c.desc.Digest.String() {
			labels[key] = c.desc.Digest.String()
			paths = append(paths, "labels."+key)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	if _, err := r.cfg.Content.Update(ctx, content.Info{Digest: d, Labels: labels}, paths...); err != nil {
		return fmt.Errorf("label manifest %s: %w", d, err)
	}
	return nil
}

// nameManifest publishes a manifest under its digest and its tags. The caller holds the repository's lock.
func (r *Registry) nameManifest(ctx context.Context, p *push) error {
	defer r.changed(p.repo)
	if err := r.putImage(ctx, images.Image{Name: digestName(p.repo, p.desc.Digest), Target: p.desc}); err != nil {
		return err
	}
	for _, t := range p.tags {
		old, err := r.tagTarget(ctx, p.repo, t)
		if err != nil {
			return err
		}
		if err := r.putImage(ctx, images.Image{Name: tagName(p.repo, t), Target: p.desc}); err != nil {
			return err
		}
		if old != "" && old != p.desc.Digest {
			if err := r.lostTag(ctx, p.repo, old); err != nil {
				return err
			}
		}
	}
	return nil
}

// putImage makes the image entry or points it at its new target. Others may make or remove it at the same time.
func (r *Registry) putImage(ctx context.Context, img images.Image) error {
	for {
		_, err := r.cfg.Images.Create(ctx, img)
		if errdefs.IsAlreadyExists(err) {
			// What was pushed is its pusher's, also where a build had made it before: the labels go.
			_, err = r.cfg.Images.Update(ctx, img, "target", "labels")
			if errdefs.IsNotFound(err) {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("name image %s: %w", img.Name, err)
		}
		return nil
	}
}

// deleteManifest removes a tag, or a manifest with every tag that points at it.
func (r *Registry) deleteManifest(w http.ResponseWriter, req *http.Request, rt route) error {
	ctx := r.background(req.Context())
	unlock := r.lock(rt.repo)
	defer unlock()
	defer r.changed(rt.repo)
	if rt.tag != "" {
		if err := r.deleteTag(ctx, rt); err != nil {
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	names, err := r.namesOf(ctx, rt.repo, rt.digest)
	if err != nil {
		return err
	}
	removed := 0
	for _, name := range names {
		err := r.cfg.Images.Delete(ctx, name)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("remove image %s: %w", name, err)
		}
		removed++
	}
	if removed == 0 {
		return problemf(http.StatusNotFound, codeManifestUnknown, "manifest %s is not known in %s", rt.reference(), rt.repo)
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// deleteTag removes a tag and leaves what it points at, for a while. The caller holds the repository's lock.
func (r *Registry) deleteTag(ctx context.Context, rt route) error {
	d, err := r.tagTarget(ctx, rt.repo, rt.tag)
	if err != nil {
		return err
	}
	err = r.cfg.Images.Delete(ctx, tagName(rt.repo, rt.tag))
	if errdefs.IsNotFound(err) {
		return problemf(http.StatusNotFound, codeManifestUnknown, "manifest %s is not known in %s", rt.tag, rt.repo)
	}
	if err != nil {
		return fmt.Errorf("remove image %s: %w", tagName(rt.repo, rt.tag), err)
	}
	if d == "" {
		return nil
	}
	return r.lostTag(ctx, rt.repo, d)
}

// namesOf gives the image entries that point at a manifest. While an index names it too it cannot be removed: it would
// still be there, or the index be broken.
func (r *Registry) namesOf(ctx context.Context, repo string, d digest.Digest) ([]string, error) {
	v, err := r.repoView(ctx, repo, true)
	if err != nil {
		return nil, err
	}
	if s := v.manifests[d]; s != nil && len(s.parents) > 0 {
		return nil, problemf(http.StatusMethodNotAllowed, codeUnsupported,
			"manifest %s belongs to index %s: delete that first", d, s.parents[0])
	}
	list, err := r.repoImages(ctx, repo)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, img := range list {
		if name, _, ok := splitName(img.Name); ok && name == repo && img.Target.Digest == d {
			names = append(names, img.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
