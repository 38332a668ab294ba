package registry

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
)

const (
	sweepEvery = 5 * time.Minute

	// idleWriter is how long an upload's writer stays open without a request: it costs a file and a stream.
	idleWriter = 2 * time.Minute

	// settle is how long a hold stays on a blob that a manifest names already: another client may have been told that
	// the blob is there and be about to name it too, while the first one's manifest is deleted.
	settle = 15 * time.Minute
)

// Run sweeps now and then until ctx ends; then it closes what uploads have open, which can be resumed later.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	defer r.closeWriters(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
				r.log.Warn("registry sweep failed", "err", err)
			}
		}
	}
}

// Sweep gives up uploads that nobody has touched for Config.UploadTTL, and ends the holds on blobs that no manifest has
// named within Config.Grace or that one has named for a while. What they kept is then the runtime's to collect.
func (r *Registry) Sweep(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, r.cfg.Namespace)
	if err := r.load(ctx); err != nil {
		return err
	}
	r.closeWriters(idleWriter)
	r.sweepUploads(ctx)
	return r.sweepHolds(ctx)
}

func (r *Registry) sweepUploads(ctx context.Context) {
	before := r.cfg.Now().Add(-r.cfg.UploadTTL)
	for _, u := range r.idleUploads(before) {
		select {
		case u.sem <- struct{}{}:
		default:
			continue // at work after all
		}
		if !u.done {
			r.abortUpload(ctx, u)
		}
		<-u.sem
	}
}

// idleUploads gives the uploads last touched at or before a time.
func (r *Registry) idleUploads(before time.Time) []*upload {
	r.mu.Lock()
	defer r.mu.Unlock()
	var idle []*upload
	for _, u := range r.uploads {
		if !u.touched.After(before) {
			idle = append(idle, u)
		}
	}
	return idle
}

// closeWriters closes the writers of uploads that were idle for so long.
func (r *Registry) closeWriters(idle time.Duration) {
	for _, u := range r.idleUploads(r.cfg.Now().Add(-idle)) {
		select {
		case u.sem <- struct{}{}:
			u.shut()
			<-u.sem
		default:
		}
	}
}

// heldBlob is a blob in a repository.
type heldBlob struct {
	repo   string
	digest digest.Digest
	hold   *hold
}

func (r *Registry) sweepHolds(ctx context.Context) error {
	now := r.cfg.Now()
	var expired, settled []heldBlob
	r.mu.Lock()
	for repo, holds := range r.holds {
		for d, h := range holds {
			switch b := (heldBlob{repo, d, h}); {
			case !h.until.After(now):
				expired = append(expired, b)
			case now.Sub(h.since) >= settle:
				settled = append(settled, b)
			}
		}
	}
	r.mu.Unlock()
	for _, b := range expired {
		r.endHold(ctx, b)
	}
	var errs []error
	for _, b := range settled {
		v, err := r.repoView(ctx, b.repo, false)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, named := v.blobs[b.digest]; named {
			r.endHold(ctx, b)
		}
	}
	return errors.Join(errs...)
}

// endHold ends a hold, if it is still the one that was looked at.
func (r *Registry) endHold(ctx context.Context, b heldBlob) {
	r.mu.Lock()
	same := r.holds[b.repo][b.digest] == b.hold
	if same {
		delete(r.holds[b.repo], b.digest)
		if len(r.holds[b.repo]) == 0 {
			delete(r.holds, b.repo)
		}
	}
	r.mu.Unlock()
	if same {
		r.dropLease(ctx, b.hold.lease)
	}
}
