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

// newEntry keeps what the policy of the entry of that name has counted so far.
func (c *compiler) newEntry(name, prefix string, to *pool, p api.RoutePolicy) *entry {
	e := &entry{name: name, pool: to}
	var before *policy.Policy
	if old := c.old.entries[name]; old != nil {
		before = old.policy
	}
	var err error
	if e.policy, err = policy.Compile(policy.MatchPrefix(prefix), p, before); err != nil {
		// Whoever wrote the table has checked it. A route that cannot be understood is left out rather than left open.
		c.next.conflicts[name] = err.Error()
		return nil
	}
	source := meter.Source{Env: to.EnvRef, Service: to.service, Pool: to.name, Route: name}
	e.none = c.meters.Leaf(source)
	c.next.leaves[e.none] = true
	for _, t := range to.targets {
		source.Release, source.Task = t.Release, t.Task
		l := c.meters.Leaf(source)
		c.next.leaves[l] = true
		e.leaves = append(e.leaves, l)
	}
	c.next.entries[name] = e
	return e
}

// bySpecificity orders the entries of one host and path: those that ask for most come first.
func bySpecificity(a, b *entry) int { return b.policy.Specificity() - a.policy.Specificity() }

func sortEntries(all []*entry) { slices.SortStableFunc(all, bySpecificity) }
