package house

import (
	"context"
	"testing"

	"github.com/ikada/ikada/api"
)

// listing tells when the list of images was made.
type listing struct {
	*node
	made func()
}

func (l listing) List(ctx context.Context) ([]Image, error) {
	defer l.made()
	return l.node.List(ctx)
}

// TestPruneAsksAfterListing: an image that a release has come to need while the list was made must stay.
func TestPruneAsksAfterListing(t *testing.T) {
	n := example()
	k := n.keeper(t)
	k.cfg.Images = listing{n, func() { n.needed["docker.io/library/nginx@sha256:1"] = true }}
	report, err := k.Prune(t.Context(), api.PruneRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range report.Items {
		if i.Name == "docker.io/library/nginx@sha256:1" {
			t.Error("an image was removed that a release needs by now")
		}
	}
}

func TestCacheIsTrimmedToItsLimit(t *testing.T) {
	n := &node{cache: 1 << 50}
	k := n.keeper(t)
	limit, err := k.cacheLimit()
	if err != nil || limit <= 0 || limit > cacheMax {
		t.Fatalf("limit %d (%v)", limit, err)
	}
	dry, err := k.Prune(t.Context(), api.PruneRequest{DryRun: true})
	if err != nil || n.cache != 1<<50 || len(dry.Items) != 1 || dry.Bytes != 1<<50-limit {
		t.Errorf("dry run: %+v (%v), cache %d", dry, err, n.cache)
	}
	if report, err := k.Prune(t.Context(), api.PruneRequest{}); err != nil || n.cache != limit || report.Bytes < 1<<50-limit {
		t.Errorf("%+v (%v), cache %d, limit %d", report, err, n.cache, limit)
	}
	if again, err := k.Prune(t.Context(), api.PruneRequest{}); err != nil || len(again.Items) != 0 {
		t.Errorf("again: %+v (%v)", again, err)
	}
}
