package registry

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// The labels of the registry's leases. A lease has the repository and either a digest or an upload's ID.
const (
	labelRepository = "ikada.local/registry.repository"
	labelDigest     = "ikada.local/registry.digest"
	labelUpload     = "ikada.local/registry.upload"
	labelExpire     = "containerd.io/gc.expire"
)

// hold shows a blob in a repository and keeps it from being collected, until a manifest names it.
type hold struct {
	lease string
	since time.Time
	until time.Time
}

// load reads from the runtime's leases what uploads and holds there are; once, at the first request that gets through.
func (r *Registry) load(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loaded {
		return nil
	}
	list, err := r.cfg.Leases.List(ctx, fmt.Sprintf("labels.%q", labelRepository))
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, l := range list {
		repo := l.Labels[labelRepository]
		if id := l.Labels[labelUpload]; id != "" {
			u := newUpload(id, repo)
			u.touched = r.cfg.Now() // when it really was is not known; a lease ends by itself in the end
			r.uploads[id] = u
			continue
		}
		until, err := time.Parse(time.RFC3339, l.Labels[labelExpire])
		d := digest.Digest(l.Labels[labelDigest])
		if err != nil || d.Validate() != nil {
			continue // a manifest's push that broke off: it only waits for its expiry
		}
		r.setHold(repo, d, &hold{lease: l.ID, since: l.CreatedAt, until: until})
	}
	r.loaded = true
	return nil
}

// setHold notes a hold, the longer one where there are two, and gives the other. The caller holds r.mu.
func (r *Registry) setHold(repo string, d digest.Digest, h *hold) (other *hold) {
	if r.holds[repo] == nil {
		r.holds[repo] = map[digest.Digest]*hold{}
	}
	old := r.holds[repo][d]
	if old != nil && old.until.After(h.until) {
		return h
	}
	r.holds[repo][d] = h
	return old
}

// held tells whether a blob is held in the repository.
func (r *Registry) held(repo string, d digest.Digest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.holds[repo][d]
	return h != nil && h.until.After(r.cfg.Now())
}

// holdsAny tells whether any blob was pushed to the repository lately.
func (r *Registry) holdsAny(repo string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.holds[repo]) > 0
}

// holderOf gives a repository that holds the blob.
func (r *Registry) holderOf(d digest.Digest) (repo string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for repo, holds := range r.holds {
		if h := holds[d]; h != nil && h.until.After(r.cfg.Now()) {
			return repo, true
		}
	}
	return "", false
}

// newHold keeps a blob from being collected but does not show it yet. What is not there when newHold returns
// is safe all the same if it is committed later.
func (r *Registry) newHold(ctx context.Context, repo string, d digest.Digest) (*hold, error) {
	now := r.cfg.Now()
	h := &hold{since: now, until: now.Add(r.cfg.Grace)}
	lease, err := r.newLease(ctx, h.until, map[string]string{labelRepository: repo, labelDigest: d.String()})
	if err != nil {
		return nil, err
	}
	h.lease = lease.ID
	if err := r.cfg.Leases.AddResource(ctx, lease, leases.Resource{ID: d.String(), Type: "content"}); err != nil {
		r.dropLease(ctx, lease.ID)
		return nil, fmt.Errorf("lease blob %s: %w", d, err)
	}
	return h, nil
}

// show makes a hold count.
func (r *Registry) show(ctx context.Context, repo string, d digest.Digest, h *hold) {
	r.mu.Lock()
	other := r.setHold(repo, d, h)
	r.mu.Unlock()
	if other != nil {
		r.dropLease(ctx, other.lease)
	}
}

// unhold ends a hold, and tells whether there was one.
func (r *Registry) unhold(ctx context.Context, repo string, d digest.Digest) bool {
	r.mu.Lock()
	h := r.holds[repo][d]
	delete(r.holds[repo], d)
	if len(r.holds[repo]) == 0 {
		delete(r.holds, repo)
	}
	r.mu.Unlock()
	if h == nil {
		return false
	}
	r.dropLease(ctx, h.lease)
	return true
}

// newLease makes a lease of a random ID.
func (r *Registry) newLease(ctx context.Context, until time.Time, labels map[string]string) (leases.Lease, error) {
	labels[labelExpire] = until.UTC().Format(time.RFC3339)
	l, err := r.cfg.Leases.Create(ctx, leases.WithID("ikada-registry-"+rand.Text()), leases.WithLabels(labels))
	if err != nil {
		return l, fmt.Errorf("create lease: %w", err)
	}
	return l, nil
}

// dropLease removes a lease. That it cannot be is no reason to fail: it ends by its expiry.
func (r *Registry) dropLease(ctx context.Context, id string) {
	err := r.cfg.Leases.Delete(r.background(ctx), leases.Lease{ID: id})
	if err != nil && !errdefs.IsNotFound(err) {
		r.log.Warn("registry lease not removed", "lease", id, "err", err)
	}
}
