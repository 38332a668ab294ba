package api

import (
	"maps"
	"slices"
)

// A route table is compared with the one before whenever it may have changed, of which most parts are alike: so without
// reflection.

// Alike tells whether two tables say the same; their versions may differ.
func (t *RouteTable) Alike(o *RouteTable) bool {
	return slices.Equal(t.Listeners, o.Listeners) && equalAll(t.Routes, o.Routes, (*Route).Equal) &&
		equalAll(t.Pools, o.Pools, (*Pool).Equal) && equalAll(t.Inside, o.Inside, (*Inside).Equal) && slices.Equal(t.Leaving, o.Leaving)
}

func equalAll[T any](a, b []T, equal func(a, b *T) bool) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !equal(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

// Equal tells whether two pools are the same, with their targets in the same order.
func (p *Pool) Equal(o *Pool) bool {
	return p.Name == o.Name && p.EnvRef == o.EnvRef && p.Service == o.Service && p.Hold == o.Hold &&
		slices.Equal(p.Targets, o.Targets) && maps.Equal(p.Weights, o.Weights) && p.Match.equal(o.Match)
}

func (m *PoolMatch) equal(o *PoolMatch) bool {
	return m == o || m != nil && o != nil && slices.Equal(m.Releases, o.Releases) &&
		maps.Equal(m.Headers, o.Headers) && maps.Equal(m.Cookies, o.Cookies)
}

// Equal tells whether two routes are the same.
func (r *Route) Equal(o *Route) bool {
	return r.Host == o.Host && r.Path == o.Path && r.Pool == o.Pool && r.RoutePolicy.Equal(&o.RoutePolicy)
}

// Equal tells whether two policies ask for the same.
func (p *RoutePolicy) Equal(o *RoutePolicy) bool {
	return slices.Equal(p.Methods, o.Methods) && maps.Equal(p.Headers, o.Headers) &&
		p.Rewrite == o.Rewrite && same(p.Redirect, o.Redirect) &&
		p.Timeout == o.Timeout && p.IdleTimeout == o.IdleTimeout && p.MaxBody == o.MaxBody &&
		same(p.Sticky, o.Sticky) && same(p.RateLimit, o.RateLimit) && maps.Equal(p.BasicAuth, o.BasicAuth) &&
		same(p.Maintenance, o.Maintenance) && p.Compress == o.Compress
}

// Equal tells whether two services are reached in the same way, with everything in the same order.
func (s *Inside) Equal(o *Inside) bool {
	return s.Address == o.Address && s.EnvRef == o.EnvRef && s.Service == o.Service && s.Hold == o.Hold &&
		maps.Equal(s.Protocols, o.Protocols) && slices.Equal(s.Targets, o.Targets) && maps.Equal(s.Weights, o.Weights) && slices.Equal(s.Names, o.Names) &&
		slices.Equal(s.Networks, o.Networks) && maps.EqualFunc(s.Aliases, o.Aliases, slices.Equal[[]string])
}

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }
