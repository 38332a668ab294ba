package containerd

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// meterEvery is how often a pull's progress is looked at.
const meterEvery = 200 * time.Millisecond

// pullMeter finds out how far a pull has come, from what the pull has learnt of and what the store has got of it.
type pullMeter struct {
	store    content.Store
	progress func(done, total int64)

	mu    sync.Mutex
	descs map[digest.Digest]ocispec.Descriptor
}

func newPullMeter(store content.Store, progress func(done, total int64)) *pullMeter {
	return &pullMeter{store: store, progress: progress, descs: map[digest.Digest]ocispec.Descriptor{}}
}

// wrap makes the pull tell of everything it is going to fetch.
func (m *pullMeter) wrap(next images.Handler) images.Handler {
	return images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := next.Handle(ctx, desc)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.descs[desc.Digest] = desc
		for _, c := range children {
			m.descs[c.Digest] = c
		}
		return children, err
	})
}

// run reports until the function that it gives is called, which reports a last time.
func (m *pullMeter) run(ctx context.Context) (stop func()) {
	ticking, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(meterEvery)
		defer tick.Stop()
		for {
			select {
			case <-ticking.Done():
				return
			case <-tick.C:
				m.report(ticking)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait() // a slow look would otherwise be told of after the last one
		m.report(ctx)
	}
}

func (m *pullMeter) report(ctx context.Context) {
	m.mu.Lock()
	descs := make([]ocispec.Descriptor, 0, len(m.descs))
	for _, d := range m.descs {
		descs = append(descs, d)
	}
	m.mu.Unlock()
	var done, total int64
	for _, d := range descs {
		total += d.Size
		if _, err := m.store.Info(ctx, d.Digest); err == nil {
			done += d.Size
		} else if s, err := m.store.Status(ctx, remotes.MakeRefKey(ctx, d)); err == nil {
			done += s.Offset
		}
	}
	if total > 0 && ctx.Err() == nil {
		m.progress(done, total)
	}
}
