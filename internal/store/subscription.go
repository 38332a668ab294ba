package store

import (
	"maps"
	"sync"

	"github.com/ikada/ikada/api"
)

// Dirty is what has changed since the last look: keys, and the environments and nodes that these concern. It says
// where to look again, not what happened.
type Dirty struct {
	Keys         map[string]struct{}
	Environments map[api.EnvRef]struct{}
	Nodes        map[string]struct{}
}

func newDirty() *Dirty {
	return &Dirty{Keys: map[string]struct{}{}, Environments: map[api.EnvRef]struct{}{}, Nodes: map[string]struct{}{}}
}

func (d *Dirty) environment(r api.EnvRef) { d.Environments[r] = struct{}{} }

func (d *Dirty) node(name string) {
	if name != "" {
		d.Nodes[name] = struct{}{}
	}
}

func (d *Dirty) add(other *Dirty) {
	maps.Copy(d.Keys, other.Keys)
	maps.Copy(d.Environments, other.Environments)
	maps.Copy(d.Nodes, other.Nodes)
}

// Subscription gathers what becomes dirty until its holder takes it: the mirror never waits for a slow holder, and
// nothing is lost however slow it is. Safe for concurrent use.
type Subscription struct {
	mirror *Mirror
	wake   chan struct{}

	mu    sync.Mutex
	dirty *Dirty
}

// Wake delivers a value when there is something to Take.
func (s *Subscription) Wake() <-chan struct{} { return s.wake }

// Take gives what became dirty since the last call; its sets are empty when nothing did.
func (s *Subscription) Take() *Dirty {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dirty
	s.dirty = newDirty()
	return d
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.mirror.mu.Lock()
	defer s.mirror.mu.Unlock()
	delete(s.mirror.subscriptions, s)
}

func (s *Subscription) add(d *Dirty) {
	if len(d.Keys) == 0 {
		return
	}
	s.mu.Lock()
	s.dirty.add(d)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // a wake is pending already
	}
}
