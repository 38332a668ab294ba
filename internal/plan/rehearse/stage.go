package rehearse

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/plan/place"
	"github.com/ikada/ikada/internal/plan/round"
)

// run lets time pass from one thing that happens to the next, until nothing more does.
func (st *stage) run() {
	st.balance()
	st.shares = st.sharing() // what balancers have in force already is no step
	st.gaps.watch(st)
	for {
		st.fate()
		st.settle()
		st.share()
		st.gaps.watch(st)
		if d := st.target(); d != nil && d.State.Final() && !st.over {
			st.over, st.left = true, st.wantedTasks()
		}
		next := st.next()
		switch {
		case next.IsZero():
			return
		case st.plans > maxPlans || len(st.steps) > maxSteps || next.Sub(st.set.Now) > maxTime:
			st.cut = true
			return
		}
		st.now = next
	}
}

// settle has agents, balancers and planners do what there is to do now.
func (st *stage) settle() {
	for range maxRound {
		st.act()
		st.balance()
		if st.dark() || !st.plan() && !st.resume() {
			return
		}
	}
	st.cut, st.plans = true, maxPlans+1 // it does not come to rest
}

// dark tells whether no node is left for anything to run on, the control plane among it.
func (st *stage) dark() bool { return !st.back.IsZero() }

// next gives when something happens again, zero for never.
func (st *stage) next() time.Time {
	var next time.Time
	at := func(t time.Time) {
		if t.After(st.now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	at(st.back)
	if st.trouble.Lose != "" {
		at(st.set.Now.Add(st.trouble.At))
	}
	if st.dark() {
		return next
	}
	at(st.wake)
	for _, a := range st.tasks {
		at(st.due(a))
	}
	for _, n := range st.nodes {
		if !n.died.IsZero() {
			at(n.died.Add(st.set.Lease))
			continue
		}
		for id, since := range n.left {
			at(since.Add(st.drain(id)))
		}
	}
	return next
}

// plan makes one plan and applies it; it tells whether there was anything to do.
func (st *stage) plan() bool {
	st.plans++
	if st.plans > maxPlans {
		return false
	}
	p := round.Make(st.world())
	st.wake = p.Wake
	if p.Empty() {
		return false
	}
	st.apply(&p)
	return true
}

// world is what the control loop would see.
func (st *stage) world() round.World {
	w := deploy.World{Now: st.now, Env: st.env, Releases: st.set.Releases, Problems: map[string]string{}, Pressure: st.set.Pressure, Unasked: true}
	if d := round.Current(st.deployments); d != nil && !st.env.Destroying {
		c := *d
		w.Deployment = &c
	}
	if d := round.OnTrial(st.deployments); d != nil {
		c := *d
		w.Bake = &c
	}
	w.Commands = round.Commands(st.jobs, w.Deployment)
	r := round.Reports{Lost: st.lost, Status: st.statusOf}
	for _, n := range st.nodes {
		if !st.lost(n.Name) {
			r.Balancers = append(r.Balancers, &n.status)
		}
	}
	tasks := make([]*api.Task, 0, len(st.tasks))
	for _, a := range st.tasks {
		tasks = append(tasks, &a.Task)
	}
	round.See(&w, tasks, r)
	out := round.World{World: w, Nodes: st.places(), NewID: st.id}
	for _, j := range st.jobs {
		out.Jobs = append(out.Jobs, *j)
	}
	return out
}

func (st *stage) statusOf(task string) *api.TaskStatus {
	if a := st.byID[task]; a != nil && a.spoken {
		return &a.status
	}
	return nil
}

// lost tells whether the control plane counts the node as gone.
func (st *stage) lost(name string) bool {
	n := st.node(name)
	return n == nil || !n.died.IsZero() && !st.now.Before(n.died.Add(st.set.Lease))
}

func (st *stage) node(name string) *node {
	for _, n := range st.nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// places gives the nodes with what is placed on them by now.
func (st *stage) places() []place.Node {
	out := make([]place.Node, 0, len(st.nodes))
	for _, n := range st.nodes {
		p := n.Node
		p.Down = st.lost(n.Name)
		p.Services = map[string]int{}
		maps.Copy(p.Services, n.Services)
		for _, a := range st.tasks {
			if a.Node != n.Name || a.status.State.Final() {
				continue
			}
			var res api.Resources
			if r := st.set.Releases[a.Release]; r != nil {
				res = r.Spec.Services[a.Service].Resources
			}
			p.Charge(&a.Task, res)
		}
		out = append(out, p)
	}
	return out
}

func (st *stage) id() string {
	st.ids++
	return fmt.Sprintf("rehearsed%d", st.ids)
}

// apply does to the world what the control loop writes to the store.
func (st *stage) apply(p *round.Plan) {
	first := func(e api.Event) bool {
		return e.Type == "deployment.started" || e.Type == "deployment.ailing" || e.Type == "deployment.rejected"
	}
	st.tellEvents(p.Events, first) // all else is their doing
	for i := range p.Update {
		st.update(&p.Update[i])
	}
	for _, t := range p.Create {
		a := &actor{Task: t}
		st.tasks = append(st.tasks, a)
		st.byID[t.ID] = a
		st.placed(a)
	}
	for _, id := range p.Forget {
		delete(st.byID, id)
	}
	st.tasks = slices.DeleteFunc(st.tasks, func(a *actor) bool { return st.byID[a.ID] == nil })
	for i := range p.Jobs.Create {
		st.jobs = append(st.jobs, &p.Jobs.Create[i])
	}
	for i := range p.Jobs.Update {
		for k, j := range st.jobs {
			if j.ID == p.Jobs.Update[i].ID {
				st.jobs[k] = &p.Jobs.Update[i]
			}
		}
	}
	st.jobs = slices.DeleteFunc(st.jobs, func(j *api.Job) bool { return slices.Contains(p.Jobs.Forget, j.ID) })
	if p.Env != nil {
		st.env = *p.Env
	}
	for _, d := range []*api.Deployment{p.Deployment, p.Bake, p.Follow} {
		st.put(d)
	}
	st.tellEvents(p.Events, func(e api.Event) bool { return !first(e) })
}

// tellEvents notes the events that are chosen. How a trial ends depends on requests that are yet to come.
func (st *stage) tellEvents(events []api.Event, chosen func(api.Event) bool) {
	for _, e := range events {
		switch {
		case !chosen(e):
		case e.Type == "release."+string(api.TrialVerified) || e.Type == "release."+string(api.TrialUnverified):
			st.note(api.PlanStep{Type: api.PlanTrial, Release: st.env.Release,
				Text: fmt.Sprintf("the trial of release %d is over: until here its requests and crashes can take it back", st.env.Release)})
		default:
			st.note(api.PlanStep{Type: e.Type, Service: e.Service, Text: e.Message})
		}
	}
}

func (st *stage) put(d *api.Deployment) {
	if d == nil {
		return
	}
	for i, was := range st.deployments {
		if was.Number == d.Number {
			st.deployments[i] = d
			return
		}
	}
	st.deployments = append(st.deployments, d)
}

// update takes a task's new wishes over.
func (st *stage) update(t *api.Task) {
	a := st.byID[t.ID]
	was := a.Task
	a.Task = *t
	if t.Desired == was.Desired {
		if was.Node == "" && t.Node != "" || was.Reason != t.Reason {
			st.placed(a)
		}
		return
	}
	name := fmt.Sprintf("%s of release %d", t.Name(), t.Release)
	switch t.Desired {
	case api.WantDraining:
		st.tell(a, api.PlanDrain, "%s leaves: %s", name, t.Reason)
	case api.WantWarm:
		st.tell(a, api.PlanWarm, "%s takes no more requests and stays warm: %s", name, t.Reason)
	case api.WantRunning:
		st.tell(a, api.PlanStart, "%s, still warm, serves again: %s", name, t.Reason)
	}
}

// placed tells where a new task starts, or why it does not.
func (st *stage) placed(a *actor) {
	switch name := fmt.Sprintf("%s of release %d", a.Name(), a.Release); {
	case a.Node == "":
		st.tell(a, api.PlanWait, "%s waits: %s", name, a.Reason)
	case a.NotBefore.After(st.now):
		st.tell(a, api.PlanWait, "%s waits on %s: %s", name, a.Node, a.Reason)
	case a.Job == nil: // a job's start has an event
		st.tell(a, api.PlanStart, "%s starts on %s", name, a.Node)
	}
}

func (st *stage) tell(a *actor, kind, format string, args ...any) {
	st.note(api.PlanStep{Type: kind, Service: a.Service, Task: a.Name(), Node: a.Node, Release: a.Release, Text: fmt.Sprintf(format, args...)})
}

func (st *stage) note(s api.PlanStep) {
	s.At = st.since(st.now)
	st.steps = append(st.steps, s)
}

// resume has a deployment go on that waits for a person; it tells whether there was one. Time stands still meanwhile.
func (st *stage) resume() bool {
	d := round.Current(st.deployments)
	if d == nil || d.State != api.DeployRunning || d.Backwards {
		return false
	}
	i := slices.IndexFunc(d.Rollouts, func(r api.Rollout) bool { return r.State == api.RolloutPaused })
	if i < 0 && !d.Paused() {
		return false
	}
	service, why := "", fmt.Sprintf("deployment %d is paused", d.Number)
	if i >= 0 {
		r := d.Rollouts[i]
		service, why = r.Service, r.Service+" stays as it is"
		if reason, _, _ := strings.Cut(r.Reason, "; goes on"); reason != "" && r.Step > 0 {
			why = fmt.Sprintf("%s stays at %s", r.Service, reason)
		}
	}
	d.ResumedAt = latest(st.now, d.PausedAt, d.ResumedAt).Add(time.Nanosecond)
	st.note(api.PlanStep{Type: api.PlanResume, Service: service, Text: why + " until somebody says `ikada resume`; here that is said at once"})
	return true
}

// wantedTasks gives the tasks that are to serve, or stay warm.
func (st *stage) wantedTasks() []api.PlanTask {
	var out []api.PlanTask
	for _, a := range st.tasks {
		if a.Job == nil && a.Desired.Runs() && !a.status.State.Final() {
			out = append(out, api.PlanTask{Service: a.Service, Slot: a.Slot, Release: a.Release, Node: a.Node, Desired: a.Desired})
		}
	}
	slices.SortFunc(out, func(a, b api.PlanTask) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Release, b.Release))
	})
	return out
}

func latest(ts ...time.Time) time.Time { return slices.MaxFunc(ts, time.Time.Compare) }
