package daemon

import (
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// partGrace is how long the parts of a node may take to end once they are told to.
const partGrace = 20 * time.Second

// parts is what runs in a node, by name.
type parts struct {
	group *errgroup.Group

	mu      sync.Mutex
	running map[string]bool
}

// run runs a part; one that fails ends the others.
func (p *parts) run(name string, f func() error) {
	p.mu.Lock()
	p.running[name] = true
	p.mu.Unlock()
	p.group.Go(func() error {
		defer func() {
			p.mu.Lock()
			delete(p.running, name)
			p.mu.Unlock()
		}()
		return f()
	})
}

// wait blocks until every part has ended and gives the error that ended them. A part that hangs holds up nobody: once
// the grace after ctx's end is over it is named in the log, with where it stands, and left behind.
func (p *parts) wait(ctx context.Context, log *slog.Logger) error {
	ended := make(chan error, 1)
	go func() { ended <- p.group.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(partGrace)
	defer late.Stop()
	select {
	case err := <-ended:
		return err
	case <-late.C:
	}
	p.mu.Lock()
	names := slices.Sorted(maps.Keys(p.running))
	p.mu.Unlock()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	log.Error("parts of the node do not end and are left behind", "parts", strings.Join(names, ", "), "stacks", string(stacks))
	return context.Cause(ctx)
}
