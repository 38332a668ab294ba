package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
)

// checkPlan holds what no plan may break, whatever the world. The numbers are those of the design's invariants.
func checkPlan(before, after *sim, p *Plan) error {
	c := checked{before: before, after: after, plan: p, goal: before.releases[before.env.Release]}
	if d := before.current(); d != nil {
		c.dep = after.deps[d.Number-1]
		if !c.dep.Backwards {
			c.goal = before.releases[c.dep.To]
		}
	}
	return errors.Join(c.numbers(), c.canaries(), c.dropped(), c.wishes(), c.made(), c.held(), c.deployments(), c.ends(), c.ailing(), c.reasons())
}

// checked is a plan with the world before and after it.
type checked struct {
	before, after *sim
	plan          *Plan
	dep           *api.Deployment // that it is for, as it stands afterwards; nil when none
	goal          *api.Release    // that tasks were to be of; nil when none are to be left
}

// strategy gives how the service is on its way.
func (c *checked) strategy(spec api.ServiceSpec) api.Strategy {
	if d := c.dep; d != nil && (d.Backwards || d.Kind == api.KindRollback) {
		return spec.Rollback
	}
	return spec.Update
}

// rollout gives where a service stands that is on its way by weights; nil for all others.
func (c *checked) rollout(service string) *api.Rollout {
	if c.dep == nil || c.dep.Backwards {
		return nil
	}
	for i := range c.dep.Rollouts {
		if r := &c.dep.Rollouts[i]; r.Service == service && r.Step > 0 {
			return r
		}
	}
	return nil
}

// numbers holds invariant 1: no plan takes ready tasks below what the strategy allows, nor live ones above its surge.
func (c *checked) numbers() error {
	if c.goal == nil {
		return nil
	}
	before, after := c.before, c.after
	for name, spec := range c.goal.Spec.Services {
		spec = spec.WithDefaults()
		strategy, want := c.strategy(spec), after.env.Replicas(name, spec)
		pace := strategy.Parallelism
		if pace == 0 || c.rollout(name) != nil {
			pace = max(want, c.heldAt(name), 1)
		}
		// What a node that does not answer may still run cannot be counted, or its loss would hold a rollout up for ever.
		// Warm tasks stand beside it: what counts is that no container is added above it.
		reachable := func(t *Task) bool { return t.live() && !t.Lost && t.WarmAt.IsZero() }
		containers := func(t *Task) bool { return t.live() && !t.Lost }
		ceiling, floor := want+pace, want
		if strategy.Order == api.StopFirst {
			ceiling, floor = want, want-pace
		}
		if n := c.heldAt(name); n > 0 { // until the release commands have succeeded
			ceiling += max(n-want, 0)
			if needed, _ := c.open(); !needed[name] {
				floor = n
			}
		}
		liveWas, live := before.count(name, reachable), after.count(name, reachable)
		if live > ceiling && live > liveWas && after.count(name, containers) > before.count(name, containers) {
			return fmt.Errorf("%s: %d tasks live, %d allowed", name, live, ceiling)
		}
		hash := after.hashes.of(c.goal, name)
		serves := func(t *Task) bool { return t.healthy() || t.completed() && t.Hash == hash }
		readyWas, ready := before.count(name, serves), after.count(name, serves)
		if ready < readyWas && ready < floor {
			return fmt.Errorf("%s: the plan takes ready tasks from %d to %d, at least %d must stay", name, readyWas, ready, floor)
		}
		unsettled := func(t *Task) bool {
			return t.Hash == hash && t.live() && t.running() && !t.Lost && !(t.healthy() && !after.now.Before(t.Status.ReadyAt.Add(strategy.Delay.Std())))
		}
		old := after.count(name, func(t *Task) bool { return t.Hash != hash && t.live() && t.running() })
		if made := c.fresh(func(t *Task) bool { return t.Service == name && t.Hash == hash }); made > 0 && old > 0 {
			if n := after.count(name, unsettled); n > pace {
				return fmt.Errorf("%s: %d tasks are on their way at once, %d allowed", name, n, pace)
			}
		}
	}
	return nil
}

// canaries holds, of invariant 1, that a canary is no larger than its step, and that the old release can do it alone
// until all requests are the new one's.
func (c *checked) canaries() error {
	if c.dep == nil || c.dep.Backwards {
		return nil
	}
	for name, spec := range c.goal.Spec.Services {
		r := c.rollout(name)
		if r == nil {
			continue
		}
		want, hash := c.after.env.Replicas(name, spec), c.after.hashes.of(c.goal, name)
		if r.Step < r.Steps {
			step := c.strategy(spec.WithDefaults()).Steps[r.Step-1]
			most := max(1, (want*step.Weight+99)/100)
			if n := c.fresh(func(t *Task) bool { return t.Service == name && t.Hash == hash }); n > 0 {
				all := c.after.count(name, func(t *Task) bool { return t.Hash == hash && t.live() && t.running() && !t.Lost })
				if all > most {
					return fmt.Errorf("%s: the canary has %d tasks at %d %% of %d", name, all, step.Weight, want)
				}
			}
		}
		if r.Step < r.Steps || r.StepAt.IsZero() {
			old := func(t *Task) bool { return t.Hash != hash && t.healthy() }
			if was, is := c.before.count(name, old), c.after.count(name, old); is < was && is < want {
				return fmt.Errorf("%s: ready tasks of the old release go from %d to %d of %d before all requests are the new one's", name, was, is, want)
			}
		}
		if r.Weight < 0 || r.Weight > 100 {
			return fmt.Errorf("%s: %d %% of the requests", name, r.Weight)
		}
	}
	return nil
}

// fresh counts the tasks that the plan makes.
func (c *checked) fresh(f func(*Task) bool) int {
	n := 0
	for i := range c.plan.Create {
		if f(&Task{Task: c.plan.Create[i]}) {
			n++
		}
	}
	return n
}

// dropped holds, of invariants 1 and 5, that services that the goal drops serve until what takes their place does.
func (c *checked) dropped() error {
	if c.dep == nil || c.dep.Backwards || c.goal == nil {
		return nil
	}
	missing := ""
	for name, spec := range c.goal.Spec.Services {
		if c.dep.Ailment(name) == "" && c.before.serving(c.goal, name) < c.after.env.Replicas(name, spec) {
			missing = name
		}
	}
	if missing == "" {
		return nil
	}
	was, is := map[string]int{}, map[string]int{}
	for _, s := range []struct {
		sim *sim
		n   map[string]int
	}{{c.before, was}, {c.after, is}} {
		for _, t := range s.sim.tasks {
			if _, ok := c.goal.Spec.Services[t.Service]; !ok && t.healthy() {
				s.n[t.Service]++
			}
		}
	}
	for name, n := range was {
		if is[name] < n {
			return fmt.Errorf("%s is taken down, from %d ready tasks to %d, before %s is up", name, n, is[name], missing)
		}
	}
	return nil
}

// wishes holds that what is wanted of a task goes forwards, with a reason, and that no task is stopped without a drain.
func (c *checked) wishes() error {
	rank := map[api.Desired]int{api.WantRunning: 0, api.WantWarm: 0, api.WantDraining: 1, api.WantStopped: 2}
	i := 0
	for _, was := range c.before.tasks {
		// Tasks keep their order.
		for i < len(c.after.tasks) && c.after.tasks[i].ID != was.ID && c.before.task(c.after.tasks[i].ID) == nil {
			i++
		}
		if i == len(c.after.tasks) || c.after.tasks[i].ID != was.ID {
			if was.live() && was.Node != "" {
				return fmt.Errorf("%s: a live task was forgotten", was.ID)
			}
			continue
		}
		is := c.after.tasks[i]
		i++
		if rank[is.Desired] < rank[was.Desired] {
			return fmt.Errorf("%s: desired went back from %s to %s", was.ID, was.Desired, is.Desired)
		}
		warm := was.Desired == api.WantWarm && was.Released
		if is.Desired == api.WantStopped && was.Desired != api.WantDraining && was.Desired != api.WantStopped && !warm && !was.Lost {
			return fmt.Errorf("%s: stopped without a drain", was.ID)
		}
		if is.Desired == api.WantStopped && was.Desired == api.WantDraining && !was.Released && !was.Lost &&
			c.before.now.Before(was.DesiredAt.Add(c.drain(is).Std())) {
			return fmt.Errorf("%s: stopped before balancers let go of it", was.ID)
		}
		if is.Desired != was.Desired && is.Reason == "" {
			return fmt.Errorf("%s: desired became %s without a reason", was.ID, is.Desired)
		}
		if is.Release != was.Release || is.Hash != was.Hash || is.Slot != was.Slot || is.Node != was.Node {
			return fmt.Errorf("%s became another task: %+v", was.ID, is.Task.Task)
		}
	}
	return nil
}

func (c *checked) drain(t *simTask) api.Duration {
	if c.goal != nil {
		if spec, ok := c.goal.Spec.Services[t.Service]; ok {
			return spec.WithDefaults().Drain
		}
	}
	return api.DefaultDrain
}

// made holds invariant 3: every task that is made is one of the release that tasks are to be of, or on the way there of
// the committed one, and runs just what that release says.
func (c *checked) made() error {
	for _, x := range c.plan.Create {
		r := c.after.releases[x.Release]
		if r == nil {
			return fmt.Errorf("%s: made of release %d, which is not there", x.Name(), x.Release)
		}
		spec, ok := r.Spec.Services[x.Service]
		if !ok || x.Hash != api.HashService(r.Spec, x.Service) {
			return fmt.Errorf("%s: made of release %d, with a hash that is not its own", x.Name(), x.Release)
		}
		forward := c.dep != nil && !c.dep.Backwards && x.Release == c.dep.To
		committed := x.Release == c.before.env.Release
		if !forward && !committed {
			return fmt.Errorf("%s: made of release %d, neither the goal nor the committed one", x.Name(), x.Release)
		}
		want := c.after.env.Replicas(x.Service, spec)
		if c.goal != nil {
			want = max(want, c.after.env.Replicas(x.Service, c.goal.Spec.Services[x.Service]))
		}
		if x.Slot < 1 || x.Slot > max(want, c.heldAt(x.Service)) {
			return fmt.Errorf("%s: slot %d of %d", x.Name(), x.Slot, want)
		}
		twins := 0
		for _, t := range c.after.tasks {
			if t.Service == x.Service && t.Slot == x.Slot && t.Hash == x.Hash && t.live() && t.running() && (!t.Lost || spec.Exclusive) {
				twins++
			}
		}
		if twins > 1 {
			return fmt.Errorf("%s: made beside another of release %d", x.Name(), x.Release)
		}
	}
	return nil
}

// deployments holds invariant 4: one runs at a time, none changes what it is, and what has ended has ended.
func (c *checked) deployments() error {
	running := 0
	for i, d := range c.after.deps {
		if d.State == api.DeployRunning {
			running++
		}
		if d.Number != uint64(i+1) {
			return fmt.Errorf("deployment %d has the number %d", i+1, d.Number)
		}
		if i >= len(c.before.deps) {
			f := c.plan.Follow
			switch b := c.plan.Bake; {
			case f == nil || b == nil || d.State != api.DeployQueued || d.Number != c.after.env.LastDeployment:
				return fmt.Errorf("deployment %d comes from nowhere: %+v", d.Number, d)
			case c.dep != nil:
				return fmt.Errorf("deployment %d is queued by itself while %d is on its way", d.Number, c.dep.Number)
			case d.To != b.From || d.Reason == "" || b.State != api.DeployRolledBack || b.Reason == "" || b.To != c.before.env.Release:
				return fmt.Errorf("deployment %d to release %d (%s) is not the way back from deployment %d", d.Number, d.To, d.Reason, b.Number)
			}
			continue
		}
		was := c.before.deps[i]
		if d.Kind != was.Kind || d.To != was.To || !d.CreatedAt.Equal(was.CreatedAt) || was.Cancel && !d.Cancel {
			return fmt.Errorf("deployment %d has become another: %+v was %+v", d.Number, d, was)
		}
		if was.Backwards && !d.Backwards {
			return fmt.Errorf("deployment %d goes forwards again", d.Number)
		}
		failedLater := c.plan.Bake != nil && c.plan.Bake.Number == d.Number && was.State == api.DeploySucceeded && d.State == api.DeployRolledBack
		if was.State.Final() && d.State != was.State && !failedLater {
			return fmt.Errorf("deployment %d was %s and is %s", d.Number, was.State, d.State)
		}
		if was.State == api.DeployQueued && d.State != api.DeployQueued && slices.ContainsFunc(c.before.deps, func(o *api.Deployment) bool {
			return o.State == api.DeployRunning || o.State == api.DeployQueued && o.Number > d.Number
		}) {
			return fmt.Errorf("deployment %d begins out of its turn", d.Number)
		}
		if d.State == api.DeployRunning && d.From != c.after.env.Release {
			return fmt.Errorf("deployment %d leads from release %d, %d is committed", d.Number, d.From, c.after.env.Release)
		}
	}
	if running > 1 {
		return fmt.Errorf("%d deployments run at once", running)
	}
	return nil
}

// ends holds invariant 5: what fails leaves the last good release serving, alone and whole, and says why; and a release
// is committed only when it serves alone and whole.
func (c *checked) ends() error {
	d, before, after := c.dep, c.before, c.after
	ended := d != nil && d.State.Final()
	if !ended {
		if after.env.Release != before.env.Release {
			return fmt.Errorf("release %d is committed by nobody", after.env.Release)
		}
		return nil
	}
	if d.State == api.DeploySucceeded {
		switch {
		case after.env.Release != d.To:
			return fmt.Errorf("deployment %d succeeded, and release %d is committed", d.Number, after.env.Release)
		case d.Backwards:
			return fmt.Errorf("deployment %d succeeded backwards", d.Number)
		case d.Kind == api.KindDeploy && after.env.Previous != before.env.Release:
			return fmt.Errorf("deployment %d has no way back to release %d", d.Number, before.env.Release)
		}
		return c.alone(after.releases[d.To])
	}
	switch {
	case after.env.Release != before.env.Release || d.From != before.env.Release:
		return fmt.Errorf("deployment %d is %s, and release %d is committed in place of %d", d.Number, d.State, after.env.Release, before.env.Release)
	case !d.Backwards || d.Reason == "":
		return fmt.Errorf("deployment %d is %s without a reason", d.Number, d.State)
	case !slices.ContainsFunc(c.plan.Events, func(e api.Event) bool {
		return e.Level != api.LevelInfo && strings.HasPrefix(e.Type, "deployment.") && strings.Contains(e.Message, d.Reason)
	}):
		return fmt.Errorf("deployment %d is %s, and no event says why", d.Number, d.State)
	}
	for name, n := range d.Scale {
		if _, ok := after.env.Scale[name]; !ok {
			return fmt.Errorf("deployment %d is %s, and %s has lost the number %d that a user had set", d.Number, d.State, name, n)
		}
	}
	return c.alone(after.releases[d.From])
}

// alone tells whether a release serves with all its tasks, and no other does, but for services that were failing before.
func (c *checked) alone(r *api.Release) error {
	others, alive := map[string][]int{}, uint8(0) // slots that tasks of other releases hold
	for _, n := range c.after.nodes {
		if c.after.alive(n) {
			alive |= n.bit
		}
	}
	left := func(service string) bool {
		return c.dep.Ailment(service) != "" && r != nil && c.after.env.Replicas(service, r.Spec.Services[service]) > 0
	}
	for _, t := range c.after.tasks {
		if left(t.Service) {
			continue
		}
		_, known := c.hashOf(r, t.Service)
		if t.live() && t.Desired == api.WantWarm && !t.wasLost && t.picked&alive != 0 {
			return fmt.Errorf("deployment %d has ended, and a balancer picks %s of release %d", c.dep.Number, t.Name(), t.Release)
		}
		if t.live() && t.running() && (!known || t.Hash != c.after.hashes.of(r, t.Service)) {
			others[t.Service] = append(others[t.Service], t.Slot)
			if known && c.dep.Backwards && len(others[t.Service]) <= len(c.failing(r, t.Service)) {
				continue // it makes up for one that does not come up
			}
			return fmt.Errorf("deployment %d has ended, and %s of release %d is left", c.dep.Number, t.Name(), t.Release)
		}
	}
	if r == nil {
		return nil
	}
	for name, spec := range r.Spec.Services {
		n, want := c.after.serving(r, name), c.after.env.Replicas(name, spec)
		if left(name) {
			continue
		}
		if c.dep.Backwards {
			failing := c.failing(r, name)
			n += len(failing) // it does no better by itself
			for _, slot := range others[name] {
				if !failing[slot] { // nor is there room for one of its own beside those
					n++
				}
			}
		}
		if n < want {
			return fmt.Errorf("deployment %d has ended, and %d of %d tasks of %s serve", c.dep.Number, n, want, name)
		}
	}
	return nil
}

// failing gives the slots of a release's service whose task does not serve and has failed before, or finds no node.
func (c *checked) failing(r *api.Release, service string) map[int]bool {
	hash, fails := c.after.hashes.of(r, service), map[int]bool{}
	for _, t := range c.after.tasks {
		if t.Service == service && t.Hash == hash && (t.failed() || t.Node == "" || t.live() && t.Attempt >= hopeless) { // the records before may be forgotten
			fails[t.Slot] = true
		}
	}
	for _, t := range c.after.tasks {
		if t.Service == service && t.Hash == hash && (t.healthy() || t.completed()) {
			delete(fails, t.Slot)
		}
	}
	return fails
}

// ailing holds that a service is left as it is only where the deployment does not change it and it was failing as that
// began; that no deployment is taken back for one's sake; and that it is healed as if there were no deployment.
func (c *checked) ailing() error {
	d := c.dep
	if d == nil {
		return nil
	}
	was := c.before.deps[d.Number-1]
	if was.State != api.DeployQueued && !slices.Equal(d.Ailing, was.Ailing) {
		return fmt.Errorf("deployment %d: %v was failing when it began, and now %v was", d.Number, was.Ailing, d.Ailing)
	}
	if was.State == api.DeployQueued {
		if err := c.wasFailing(); err != nil {
			return err
		}
	}
	for _, a := range d.Ailing {
		if d.Backwards && !was.Backwards && (strings.HasPrefix(d.Reason, a.Service+".") || strings.HasPrefix(d.Reason, a.Service+": port") || strings.Contains(d.Reason, "tasks of "+a.Service+" failed")) {
			return fmt.Errorf("deployment %d is turned back for %s, which was failing before: %s", d.Number, a.Service, d.Reason)
		}
	}
	return c.untouched()
}

// wasFailing looks at the services that a deployment which begins leaves as they are, and at those that it does not.
func (c *checked) wasFailing() error {
	d, from, to := c.dep, c.before.releases[c.before.env.Release], c.before.releases[c.dep.To]
	for _, name := range sortedServices(to) {
		spec, why := to.Spec.Services[name].WithDefaults(), d.Ailment(name)
		hash, same := c.hashOf(from, name)
		want, sound, failed := c.after.env.Replicas(name, spec), 0, 0
		for _, t := range c.before.tasks {
			if t.Service != name || t.Hash != c.after.hashes.of(to, name) {
				continue
			}
			held := t.Attempt < 2 || c.after.now.Sub(t.Status.ReadyAt) >= spec.Restart.Window.Std()
			switch {
			case t.up() && held, t.completed() && t.Slot <= want:
				sound++
			case t.failed() || t.Attempt > 0 || t.Status.Unhealthy || t.Node == "" || t.Lost:
				failed++
			}
		}
		switch {
		case why == "" && same && hash == c.after.hashes.of(to, name) && !c.before.env.Stopped && sound < want && c.down(name, hash, want):
			return fmt.Errorf("deployment %d does not say that %s was failing before", d.Number, name)
		case why == "":
		case !same || hash != c.after.hashes.of(to, name):
			return fmt.Errorf("deployment %d changes %s, and leaves it as it is: %s", d.Number, name, why)
		case why == c.before.problems[name] && want > 0 && !c.before.env.Stopped && slices.Equal(spec.Ports, from.Spec.Services[name].Ports):
		case sound >= want || failed == 0:
			return fmt.Errorf("deployment %d leaves %s as it is, of which %d of %d tasks were up and %d had failed: %s", d.Number, name, sound, want, failed, why)
		case !slices.ContainsFunc(c.plan.Events, func(e api.Event) bool { return e.Type == "deployment.ailing" && strings.Contains(e.Message, why) }):
			return fmt.Errorf("no event says that %s is left as it is", name)
		}
	}
	return nil
}

// down tells whether no task of the service lives, and the newest of its first slot has failed.
func (c *checked) down(service, hash string, want int) bool {
	var last *simTask
	for _, t := range c.before.tasks {
		if t.Service == service && t.Hash == hash && t.Slot == 1 && want > 0 {
			last = t // they are in the order in which they were made
		}
		if t.Service == service && t.Hash == hash && t.live() {
			return false
		}
	}
	return last != nil && last.failed()
}

// untouched holds that a service which is left as it is is healed as it would be without the deployment: the same tasks
// are made at the same time, and the same ones end.
func (c *checked) untouched() error {
	if len(c.dep.Ailing) == 0 || c.before.env.Stopped {
		return nil
	}
	from := c.before.releases[c.before.env.Release]
	w := c.before.world()
	w.Deployment = nil
	alone := Make(w)
	for _, a := range c.dep.Ailing {
		spec, ok := c.goal.Spec.Services[a.Service]
		others := c.before.count(a.Service, func(t *Task) bool { return t.live() && t.Hash != c.after.hashes.of(from, a.Service) })
		now, then := c.strategy(spec.WithDefaults()), from.Spec.Services[a.Service].WithDefaults().Update
		switch want := c.before.env.Replicas(a.Service, from.Spec.Services[a.Service]); {
		case !ok || others > 0 || want == 0 || c.after.env.Replicas(a.Service, spec) != want || c.heldAt(a.Service) > 0:
			continue // other numbers are wanted, or an older rollout is still to be undone
		case now.Order != then.Order || now.Parallelism != then.Parallelism:
			continue // other numbers are allowed
		case spec.Restart.Condition == api.RestartNone || spec.Restart.MaxAttempts > 0:
			continue // it may be given another try
		}
		if with, without := healing(c.plan, a.Service), healing(&alone, a.Service); with != without {
			return fmt.Errorf("deployment %d leaves %s as it is, and does %q, not %q", c.dep.Number, a.Service, with, without)
		}
	}
	return nil
}

// healing gives what a plan does with a service's tasks.
func healing(p *Plan, service string) string {
	var out strings.Builder
	for _, t := range p.Create {
		if t.Service == service {
			fmt.Fprintf(&out, "make %s %s, attempt %d, at %s (%s); ", t.Name(), t.Hash, t.Attempt, t.NotBefore, t.Reason)
		}
	}
	for _, t := range p.Update {
		if t.Service == service {
			fmt.Fprintf(&out, "%s %s %s (%s); ", t.Desired, t.ID, t.Fault, t.Reason)
		}
	}
	return out.String()
}

func (c *checked) hashOf(r *api.Release, service string) (string, bool) {
	if r == nil {
		return "", false
	}
	if _, ok := r.Spec.Services[service]; !ok {
		return "", false
	}
	return c.after.hashes.of(r, service), true
}

// serving counts the tasks of a release's service that serve, or have completed.
func (s *sim) serving(r *api.Release, service string) int {
	hash := s.hashes.of(r, service)
	n := 0
	for _, t := range s.tasks {
		if t.Service == service && t.Hash == hash && (t.healthy() || t.completed()) {
			n++
		}
	}
	return n
}

// reasons holds invariant 10: what is pending, refused or failed says why.
func (c *checked) reasons() error {
	for _, t := range c.after.tasks {
		switch {
		case !t.live() || !t.running():
		case t.Node == "" && t.Reason == "":
			return fmt.Errorf("%s has no node, and does not say why", t.ID)
		case t.NotBefore.After(c.after.now) && t.Reason == "":
			return fmt.Errorf("%s is held back, and does not say why", t.ID)
		}
	}
	for _, d := range c.after.deps {
		if (d.State.Final() && d.State != api.DeploySucceeded || d.Backwards) && d.Reason == "" {
			return fmt.Errorf("deployment %d is %s without a reason", d.Number, d.State)
		}
		for _, v := range d.Verdicts {
			if v.Reason == "" {
				return fmt.Errorf("deployment %d: the verdict on %s is %s without a reason", d.Number, v.Service, v.Result)
			}
		}
	}
	if c.dep == nil {
		return nil
	}
	for _, r := range c.dep.Rollouts {
		waits := r.State == api.RolloutWaiting || r.State == api.RolloutPaused
		if r.Reason == "" && (waits || r.Failed > 0 && r.State != api.RolloutDone) {
			return fmt.Errorf("the rollout of %s is %s with %d failed tasks, and does not say why: %+v", r.Service, r.State, r.Failed, r)
		}
	}
	why, _, _ := strings.Cut(c.dep.Reason, "; of release ") // what follows is how the way back ended
	if c.dep.Backwards && !c.before.deps[c.dep.Number-1].Backwards && !slices.ContainsFunc(c.plan.Events, func(e api.Event) bool {
		return e.Type == "deployment.rejected" && strings.Contains(e.Message, why)
	}) {
		return fmt.Errorf("deployment %d is turned back, and no event says why", c.dep.Number)
	}
	return nil
}

func (s *sim) count(service string, f func(*Task) bool) int {
	n := 0
	for _, t := range s.tasks {
		if t.Service == service && f(&t.Task) {
			n++
		}
	}
	return n
}

// heldAt gives how many tasks of a service stay while the deployment's release commands have not succeeded; 0 when there
// are none to come.
func (c *checked) heldAt(service string) int {
	d, committed := c.dep, c.before.releases[c.before.env.Release]
	if d == nil || d.Backwards || d.Kind != api.KindDeploy || d.Restart || c.goal == nil || committed == nil {
		return 0
	}
	for name, spec := range c.goal.Spec.Services {
		if was, ok := committed.Spec.Services[service]; ok && spec.Release != nil && c.before.commands[d.Number][name].State != api.JobSucceeded {
			if n, taken := d.Scale[service]; taken && !c.after.env.Stopped && !c.after.env.Destroying {
				if _, set := c.after.env.Scale[service]; !set {
					return n
				}
			}
			return c.after.env.Replicas(service, was)
		}
	}
	return 0
}

// open counts the release commands of the goal that have not succeeded, and gives the services that these depend on.
func (c *checked) open() (needed map[string]bool, open int) {
	needed = map[string]bool{}
	var need func(name string)
	need = func(name string) {
		for _, dep := range c.goal.Spec.Services[name].DependsOn {
			if !needed[dep.Service] {
				needed[dep.Service] = true
				need(dep.Service)
			}
		}
	}
	for name, spec := range c.goal.Spec.Services {
		if spec.Release != nil && c.before.commands[c.dep.Number][name].State != api.JobSucceeded {
			open++
			need(name)
		}
	}
	return needed, open
}

// held holds that nothing of a release is made before its release commands have succeeded, but for what these depend
// on.
func (c *checked) held() error {
	d := c.dep
	if d == nil || d.Backwards || d.Kind != api.KindDeploy || d.Restart || c.goal == nil {
		return nil
	}
	needed, open := c.open()
	if open == 0 {
		return nil
	}
	if c.after.env.Release == d.To && c.before.env.Release != d.To {
		return fmt.Errorf("deployment %d ended with %d release commands to come", d.Number, open)
	}
	committed := c.before.releases[c.before.env.Release]
	for _, x := range c.plan.Create {
		if x.Release != d.To || needed[x.Service] {
			continue
		}
		if hash, ok := c.hashOf(committed, x.Service); !ok || hash != x.Hash {
			return fmt.Errorf("%s of release %d was made before its release commands have succeeded", x.Name(), x.Release)
		}
	}
	return nil
}
