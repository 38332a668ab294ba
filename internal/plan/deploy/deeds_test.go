package deploy

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
)

// deed lets a user or fate do something.
func (w *randomWorld) deed() {
	s, r := w.sim, w.r
	s.dirty = true
	user := []string{"ann", "bob"}[r.IntN(2)]
	if w.ails && r.IntN(8) == 0 {
		w.ail(user)
	}
	switch r.IntN(14) {
	case 0, 1, 2, 3, 4:
		w.deploy(user)
	case 5:
		w.rollback(user)
	case 6:
		w.restartOrPromote(user)
	case 7:
		w.scale(user)
	case 8:
		w.harm()
	case 9:
		w.crash()
	case 10:
		w.cutOff()
	case 11:
		if r.IntN(2) == 0 {
			s.elect()
			break
		}
		w.downOrUp(user)
	case 12:
		w.takeLock(user)
	case 13:
		w.collect()
	}
	w.steer(user)
	if !w.calm && (r.IntN(4) == 0 || w.onStep(2)) {
		w.misjudge()
	}
	w.misanswer()
	for _, n := range s.nodes {
		if n.cut() && r.IntN(4) == 0 {
			rebooted := r.IntN(2) == 0
			s.comeBack(n, rebooted)
			s.meet(map[bool]string{true: "node back after a restart", false: "node back with its tasks"}[rebooted])
		}
	}
}

// may tells whether a user may change the environment now: it is not locked by another.
func (w *randomWorld) may(user string) bool {
	if w.lock.Held(w.now) && w.lock.Holder != user {
		w.meet("refused by a lock")
		return false
	}
	if w.lock.Holder != "" && !w.lock.Held(w.now) {
		w.lock = api.Lock{}
		w.meet("lock that ended by itself")
	}
	return true
}

func (w *randomWorld) takeLock(user string) {
	if w.may(user) {
		w.lock = api.Lock{Holder: user, Session: true, ExpiresAt: w.now.Add(time.Duration(1+w.r.IntN(15)) * time.Second)}
	}
}

// deploy deploys something new, or mostly the last app with a change.
func (w *randomWorld) deploy(user string) {
	if !w.may(user) {
		return
	}
	w.noteQueue()
	if w.spec.Services == nil || w.r.IntN(4) == 0 {
		w.spec = w.randomSpec()
	} else {
		w.spec = w.changed(w.spec)
	}
	w.sim.deploy(api.KindDeploy, w.spec)
}

func (w *randomWorld) noteQueue() {
	if d := w.current(); d != nil && d.State == api.DeployRunning {
		w.meet("queued behind a running deployment")
	}
}

// rollback goes back to a release by hand, mostly to the one before, also in the middle of a deployment.
func (w *randomWorld) rollback(user string) {
	if w.env.Release == 0 || !w.may(user) {
		return
	}
	to := w.env.Previous
	if to == 0 || w.r.IntN(3) == 0 {
		to = 1 + w.r.Uint64N(w.env.LastRelease)
	}
	if w.releases[to] == nil {
		return // refused: it is no longer kept
	}
	if d := w.current(); d != nil && d.State == api.DeployRunning {
		w.meet("rollback by hand in the middle of a deployment")
		if w.r.IntN(2) == 0 {
			d.Cancel, d.Reason = true, "cancelled by "+user
		}
	}
	w.queue(api.KindRollback, to)
}

// restartOrPromote makes a release of what is there: with new tasks, or with what runs in staging.
func (w *randomWorld) restartOrPromote(user string) {
	committed := w.releases[w.env.Release]
	if committed == nil || !w.may(user) {
		return
	}
	spec := committed.Spec
	spec.Services = maps.Clone(spec.Services)
	if w.staging != nil {
		source := w.staging.releases[w.staging.env.Release]
		if source == nil {
			return
		}
		for name, there := range source.Spec.Services {
			svc, ok := spec.Services[name]
			if !ok {
				svc = there
			}
			svc.Image = there.Image
			spec.Services[name] = svc
		}
		w.meet("promotion")
		w.sim.deploy(api.KindDeploy, spec)
		w.releases[w.env.LastRelease].From = &api.Origin{Env: "staging", Release: source.Number}
		return
	}
	for name, svc := range spec.Services {
		svc.Labels = map[string]string{"ikada.generation": fmt.Sprint(w.env.LastRelease + 1)}
		spec.Services[name] = svc
	}
	w.meet("restart")
	w.sim.deploy(api.KindDeploy, spec)
	w.deps[len(w.deps)-1].Restart = true
}

func (w *randomWorld) scale(user string) {
	if !w.may(user) {
		return
	}
	scale := maps.Clone(w.env.Scale)
	if scale == nil {
		scale = map[string]int{}
	}
	scale[fmt.Sprintf("s%d", w.r.IntN(3))] = w.r.IntN(6)
	w.env.Scale = scale
	if d := w.current(); d != nil && d.State == api.DeployRunning {
		w.meet("scaled in the middle of a deployment")
	}
}

// ail has a service of the committed release fail, and mostly somebody deploys something else meanwhile.
func (w *randomWorld) ail(user string) {
	committed := w.releases[w.env.Release]
	if w.calm || committed == nil {
		return
	}
	names := sortedServices(committed)
	name := names[w.r.IntN(len(names))]
	image := committed.Spec.Services[name].Image
	w.broken[image] = []string{"exit", "late", "never", "unplaced", "pull", "oom"}[w.r.IntN(6)]
	for _, t := range w.tasks {
		if t.Service == name && t.known.State == api.TaskReady {
			w.exit(t, "exited with code 137")
		}
	}
	w.run(time.Duration(w.r.IntN(20)) * time.Second)
	if w.r.IntN(5) == 0 || !w.may(user) {
		return
	}
	w.noteQueue()
	w.spec = committed.Spec
	w.spec.Services = maps.Clone(w.spec.Services)
	for _, other := range names {
		if svc := w.spec.Services[other]; other != name && svc.Image != image {
			svc.Image = w.image()
			w.spec.Services[other] = svc
		}
	}
	w.sim.deploy(api.KindDeploy, w.spec)
	if w.r.IntN(3) == 0 { // it comes up again
		w.run(time.Duration(w.r.IntN(3)) * time.Second)
		delete(w.broken, image)
	}
}

// onStep tells whether a canary is in that step or a later one.
func (w *randomWorld) onStep(n int) bool {
	d := w.current()
	return d != nil && !d.Backwards && slices.ContainsFunc(d.Rollouts, func(r api.Rollout) bool { return r.Step >= n && r.Step < r.Steps })
}

// harm has an image, a port or a node's memory be bad from now on.
func (w *randomWorld) harm() {
	switch w.r.IntN(9) {
	case 0, 8:
		w.pressure = map[string]string{w.nodes[w.r.IntN(len(w.nodes))].name: "memory is short"}
		w.meet("memory is short")
	case 1:
		if !w.calm {
			w.problems[fmt.Sprintf("s%d", w.r.IntN(3))] = "port 80 cannot be opened: address already in use"
		}
	case 2:
		clear(w.problems)
		w.pressure = nil
	default:
		if !w.calm {
			w.broken[w.imageOnItsWay()] = []string{"exit", "late", "never", "unplaced", "pull", "oom", "no"}[w.r.IntN(7)]
		}
	}
}

// someTask gives a live task with a node; nil when there is none.
func (w *randomWorld) someTask() *simTask {
	var all []*simTask
	for _, t := range w.tasks {
		if t.live() && t.Node != "" && !t.known.State.Final() {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return nil
	}
	if w.r.IntN(3) == 0 {
		return all[w.r.IntN(len(all))]
	}
	for _, t := range slices.Backward(all) { // mostly of what is on its way
		if t.known.State == api.TaskReady {
			return t
		}
	}
	return all[len(all)-1]
}

// crash has a task's process end, or its check fail, or its requests not end.
func (w *randomWorld) crash() {
	t := w.someTask()
	if t == nil {
		return
	}
	switch what := w.r.IntN(5); {
	case what == 0:
		w.busy[t.ID] = true
	case w.calm:
	case (what == 1 || what == 4) && t.known.State == api.TaskReady:
		w.sicken(t)
		w.meet("task that becomes unhealthy")
	case what == 2:
		w.end(t, api.CauseOOM, "killed for memory: its limit is 96 MiB")
	case t.known.State != "":
		w.exit(t, "exited with code 137")
	}
}

// cutOff has a node be silent for a while, at times shorter than its lease.
func (w *randomWorld) cutOff() {
	n := w.nodes[w.r.IntN(len(w.nodes))]
	others := slices.ContainsFunc(w.nodes, func(o *node) bool { return o != n && !o.cut() })
	if n.cut() || w.calm && !others { // without a node nothing can be done
		return
	}
	w.sim.cutOff(n)
	if d := w.current(); d != nil && d.State == api.DeployRunning {
		w.meet("node silent in the middle of a deployment")
	}
	w.run(time.Duration(w.r.IntN(15000)) * time.Millisecond)
}

// downOrUp stops the environment, which cancels what is on its way, or starts it again.
func (w *randomWorld) downOrUp(user string) {
	if !w.may(user) {
		return
	}
	if w.env.Stopped {
		w.env.Stopped = w.env.Release == 0
		w.meet("environment started again")
		return
	}
	w.env.Stopped = true
	w.meet("environment stopped")
	for _, d := range w.deps {
		switch d.State {
		case api.DeployQueued:
			d.State, d.Reason, d.EndedAt = api.DeployCancelled, "cancelled: the environment was taken down by "+user, w.now
		case api.DeployRunning:
			if !d.Cancel {
				d.Cancel, d.Reason = true, "cancelled: the environment was taken down by "+user
			}
		}
	}
}

// collect drops the releases that are in nobody's use, as house-keeping does, but the newest.
func (w *randomWorld) collect() {
	used := map[uint64]bool{w.env.Release: true, w.env.Previous: true, w.env.LastRelease: true}
	for _, d := range w.deps {
		if !d.State.Final() || d.Trial == api.TrialOn {
			used[d.To], used[d.From] = true, true
		}
	}
	for _, t := range w.tasks {
		used[t.Release] = true
	}
	for _, n := range slices.Sorted(maps.Keys(w.releases)) {
		if !used[n] {
			delete(w.releases, n)
			w.meet("old release collected")
		}
	}
}

// steer has a user cancel, pause or resume what runs.
func (w *randomWorld) steer(user string) {
	d := w.current()
	if d == nil || !w.may(user) {
		return
	}
	switch w.r.IntN(14) {
	case 0:
		if d.State == api.DeployQueued {
			d.State, d.EndedAt, d.Reason = api.DeployCancelled, w.now, "cancelled by "+user
			w.meet("queued deployment cancelled")
			return
		}
		if !d.Cancel {
			d.Cancel, d.Reason = true, "cancelled by "+user
			w.meet("running deployment cancelled")
		}
	case 1, 2:
		if d.State == api.DeployRunning && !d.Backwards && !d.Paused() {
			d.PausedAt = w.now
			w.meet("paused")
		}
	case 3, 4, 5:
		held := slices.ContainsFunc(d.Rollouts, func(r api.Rollout) bool { return r.State == api.RolloutPaused })
		if d.State == api.DeployRunning && !d.Backwards && (d.Paused() || held) {
			w.meet(map[bool]string{true: "resumed", false: "resumed from a step that holds"}[d.Paused()])
			d.ResumedAt = w.now.Add(1)
		}
	}
}

// imageOnItsWay gives mostly an image that the current deployment brings.
func (w *randomWorld) imageOnItsWay() string {
	image := w.image()
	if d := w.current(); d != nil && w.releases[d.To] != nil && w.r.IntN(4) > 0 {
		for _, name := range sortedServices(w.releases[d.To]) {
			if image = w.releases[d.To].Spec.Services[name].Image; w.r.IntN(2) == 0 {
				break
			}
		}
	}
	return image
}

// misjudge has requests to an image fail or take long from now on, or no more.
func (w *randomWorld) misjudge() {
	image := w.imageOnItsWay()
	w.fails[image] = []int{0, 20, 100, 100}[w.r.IntN(4)]
	w.slow[image] = []time.Duration{0, 0, 50 * time.Millisecond}[w.r.IntN(3)]
	if w.rate < 50 {
		w.rate = 100
	}
	if w.onStep(2) {
		w.fails[image], w.rate = 100, 200
	}
	w.run(time.Duration(w.r.IntN(5000)) * time.Millisecond) // for a verdict
}

// changed gives the spec with a little changed, as most deploys do.
func (w *randomWorld) changed(spec api.AppSpec) api.AppSpec {
	spec.Services = maps.Clone(spec.Services)
	names := slices.Sorted(maps.Keys(spec.Services))
	for range 1 + w.r.IntN(2) {
		name := names[w.r.IntN(len(names))]
		svc := spec.Services[name]
		switch w.r.IntN(8) {
		case 0:
			svc.Replicas = w.r.IntN(5)
		case 1:
			w.strategies(&svc)
		default:
			svc.Image = w.image()
		}
		if w.wonder != nil && w.wonder.IntN(3) == 0 {
			svc.Checks = w.randomChecks(name)
		}
		spec.Services[name] = svc
	}
	if w.wonder != nil && w.wonder.IntN(6) == 0 {
		spec.Checks = w.randomChecks("")
	}
	return spec
}

// image gives one of few images, so that a release may well run what one before it ran.
func (w *randomWorld) image() string { return fmt.Sprintf("v%d", w.r.IntN(4)) }

func (w *randomWorld) randomSpec() api.AppSpec {
	r := w.r
	spec := api.AppSpec{App: "shop", Env: w.env.Env, Services: map[string]api.ServiceSpec{}, Checks: w.randomChecks("")}
	for i := range 1 + r.IntN(3) {
		svc := api.ServiceSpec{Image: w.image(), Replicas: r.IntN(5)}
		switch r.IntN(4) {
		case 0:
			svc.Expose = []uint16{80}
		case 1, 2:
			svc.Ports = []api.PortSpec{{Target: 80, Published: uint16(8000 + i)}}
		}
		svc.Exclusive = r.IntN(25) == 0
		w.strategies(&svc)
		svc.Drain = api.Duration(time.Duration(1+r.IntN(20)) * time.Second)
		if i > 0 && r.IntN(3) == 0 {
			svc.DependsOn = []api.Dependency{{Service: fmt.Sprintf("s%d", i-1),
				Condition: []string{api.DependStarted, api.DependHealthy}[r.IntN(2)]}}
		}
		if r.IntN(5) == 0 {
			svc.Release = &api.ReleaseCommand{}
		}
		switch r.IntN(12) {
		case 0:
			svc.Restart.Condition = []string{api.RestartNone, api.RestartOnFailure}[r.IntN(2)] // it runs to its end
			svc.Expose, svc.Ports, svc.Update.Kind, svc.Update.Steps, svc.Update.Match = nil, nil, "", nil, nil
		case 1:
			svc.Restart.MaxAttempts = 1 + r.IntN(3)
		case 2:
			svc.Restart.Delay = api.Duration(time.Duration(r.IntN(3)) * time.Second)
		}
		name := fmt.Sprintf("s%d", i)
		svc.Checks = w.randomChecks(name)
		spec.Services[name] = svc
	}
	return spec
}

// strategies gives a service ways forwards and back.
func (w *randomWorld) strategies(svc *api.ServiceSpec) {
	r := w.r
	svc.Update, svc.Rollback = w.strategy(), w.strategy()
	if svc.Exclusive {
		svc.Update.Order, svc.Rollback.Order = api.StopFirst, api.StopFirst
	}
	bake := api.Duration(time.Duration(r.IntN(20)) * time.Second)
	if svc.Update.Bake = &bake; r.IntN(8) == 0 {
		svc.Update.Bake = nil
	}
	warm := api.Duration(time.Duration(r.IntN(8000)) * time.Millisecond)
	if svc.Update.Warm = &warm; r.IntN(3) == 0 {
		svc.Update.Warm = nil
	}
	if r.IntN(12) == 0 {
		svc.Update.FailureAction = api.ActionContinue
	}
	if r.IntN(8) == 0 {
		svc.Update.MaxFailureRatio = 0.3
	}
	if r.IntN(12) == 0 {
		svc.Update.Judge = &api.JudgeSpec{Off: true}
	}
	if svc.Update.Order == api.StopFirst || svc.Restart.RunsToEnd() {
		return
	}
	switch r.IntN(4) {
	case 0:
		svc.Update.Kind = api.BlueGreen
	case 1:
		svc.Update.Kind = api.Canary
		least := 0
		for range r.IntN(4) {
			least += r.IntN(100 - least)
			svc.Update.Steps = append(svc.Update.Steps, api.CanaryStep{Weight: least, Hold: r.IntN(4) == 0,
				Pause: api.Duration(time.Duration(r.IntN(8000)) * time.Millisecond)})
		}
		switch r.IntN(4) {
		case 0:
			svc.Update.Match = &api.RequestMatch{Headers: map[string]string{"X-Canary": "yes"}}
		case 1:
			svc.Update.Match = &api.RequestMatch{Cookies: map[string]string{"canary": "*"}}
		}
	}
}

func (w *randomWorld) strategy() api.Strategy {
	r := w.r
	st := api.Strategy{Parallelism: r.IntN(3), Monitor: api.Duration(time.Duration(r.IntN(3000)) * time.Millisecond),
		Delay: api.Duration(time.Duration(r.IntN(2)) * time.Second)}
	if r.IntN(3) == 0 {
		st.Order = api.StopFirst
	}
	return st
}
