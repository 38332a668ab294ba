package rehearse

import (
	"maps"
	"slices"

	"github.com/ikada/ikada/api"
)

// gaps notes when services that could answer can no more.
type gaps struct {
	up   map[string]bool         // services that had a task ready
	open map[string]api.Duration // service → since when it has none
	done []api.Gap
}

// watch looks at the services of the committed release, and those that were there before.
func (g *gaps) watch(st *stage) {
	if g.up == nil {
		g.up, g.open = map[string]bool{}, map[string]api.Duration{}
	}
	ready := map[string]int{}
	for _, a := range st.tasks {
		if a.Job == nil && st.alive(a) && a.Desired == api.WantRunning && a.status.State == api.TaskReady && !a.status.Unhealthy {
			ready[a.Service]++
		}
	}
	at := st.since(st.now)
	for name := range ready {
		g.up[name] = true
		if from, gone := g.open[name]; gone {
			delete(g.open, name)
			g.close(name, from, at)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.up)) {
		_, gone := g.open[name]
		if ready[name] == 0 && !gone && st.wanted(name) {
			g.open[name] = at
		}
	}
	for name := range g.open {
		if !st.wanted(name) {
			delete(g.open, name) // it is to go
		}
	}
}

func (g *gaps) close(service string, from, to api.Duration) {
	if to > from {
		g.done = append(g.done, api.Gap{Service: service, From: from, For: to - from})
	}
}

// list gives the gaps until now, by time.
func (g *gaps) list(now api.Duration) []api.Gap {
	out := slices.Clone(g.done)
	for _, name := range slices.Sorted(maps.Keys(g.open)) {
		out = append(out, api.Gap{Service: name, From: g.open[name], For: now - g.open[name], Open: true})
	}
	slices.SortStableFunc(out, func(a, b api.Gap) int { return int(a.From - b.From) })
	return out
}

// wanted tells whether the environment is to have tasks of a service that answer all the time.
func (st *stage) wanted(service string) bool {
	for _, n := range st.goals() {
		if r := st.set.Releases[n]; r != nil {
			spec, ok := r.Spec.Services[service]
			if ok && st.env.Replicas(service, spec) > 0 && !spec.WithDefaults().Restart.RunsToEnd() {
				return true
			}
		}
	}
	return false
}

// goals gives the release that the environment is on its way to, or is at.
func (st *stage) goals() []uint64 {
	for _, d := range st.deployments {
		if d.State == api.DeployRunning && !d.Backwards {
			return []uint64{d.To}
		}
	}
	return []uint64{st.env.Release}
}
