package house

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
)

// node is what a keeper keeps: it notes what is done to it.
type node struct {
	images   []Image
	untagged []string
	needed   map[string]bool
	unknown  bool
	cache    int64 // bytes
	fail     error // of Remove
	log      []string
}

func (n *node) List(context.Context) ([]Image, error) { return slices.Clone(n.images), nil }

func (n *node) Remove(_ context.Context, name string) error {
	n.log = append(n.log, "remove "+name)
	n.images = slices.DeleteFunc(n.images, func(i Image) bool { return i.Name == name })
	return n.fail
}

func (n *node) Collect(context.Context) error {
	n.log = append(n.log, "collect")
	return nil
}

func (n *node) Sweep(context.Context) error {
	n.log = append(n.log, "sweep")
	return nil
}

func (n *node) RemoveUntagged(_ context.Context, needed Needed, dry bool) ([]string, error) {
	names, known := needed()
	if !known {
		return nil, nil
	}
	removed := slices.DeleteFunc(slices.Clone(n.untagged), func(name string) bool { return names[name] })
	if !dry && len(removed) > 0 {
		n.log = append(n.log, fmt.Sprint("untag ", removed))
	}
	return removed, nil
}

func (n *node) DiskUsage(context.Context) (int64, error) { return n.cache, nil }

func (n *node) Prune(_ context.Context, keep int64) (int64, error) {
	freed := max(n.cache-keep, 0)
	n.cache -= freed
	n.log = append(n.log, fmt.Sprint("prune cache ", freed))
	return freed, nil
}

func (n *node) keeper(t *testing.T) *Keeper {
	t.Helper()
	return New(Config{Dir: t.TempDir(), Images: n, Registry: n, Cache: n, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Needed: func() (map[string]bool, bool) { return n.needed, !n.unknown }})
}

func (n *node) wantLog(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(n.log, want) {
		t.Errorf("did\n%q\nwant\n%q", n.log, want)
	}
	n.log = nil
}

// example gives a node with an image of every sort.
func example() *node {
	old := time.Now().Add(-2 * grace)
	return &node{
		images: []Image{
			{Name: "docker.io/library/nginx@sha256:1", UpdatedAt: old},
			{Name: "docker.io/library/redis@sha256:2", UpdatedAt: old},                                   // a release needs it
			{Name: "docker.io/library/mysql@sha256:3", UpdatedAt: time.Now().Add(-pressureGrace - 1)},    // just pulled
			{Name: "docker.io/library/httpd@sha256:4", UpdatedAt: time.Now().Add(-pressureGrace + 1e10)}, // this moment
			{Name: "ikada.local/shop/web@sha256:5", UpdatedAt: old},
			{Name: "ikada.local/shop/web:latest-production", UpdatedAt: old},
			{Name: "ikada.local/shop/web:latest-destroyed", UpdatedAt: old},
			{Name: "ikada.local/team/tool@sha256:6", Foreign: true, UpdatedAt: old},
		},
		untagged: []string{"ikada.local/team/old@sha256:7", "ikada.local/team/run@sha256:8"},
		needed: map[string]bool{"docker.io/library/redis@sha256:2": true, "ikada.local/team/run@sha256:8": true,
			"ikada.local/shop/web:latest-production": true},
		cache: 1 << 20,
	}
}

func TestPrune(t *testing.T) {
	n := example()
	report, err := n.keeper(t).Prune(t.Context(), api.PruneRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []api.PruneItem{
		{Kind: "image", Name: "docker.io/library/nginx@sha256:1"},
		{Kind: "image", Name: "ikada.local/shop/web@sha256:5"},
		{Kind: "image", Name: "ikada.local/shop/web:latest-destroyed"},
		{Kind: "image", Name: "ikada.local/team/old@sha256:7"},
	}
	if !slices.Equal(report.Items, want) {
		t.Errorf("pruned %+v, want %+v", report.Items, want)
	}
	n.wantLog(t, "remove docker.io/library/nginx@sha256:1", "remove ikada.local/shop/web@sha256:5",
		"remove ikada.local/shop/web:latest-destroyed", "untag [ikada.local/team/old@sha256:7]", "sweep", "collect")
}

func TestPruneAll(t *testing.T) {
	n := example()
	report, err := n.keeper(t).Prune(t.Context(), api.PruneRequest{All: true})
	if err != nil || report.Bytes < 1<<20 {
		t.Fatalf("pruned %d bytes, %v", report.Bytes, err)
	}
	n.wantLog(t, "remove docker.io/library/nginx@sha256:1", "remove docker.io/library/mysql@sha256:3",
		"remove ikada.local/shop/web@sha256:5", "remove ikada.local/shop/web:latest-destroyed",
		"untag [ikada.local/team/old@sha256:7]", "prune cache 1048576", "sweep", "collect")
}

func TestPruneUnusedFor(t *testing.T) {
	for wait, want := range map[time.Duration]int{0: 6, -time.Second: 6, 24 * 365 * time.Hour: 1} {
		d := api.Duration(wait)
		report, err := example().keeper(t).Prune(t.Context(), api.PruneRequest{UnusedFor: &d})
		if err != nil || len(report.Items) != want {
			t.Errorf("unused for %s: pruned %+v, %v; want %d", wait, report.Items, err, want)
		}
	}
}

func TestPruneDry(t *testing.T) {
	n := example()
	report, err := n.keeper(t).Prune(t.Context(), api.PruneRequest{All: true, DryRun: true})
	if err != nil || len(report.Items) != 6 || report.Bytes != 1<<20 {
		t.Errorf("would prune %+v, %v", report, err)
	}
	n.wantLog(t)
}

// TestPruneUnknown removes no image while the store has not said what is needed.
func TestPruneUnknown(t *testing.T) {
	n := example()
	n.unknown = true
	if report, err := n.keeper(t).Prune(t.Context(), api.PruneRequest{}); err != nil || len(report.Items) > 0 {
		t.Errorf("pruned %+v, %v", report.Items, err)
	}
	n.wantLog(t, "sweep", "collect")
}

// What cannot be removed keeps nothing else from being removed.
func TestPruneFails(t *testing.T) {
	n := example()
	n.fail = errors.New("containerd is gone")
	if _, err := n.keeper(t).Prune(t.Context(), api.PruneRequest{}); !errors.Is(err, n.fail) {
		t.Errorf("error %v", err)
	}
	n.wantLog(t, "remove docker.io/library/nginx@sha256:1", "untag [ikada.local/team/old@sha256:7]", "sweep", "collect")
}

// TestRun keeps house on its timer, and not at the start.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := example()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- n.keeper(t).Run(ctx) }()
		time.Sleep(lookInterval - 1) // synctest's clock
		synctest.Wait()
		n.wantLog(t)
		time.Sleep(interval + lookInterval)
		synctest.Wait()
		if len(n.log) == 0 || n.log[len(n.log)-1] != "collect" {
			t.Errorf("after %s: %q", interval, n.log)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
