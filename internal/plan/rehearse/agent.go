package rehearse

import (
	"fmt"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// due gives when the task's agent does something next of which nobody need tell it, zero for never.
func (st *stage) due(a *actor) time.Time {
	if !st.alive(a) || a.status.State.Final() {
		return time.Time{}
	}
	pace := st.paceOf(a)
	switch a.Desired {
	case api.WantStopped:
		return a.DesiredAt.Add(pace.Stop)
	case api.WantDraining:
		return time.Time{}
	case api.WantWarm:
		return st.crashes(a)
	}
	switch a.status.State {
	case "", api.TaskPending, api.TaskAssigned, api.TaskPulling, api.TaskStarting:
		return latest(a.CreatedAt, a.NotBefore, st.set.Now)
	case api.TaskReady:
		return st.crashes(a)
	}
	began := latest(a.status.StartedAt, a.CreatedAt)
	if st.fails(a) {
		spec := st.spec(a)
		return began.Add(spec.Health.Deadline())
	}
	if at := st.crashes(a); !at.IsZero() {
		return at
	}
	return latest(began.Add(pace.Start), st.set.Now)
}

// act has the agents of all tasks do what is due.
func (st *stage) act() {
	for _, a := range st.tasks {
		for range 3 { // a task may start and be ready at once
			if !st.move(a) {
				break
			}
		}
	}
}

// move has a task's agent take one step; it tells whether there was one.
func (st *stage) move(a *actor) bool {
	s := &a.status
	if !st.alive(a) || s.State.Final() {
		return false
	}
	name := fmt.Sprintf("%s of release %d", a.Name(), a.Release)
	if a.Desired == api.WantDraining {
		if s.State == api.TaskDraining {
			return false
		}
		st.say(a, api.TaskDraining)
		return true
	}
	at := st.due(a)
	if at.IsZero() || at.After(st.now) {
		return false
	}
	switch {
	case a.Desired == api.WantStopped:
		st.say(a, api.TaskStopped)
		st.tell(a, "task.stopped", "%s has stopped", name)
	case s.State.Before(api.TaskRunning):
		st.say(a, api.TaskRunning)
		s.StartedAt = st.now
		if a.NotBefore.Equal(st.now) {
			st.tell(a, api.PlanStart, "%s starts on %s", name, a.Node)
		}
	case st.fails(a):
		spec := st.spec(a)
		st.end(a, api.CauseUnhealthy, fmt.Sprintf("not ready after %s", spec.Health.Deadline()))
	case !st.crashes(a).IsZero():
		st.end(a, api.CauseExit, fmt.Sprintf("exited with code 1 after %s", st.now.Sub(s.StartedAt)))
	case a.Job != nil || st.spec(a).Restart.RunsToEnd():
		st.say(a, api.TaskStopped)
		code := 0
		s.ExitCode = &code
		if a.Job == nil {
			st.tell(a, "task.stopped", "%s has run to its end", name)
		}
	default:
		st.say(a, api.TaskReady)
		s.ReadyAt, s.Unhealthy = st.now, false
		st.tell(a, "task.ready", "%s on %s is ready", name, a.Node)
	}
	return true
}

// say has the agent report a state.
func (st *stage) say(a *actor, state api.TaskState) {
	a.spoken = true
	a.status.Task, a.status.Node, a.status.State = a.ID, a.Node, state
	switch {
	case state.Final():
		a.status.FinishedAt = st.now
	case state == api.TaskReady && a.status.Address == "":
		a.status.Address = "192.0.2.1" // of the block for documents: nobody calls it
	}
}

// end has a task fail.
func (st *stage) end(a *actor, cause api.Cause, why string) {
	st.say(a, api.TaskFailed)
	a.status.Cause, a.status.Message = cause, why
	st.tell(a, "task.failed", "%s of release %d failed: %s", a.Name(), a.Release, why)
}

func (st *stage) spec(a *actor) api.ServiceSpec {
	r := st.set.Releases[a.Release]
	if r == nil {
		return api.ServiceSpec{}
	}
	return r.Spec.Services[a.Service].WithDefaults()
}

// alive tells whether the task has a node, and that lives.
func (st *stage) alive(a *actor) bool {
	n := st.node(a.Node)
	return n != nil && n.died.IsZero()
}

// fresh tells whether the task is of what the rehearsed deployment brings to a service.
func (st *stage) fresh(a *actor, service string) bool {
	d := st.target()
	if service == "" || a.Service != service || a.Job != nil || d == nil {
		return false
	}
	r := st.set.Releases[d.To]
	return r != nil && a.Hash == api.HashService(r.Spec, service) && a.CreatedAt.After(st.set.Now.Add(-time.Nanosecond))
}

// fails tells whether the task is one that never becomes ready.
func (st *stage) fails(a *actor) bool { return st.fresh(a, st.trouble.Fail) }

// crashes gives when the task exits that is one of those which do, zero for never.
func (st *stage) crashes(a *actor) time.Time {
	switch {
	case !st.fresh(a, st.trouble.Crash):
		return time.Time{}
	case st.trouble.After == 0 && !a.status.StartedAt.IsZero():
		return a.status.StartedAt
	case st.trouble.After > 0 && a.status.State == api.TaskReady:
		return a.status.ReadyAt.Add(st.trouble.After)
	}
	return time.Time{}
}

// fate has the node die whose time has come, and come back the last that is awaited.
func (st *stage) fate() {
	if n := st.node(st.trouble.Lose); n != nil && n.died.IsZero() && st.back.IsZero() && !st.now.Before(st.set.Now.Add(st.trouble.At)) {
		st.trouble.Lose = ""
		n.died = st.now
		text := fmt.Sprintf("node %s dies%s; it counts as lost after %s", n.Name, st.on(n), st.set.Lease)
		if st.alight() == 0 {
			st.back = st.now.Add(returns)
			text = fmt.Sprintf("node %s dies%s: no node is left, so until it is back nothing runs, nothing answers and nothing is decided", n.Name, st.on(n))
		}
		st.note(api.PlanStep{Type: api.PlanLose, Node: n.Name, Text: text})
	}
	if st.back.IsZero() || st.now.Before(st.back) {
		for _, n := range st.nodes {
			if !n.died.IsZero() && n.died.Add(st.set.Lease).Equal(st.now) && st.back.IsZero() {
				st.note(api.PlanStep{Type: "node.lost", Node: n.Name, Text: fmt.Sprintf("node %s does not answer", n.Name)})
			}
		}
		return
	}
	st.back = time.Time{}
	for _, n := range st.nodes {
		if n.died.IsZero() || n.Down {
			continue
		}
		n.died, n.status, n.left = time.Time{}, api.BalancerStatus{Node: n.Name}, map[string]time.Time{}
		st.note(api.PlanStep{Type: api.PlanReturn, Node: n.Name,
			Text: fmt.Sprintf("node %s is back (taken to be so after %s): its containers are gone, and ikada goes on where it was", n.Name, returns)})
		for _, a := range st.tasks {
			if a.Node == n.Name && a.spoken && !a.status.State.Final() {
				st.say(a, api.TaskFailed)
				a.status.Cause, a.status.Message = api.CauseLost, "its container was gone when ikada started: the node was shut down or restarted"
			}
		}
	}
}

// on names what runs on a node: " with web.1 of release 2".
func (st *stage) on(n *node) string {
	var names []string
	for _, a := range st.tasks {
		if a.Node == n.Name && a.spoken && !a.status.State.Final() {
			names = append(names, fmt.Sprintf("%s of release %d", a.Name(), a.Release))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " with " + strings.Join(names, ", ")
}

// alight counts the nodes that live.
func (st *stage) alight() int {
	n := 0
	for _, x := range st.nodes {
		if x.died.IsZero() {
			n++
		}
	}
	return n
}
