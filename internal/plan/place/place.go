// Package place chooses the node for a task: [Pick] filters the nodes that cannot take it and ranks the others.
//
// The package is pure: no I/O, no clock, no random source. When no node fits it says for each reason how many nodes
// it rules out. Start at [Pick].
package place

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
)

// Node is a node with what is already placed on it.
type Node struct {
	api.Node
	CPUMillis int64          // reserved by the tasks on it
	Memory    int64          // likewise, bytes
	Tasks     int            // tasks on it
	Services  map[string]int // "app/env/service" → tasks of it
}

// Charge adds a task with what it reserves.
func (n *Node) Charge(t *api.Task, res api.Resources) {
	n.Tasks++
	n.CPUMillis += res.ReserveCPUMillis
	n.Memory += res.ReserveMemory
	if t.Job == nil {
		n.Services[t.EnvRef.String()+"/"+t.Service]++
	}
}

// Request is a task that looks for a node.
type Request struct {
	Env     api.EnvRef
	Service string
	Spec    api.ServiceSpec
}

func (r Request) key() string { return r.Env.String() + "/" + r.Service }

// Pick gives the best node for the request, or the reason why none fits. The order of preference: fewest tasks of the
// service in the same spread domain, fewest tasks of the service, least reserved memory and CPU as a share, fewest
// tasks, name.
func Pick(nodes []Node, r Request) (string, string) {
	if len(nodes) == 0 {
		return "", "no node has joined"
	}
	rules := make([]rule, 0, len(r.Spec.Placement.Constraints))
	for _, c := range r.Spec.Placement.Constraints {
		k, err := parseConstraint(c)
		if err != nil {
			return "", err.Error()
		}
		rules = append(rules, k)
	}
	var fit []Node
	refused := map[string]int{}
	for _, n := range nodes {
		if why := refuse(n, r, rules); why != "" {
			refused[why]++
			continue
		}
		fit = append(fit, n)
	}
	if len(fit) == 0 {
		return "", noFit(refused)
	}
	domains := map[string]int{}
	for _, n := range nodes {
		domains[domain(n, r)] += n.Services[r.key()]
	}
	best := slices.MinFunc(fit, func(a, b Node) int {
		return cmp.Or(
			cmp.Compare(domains[domain(a, r)], domains[domain(b, r)]),
			cmp.Compare(a.Services[r.key()], b.Services[r.key()]),
			cmp.Compare(load(a), load(b)),
			cmp.Compare(a.Tasks, b.Tasks),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return best.Name, ""
}

// refuse says why the node cannot take the task, "" when it can.
func refuse(n Node, r Request, rules []rule) string {
	res := r.Spec.Resources
	switch {
	case n.Down:
		return "down"
	case n.Drained:
		return "draining"
	case res.ReserveMemory > 0 && n.Memory+res.ReserveMemory > n.Node.Memory:
		return fmt.Sprintf("lacking memory (%s wanted)", fmt.Sprintf("%d MiB", res.ReserveMemory>>20))
	case res.ReserveCPUMillis > 0 && n.CPUMillis+res.ReserveCPUMillis > n.CPUMilli:
		return fmt.Sprintf("lacking CPU (%.2g cores wanted)", float64(res.ReserveCPUMillis)/1000)
	case r.Spec.Placement.MaxPerNode > 0 && n.Services[r.key()] >= r.Spec.Placement.MaxPerNode:
		return fmt.Sprintf("at the limit of %d tasks of %s a node", r.Spec.Placement.MaxPerNode, r.Service)
	}
	for _, k := range rules {
		if !k.match(n) {
			return fmt.Sprintf("not matching %q", k.text)
		}
	}
	return ""
}

// noFit makes a sentence of the refusals: "no node fits: 2 lacking memory, 1 draining".
func noFit(refused map[string]int) string {
	parts := make([]string, 0, len(refused))
	for _, why := range slices.Sorted(maps.Keys(refused)) {
		parts = append(parts, fmt.Sprintf("%d %s", refused[why], why))
	}
	return "no node fits: " + strings.Join(parts, ", ")
}

// load is the larger of the reserved shares of memory and CPU.
func load(n Node) float64 {
	share := func(used, all int64) float64 {
		if all <= 0 {
			return 0
		}
		return float64(used) / float64(all)
	}
	return max(share(n.Memory, n.Node.Memory), share(n.CPUMillis, n.CPUMilli))
}

// domain is the node's place in the first spread preference; every node is alone in its own when there is none.
func domain(n Node, r Request) string {
	if len(r.Spec.Placement.Spread) == 0 {
		return n.Name
	}
	return attribute(n, r.Spec.Placement.Spread[0])
}
