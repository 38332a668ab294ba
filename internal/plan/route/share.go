package route

import (
	"maps"
	"slices"

	"github.com/ikada/ikada/api"
)

// share gives the weights by which the running deployment shares a service's requests among the releases of its
// targets, nil when all targets are alike; and what sends requests to the target's tasks whatever their weight.
func (m *maker) share(service string, targets []api.Target) (weights map[uint64]int, match *api.PoolMatch) {
	d := m.Deployment
	if d == nil || m.Goal == nil {
		return nil, nil
	}
	if !slices.ContainsFunc(targets, func(t api.Target) bool { return t.Release != targets[0].Release }) {
		return nil, nil
	}
	if d.Backwards || d.Kind == api.KindRollback {
		counts := m.count(service, targets)
		if spec := m.Goal.Spec.Services[service]; counts.goal < m.Replicas(service, spec) {
			return nil, nil // those that are to go must help until the others can do it alone
		}
		return counts.weigh(100), nil
	}
	i := slices.IndexFunc(d.Rollouts, func(r api.Rollout) bool { return r.Service == service && r.Step > 0 })
	if i < 0 {
		return nil, nil
	}
	counts := m.count(service, targets)
	if want := m.Goal.Spec.Services[service].Update.Match; want != nil && d.Rollouts[i].Weight < 100 {
		match = &api.PoolMatch{RequestMatch: *want, Releases: counts.goals()}
	}
	return counts.weigh(d.Rollouts[i].Weight), match
}

// counts is how many targets there are of each release.
type counts struct {
	of    map[uint64]int
	fresh map[uint64]bool // releases whose tasks are what the goal wants
	goal  int             // targets of these
}

// count counts the targets of a service, which are the same ones in its pools and inside.
func (m *maker) count(service string, targets []api.Target) counts {
	if c, ok := m.counts[service]; ok {
		return c
	}
	c := counts{of: map[uint64]int{}, fresh: map[uint64]bool{}}
	want := api.HashService(m.Goal.Spec, service)
	for _, t := range targets {
		if c.of[t.Release]++; c.of[t.Release] == 1 {
			r := m.Releases[t.Release]
			c.fresh[t.Release] = r != nil && api.HashService(r.Spec, service) == want
		}
		if c.fresh[t.Release] {
			c.goal++
		}
	}
	m.counts[service] = c
	return c
}

// weigh gives the goal's releases so many percent together, and the others the rest; within each by their targets.
func (c counts) weigh(percent int) map[uint64]int {
	others := 0
	for _, n := range c.of {
		others += n
	}
	others -= c.goal
	weights := map[uint64]int{}
	for release, n := range c.of {
		if c.fresh[release] {
			weights[release] = n * percent * max(others, 1)
		} else {
			weights[release] = n * (100 - percent) * max(c.goal, 1)
		}
	}
	return weights
}

func (c counts) goals() []uint64 {
	var out []uint64
	for _, r := range slices.Sorted(maps.Keys(c.of)) {
		if c.fresh[r] {
			out = append(out, r)
		}
	}
	return out
}
