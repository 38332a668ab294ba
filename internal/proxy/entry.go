package proxy

import (
	"slices"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
	"github.com/ikada/ikada/internal/proxy/policy"
)

// entry is a way into a pool: a route of the shared ports, a published port, or a port of a virtual address.
type entry struct {
	name   string // "example.com/api", or a listener's address
	pool   *pool
	policy *policy.Policy
	leaves []*meter.Leaf // by the index of the pool's targets
	none   *meter.Leaf   // for requests that have no target
}

// newEntry gives the old table's entry of that name if nothing of it has changed; else it keeps what the policy of that
// has counted so far.
func (c *compiler) newEntry(name, prefix string, to *pool, p api.RoutePolicy) *entry {
	old := c.old.entries[name]
	var before *policy.Policy
	if old != nil {
		before = old.policy
	}
	compiled, err := policy.Compile(prefix, p, before)
	if err != nil {
		// Whoever wrote the table has checked it. A route that cannot be understood is left out rather than left open.
		c.next.conflicts[name] = err.Error()
		return nil
	}
	if old != nil && old.pool == to && old.policy == compiled {
		c.next.entries[name] = old
		return old
	}
	e := &entry{name: name, pool: to, policy: compiled}
	source := meter.Source{Env: to.EnvRef, Service: to.Service, Pool: to.Name, Route: name}
	e.none = c.meters.Leaf(source)
	for _, t := range to.targets {
		source.Release, source.Task = t.Release, t.Task
		e.leaves = append(e.leaves, c.meters.Leaf(source))
	}
	c.next.entries[name] = e
	return e
}

// books tells whether requests of the entry, nil for none, may be booked at the leaf.
func (e *entry) books(l *meter.Leaf) bool {
	return e != nil && (l == e.none || slices.Contains(e.leaves, l))
}

// bySpecificity orders the entries of one host and path: those that ask for most come first.
func bySpecificity(a, b *entry) int { return b.policy.Specificity() - a.policy.Specificity() }

func sortEntries(all []*entry) { slices.SortStableFunc(all, bySpecificity) }
