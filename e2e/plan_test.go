package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

// happened gives the app's events that a plan foretells, in order, of what came after the first n events.
func (a *App) happened(n int) (seen []happening, all int) {
	a.t.Helper()
	err := a.Client(a.t).Events(a.t.Context(), api.EventQuery{App: a.Name}, func(e api.Event) error {
		if all++; all > n && foretells(e.Type) {
			task, _, _ := strings.Cut(e.Message, " ")
			seen = append(seen, happeningOf(e.Type, task))
		}
		return nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return seen, all
}

// happening is an event's kind, and the name of the task that it is about, if it is about one.
type happening struct{ kind, task string }

func happeningOf(kind, task string) happening {
	if !strings.HasPrefix(kind, "task.") {
		task = ""
	}
	return happening{kind, task}
}

// inOrder puts what happens to tasks between two other events in the order of the tasks: two that start side by side are
// ready in any order.
func inOrder(all []happening) []happening {
	for from := 0; from < len(all); {
		to := from
		for to < len(all) && all[to].task != "" {
			to++
		}
		slices.SortStableFunc(all[from:to], func(a, b happening) int { return strings.Compare(a.task, b.task) })
		from = to + 1
	}
	return all
}

func foretells(kind string) bool {
	return slices.Contains([]string{"deployment.started", "deployment.rejected", "deployment.swapped", "deployment.succeeded", "deployment.rolled_back",
		"task.ready", "task.stopped", "task.failed", "job.started", "job.succeeded"}, kind)
}

// TestPlanComesTrue plans a deploy, makes it, and holds what happened against what was foretold.
func TestPlanComesTrue(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Run("plan").Want(t, exitDone, "the first", "It would succeed")
	a.Deploy()
	a.web("v2", `      release: ["true"]`)
	_, before := a.happened(0)
	var p api.PlanResponse
	a.Run("plan", "--json", "--what-if", "fail=web", "--what-if", "lose="+shared.hostNode(t)).Want(t, exitDone).JSON(t, &p)
	if _, after := a.happened(0); after != before {
		t.Errorf("a plan made %d events", after-before)
	}
	a.Deploy()
	was, _ := a.happened(before)
	var said []happening
	for _, s := range p.Steps {
		if foretells(s.Type) && s.At <= p.Took {
			said = append(said, happeningOf(s.Type, s.Task))
		}
	}
	if !slices.Equal(inOrder(was), inOrder(said)) {
		t.Errorf("foretold %v\nit was  %v", said, was)
	}
	if len(p.WhatIf) != 2 || p.WhatIf[0].State != api.DeployRolledBack || p.WhatIf[0].Committed != 1 || len(p.WhatIf[1].Cases) < 4 || p.WhatIf[1].Cases[0].Gone() == 0 {
		t.Errorf("what if: %+v", p.WhatIf)
	}
	a.Run("plan").Want(t, exitDone, "Nothing would change")
	a.Run("plan", "rollback").Want(t, exitDone, "would bring release 1", "It would succeed")
	if s := a.Status(); s.Release != 2 || s.LastRelease != 2 || s.LastDeployment != 2 {
		t.Errorf("plans left %+v", s.Environment)
	}
}

// hostNode gives the name of the only node.
func (n *Node) hostNode(t *testing.T) string {
	t.Helper()
	nodes, err := n.Client(t).Nodes(t.Context())
	if err != nil || len(nodes) != 1 {
		t.Fatalf("nodes %v, %v", nodes, err)
	}
	return nodes[0].Name
}
