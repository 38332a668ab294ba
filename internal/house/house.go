// Package house keeps a node's disk: it removes images that ikada made or pulled and that no kept release needs, lets
// the registry let go of what users pushed and nothing names any more, trims the build cache, and sweeps broken
// uploads, on a timer and sooner when the disk fills.
//
// What is needed is found by reachability, never by age alone; a grace time protects what was just built or pulled
// for a release that is not written down yet. It never touches blobs or snapshots, only names: what they kept is the
// runtime's to collect. Safe for concurrent use; one sweep runs at a time. Start at [Keeper.Run].
package house

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// The pace and the limits of keeping house.
const (
	interval      = 10 * time.Minute
	lookInterval  = 30 * time.Second // between looks at the disk's fill
	grace         = time.Hour        // after an image was last built or pulled
	pressureGrace = 10 * time.Minute // the same when the disk is full
	pressureAt    = 0.85             // share of the disk in use
	cacheShare    = 0.10             // of the disk, for the build cache
	cacheMax      = 20 << 30         // bytes
)

// Images is the node's image store.
type Images interface {
	List(ctx context.Context) ([]Image, error)
	// Remove takes a name out of the store.
	Remove(ctx context.Context, name string) error
	// Collect waits until what no name needs any more is gone from the disk.
	Collect(ctx context.Context) error
}

// Image is a name in the image store.
type Image struct {
	Name      string // NAME@DIGEST, or NAME:TAG
	Foreign   bool   // a user pushed it, or nobody knows who made it: not the keeper's to remove
	UpdatedAt time.Time
}

// Cache is the build cache.
type Cache interface {
	DiskUsage(ctx context.Context) (int64, error)
	// Prune trims the cache to so many bytes and gives how many were freed.
	Prune(ctx context.Context, keepBytes int64) (int64, error)
}

// Registry is where users push to.
type Registry interface {
	// Sweep gives up uploads that broke off.
	Sweep(ctx context.Context) error
	// RemoveUntagged removes manifests that nothing has named for long and that needed does not give, and gives their
	// names; with dry it removes none.
	RemoveUntagged(ctx context.Context, needed Needed, dry bool) ([]string, error)
}

// Needed gives the names of the images that kept releases and live tasks need; known is false while that cannot be told.
type Needed = func() (names map[string]bool, known bool)

// Config is what a Keeper is made of.
type Config struct {
	Dir      string // on the disk that is kept
	Images   Images
	Registry Registry
	Cache    Cache
	Needed   Needed
	Log      *slog.Logger
}

// Keeper keeps house.
type Keeper struct {
	cfg Config
	mu  sync.Mutex // one sweep at a time

	fills struct { // as Problems told it last
		sync.Mutex
		bytes, inodes fill
	}
}

// New makes a keeper; nothing happens until Run or Prune.
func New(cfg Config) *Keeper { return &Keeper{cfg: cfg} }

// Run keeps house until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	last := time.Now() // nothing is urgent right after the start
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		used, _, err := k.disk()
		pressure := err == nil && used > pressureAt
		if time.Since(last) < interval && (!pressure || time.Since(last) < time.Minute) {
			continue
		}
		last = time.Now()
		r := request{pressure: pressure, wait: grace}
		if pressure {
			r.wait = pressureGrace
		}
		report, err := k.sweep(ctx, r)
		if err != nil && ctx.Err() == nil {
			k.cfg.Log.Error("keep house", "error", err)
		}
		if len(report.Items) > 0 {
			k.cfg.Log.Info("house kept", "items", len(report.Items), "bytes", report.Bytes, "used", fmt.Sprintf("%.0f%%", used*100))
		}
	}
}

// Prune removes at once what nothing needs.
func (k *Keeper) Prune(ctx context.Context, req api.PruneRequest) (api.PruneReport, error) {
	r := request{dry: req.DryRun, all: req.All, wait: grace}
	if req.All {
		r.wait = pressureGrace
	}
	if req.UnusedFor != nil {
		r.wait = max(req.UnusedFor.Std(), 0)
	}
	return k.sweep(ctx, r)
}

type request struct {
	dry, all, pressure bool
	wait               time.Duration // how long an image is spared after it was last built, pulled or asked for
}

func (k *Keeper) sweep(ctx context.Context, r request) (api.PruneReport, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	report := api.PruneReport{Items: []api.PruneItem{}}
	_, before, err := k.disk()
	if err != nil {
		return report, err
	}
	// On a full disk some of it may fail: what else there is to remove makes the room that it needs.
	errs := []error{k.sweepImages(ctx, r, &report), k.sweepPushed(ctx, r, &report), k.sweepCache(ctx, r, &report)}
	if r.dry {
		return report, errors.Join(errs...)
	}
	if err := k.cfg.Registry.Sweep(ctx); err != nil {
		errs = append(errs, fmt.Errorf("sweep uploads: %w", err))
	}
	if err := k.cfg.Images.Collect(ctx); err != nil {
		errs = append(errs, fmt.Errorf("collect images: %w", err))
	}
	_, after, err := k.disk()
	if freed := int64(after) - int64(before); err == nil && freed > report.Bytes {
		report.Bytes = freed
	}
	return report, errors.Join(errs...)
}

func (k *Keeper) sweepImages(ctx context.Context, r request, report *api.PruneReport) error {
	// The list comes first: an image that is new after it is not in it, and one that a new release names is needed.
	list, err := k.cfg.Images.List(ctx)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	needed, known := k.cfg.Needed()
	if !known {
		return nil
	}
	for _, img := range list {
		if img.Foreign || needed[img.Name] || time.Since(img.UpdatedAt) < r.wait {
			continue
		}
		report.Items = append(report.Items, api.PruneItem{Kind: "image", Name: img.Name})
		if r.dry {
			continue
		}
		if err := k.cfg.Images.Remove(ctx, img.Name); err != nil {
			return fmt.Errorf("remove image %s: %w", img.Name, err)
		}
	}
	return nil
}

func (k *Keeper) sweepPushed(ctx context.Context, r request, report *api.PruneReport) error {
	names, err := k.cfg.Registry.RemoveUntagged(ctx, k.cfg.Needed, r.dry)
	for _, name := range names {
		report.Items = append(report.Items, api.PruneItem{Kind: "image", Name: name})
	}
	if err != nil {
		return fmt.Errorf("remove untagged images: %w", err)
	}
	return nil
}

func (k *Keeper) sweepCache(ctx context.Context, r request, report *api.PruneReport) error {
	keep, err := k.cacheLimit()
	if err != nil {
		return err
	}
	switch {
	case r.all:
		keep = 0
	case r.pressure:
		keep /= 4
	}
	used, err := k.cfg.Cache.DiskUsage(ctx)
	if err != nil {
		return fmt.Errorf("measure build cache: %w", err)
	}
	if used <= keep || used == 0 {
		return nil
	}
	if r.dry {
		report.Items = append(report.Items, api.PruneItem{Kind: "build cache", Name: "least recently used", Bytes: used - keep})
		report.Bytes += used - keep
		return nil
	}
	freed, err := k.cfg.Cache.Prune(ctx, keep)
	if err != nil {
		return fmt.Errorf("prune build cache: %w", err)
	}
	if freed > 0 {
		report.Items = append(report.Items, api.PruneItem{Kind: "build cache", Name: "least recently used", Bytes: freed})
		report.Bytes += freed
	}
	return nil
}

// cacheLimit gives how large the build cache may grow, bytes.
func (k *Keeper) cacheLimit() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(k.cfg.Dir, &st); err != nil {
		return 0, fmt.Errorf("look at disk: %w", err)
	}
	return min(int64(float64(st.Blocks)*float64(st.Bsize)*cacheShare), cacheMax), nil
}

// disk gives the share of the disk in use, as df has it, and the bytes that are free.
func (k *Keeper) disk() (used float64, free uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(k.cfg.Dir, &st); err != nil {
		return 0, 0, fmt.Errorf("look at disk: %w", err)
	}
	total := usable(&st)
	if total == 0 {
		return 0, 0, nil
	}
	return 1 - float64(st.Bavail)/float64(total), st.Bavail * uint64(st.Bsize), nil
}

// usable gives the blocks of a disk that are used or free; what is kept for root's own use is neither.
func usable(st *unix.Statfs_t) uint64 { return st.Blocks - st.Bfree + st.Bavail }
