package rehearse

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/route"
)

// table makes the route table of now.
func (st *stage) table() *api.RouteTable {
	release := func(n uint64) *api.Release { return st.set.Releases[n] }
	tasks := make([]*api.Task, 0, len(st.tasks))
	for _, a := range st.tasks {
		tasks = append(tasks, &a.Task)
	}
	return route.Table(0, []route.Env{route.NewEnv(&st.env, st.deployments, release, tasks, st.statusOf)})
}

// balance has the balancers of living nodes put the route table of now in force.
func (st *stage) balance() {
	t := st.table()
	picks := map[string]bool{}
	for _, p := range t.Pools {
		for _, target := range p.Targets {
			picks[target.Task] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(picks))
	for _, n := range st.nodes {
		if n.died.IsZero() {
			n.balance(st, sorted, t.Leaving)
		}
	}
}

// balance puts a table in force: what it picks no more is released once the requests in flight have ended.
func (n *node) balance(st *stage, picks, leaving []string) {
	leaves := map[string]string{}
	for _, leave := range leaving {
		leaves[api.LeavingTask(leave)] = leave
	}
	for _, id := range slices.Concat(n.status.Picks, slices.Sorted(maps.Keys(leaves))) {
		if _, known := n.left[id]; !known && !slices.Contains(picks, id) {
			n.left[id] = st.now
			if !slices.Contains(n.status.Picks, id) {
				n.left[id] = st.now.Add(-st.drain(id)) // it had no requests
			}
		}
	}
	n.status.Node, n.status.Picks = n.Name, picks
	n.status.Drains = map[string]int{}
	for id, since := range n.left {
		a := st.byID[id]
		switch {
		case a == nil || a.status.State.Final() || slices.Contains(picks, id):
			delete(n.left, id)
		case st.now.Before(since.Add(st.drain(id))):
			n.status.Drains[cmp.Or(leaves[id], id)] = 1
		default:
			n.status.Drains[cmp.Or(leaves[id], id)] = 0
		}
	}
}

// drain gives for how long a task's requests in flight go on once it is left.
func (st *stage) drain(task string) time.Duration {
	if a := st.byID[task]; a != nil {
		return st.paceOf(a).Drain
	}
	return 0
}

// share notes for each service how its requests are shared among releases, where that is new.
func (st *stage) share() {
	if st.dark() {
		return
	}
	shares := st.sharing()
	for _, service := range slices.Sorted(maps.Keys(shares)) {
		if was, known := st.shares[service]; shares[service] != was && (known || shares[service] != nobody) {
			st.note(api.PlanStep{Type: api.PlanRoute, Service: service, Text: "requests to " + service + " go to " + shares[service]})
		}
	}
	st.shares = shares
}

// sharing says for each service who gets its requests.
func (st *stage) sharing() map[string]string {
	t, shares := st.table(), map[string]string{}
	for _, p := range t.Pools {
		if _, seen := shares[p.Service]; !seen {
			shares[p.Service] = shareText(p.Targets, p.Weights, p.Match)
		}
	}
	for _, in := range t.Inside {
		if _, seen := shares[in.Service]; !seen {
			shares[in.Service] = shareText(in.Targets, in.Weights, nil)
		}
	}
	return shares
}

// nobody is where requests go for which there is no task: the balancer holds them for a while.
const nobody = "no task yet: they are held back"

// shareText says who gets a service's requests.
func shareText(targets []api.Target, weights map[uint64]int, match *api.PoolMatch) string {
	count, sum := map[uint64]int{}, 0
	for _, t := range targets {
		count[t.Release]++
	}
	share := map[uint64]int{}
	for r, n := range count {
		share[r] = n
		if weights != nil {
			share[r] = weights[r]
		}
		sum += share[r]
	}
	var parts []string
	for _, r := range slices.Sorted(maps.Keys(count)) {
		part := fmt.Sprintf("release %d", r)
		if len(count) > 1 {
			part = fmt.Sprintf("release %d %.3g %%", r, float64(100*share[r])/float64(max(sum, 1)))
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", part, tasksOf(count[r])))
	}
	if len(parts) == 0 {
		return nobody
	}
	text := strings.Join(parts, ", ")
	if match != nil {
		var asks []string
		for _, k := range slices.Sorted(maps.Keys(match.Headers)) {
			asks = append(asks, "header "+k+"="+match.Headers[k])
		}
		for _, k := range slices.Sorted(maps.Keys(match.Cookies)) {
			asks = append(asks, "cookie "+k+"="+match.Cookies[k])
		}
		var to []string
		for _, r := range match.Releases {
			to = append(to, fmt.Sprint(r))
		}
		text += fmt.Sprintf("; those with %s to release %s", strings.Join(asks, " and "), strings.Join(to, ", "))
	}
	return text
}

func tasksOf(n int) string {
	if n == 1 {
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", n)
}
