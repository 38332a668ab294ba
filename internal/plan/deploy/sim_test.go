package deploy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/verdict"
)

// sim is a cluster in which time passes when the test says so: it applies plans and plays the agents and balancers.
type sim struct {
	now      time.Time
	env      api.Environment
	deps     []*api.Deployment
	releases map[uint64]*api.Release
	tasks    []*simTask
	boot     time.Duration     // from creation to readiness
	broken   map[string]string // image → how its tasks fail: "exit", "late", "never", "unplaced"
	busy     map[string]bool   // tasks with requests in flight that do not end
	problems map[string]string
	commands map[uint64]map[string]Command // deployment → service → its release command
	pressure map[string]string
	resume   bool                     // a user has every deployment go on
	rate     int                      // requests a second of every service
	fails    map[string]int           // image → percent of its requests that fail
	slow     map[string]time.Duration // image → how long its answers take
	traffic  map[string]Traffic
	rest     map[string]float64  // parts of requests
	ends     func() api.JobState // how a release command that runs stands by now; nil: as the test says
	nextID   int
	log      []string
	check    func(before, after *sim) // invariants, called around every plan
}

type simTask struct {
	Task
	image string
}

func newSim() *sim {
	return &sim{now: time.Unix(1_000_000, 0).UTC(), env: api.Environment{EnvRef: api.EnvRef{App: "shop", Env: "production"}},
		releases: map[uint64]*api.Release{}, boot: 300 * time.Millisecond, broken: map[string]string{}, busy: map[string]bool{},
		problems: map[string]string{}, fails: map[string]int{}, slow: map[string]time.Duration{}, traffic: map[string]Traffic{}, rest: map[string]float64{},
		commands: map[uint64]map[string]Command{}}
}

func (s *sim) logf(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) }

// deploy adds a release and queues the deployment to it.
func (s *sim) deploy(kind string, spec api.AppSpec) {
	s.env.LastRelease++
	n := s.env.LastRelease
	s.releases[n] = &api.Release{EnvRef: s.env.EnvRef, Number: n, Spec: spec, Hash: api.HashSpec(spec)}
	s.queue(kind, n)
}

func (s *sim) queue(kind string, to uint64) {
	s.env.LastDeployment++
	for _, d := range s.deps {
		if d.State == api.DeployQueued {
			d.State = api.DeploySuperseded
		}
	}
	s.deps = append(s.deps, &api.Deployment{EnvRef: s.env.EnvRef, Number: s.env.LastDeployment, Kind: kind, To: to,
		State: api.DeployQueued, CreatedAt: s.now})
}

// current gives the deployment that the control loop would plan.
func (s *sim) current() *api.Deployment {
	for _, want := range []api.DeploymentState{api.DeployRunning, api.DeployQueued} {
		for _, d := range s.deps {
			if d.State == want {
				return d
			}
		}
	}
	return nil
}

// baking gives the deployment whose release is still judged.
func (s *sim) baking() *api.Deployment {
	for _, d := range s.deps {
		if d.Trial == api.TrialOn {
			return d
		}
	}
	return nil
}

func (s *sim) world() World {
	w := World{Now: s.now, Env: s.env, Releases: s.releases, Problems: s.problems, Pressure: s.pressure, Traffic: s.traffic}
	if d := s.current(); d != nil {
		c := *d
		w.Deployment, w.Commands = &c, s.commands[d.Number]
	}
	if d := s.baking(); d != nil {
		c := *d
		w.Bake = &c
	}
	for _, t := range s.tasks {
		w.Tasks = append(w.Tasks, t.Task)
	}
	return w
}

// step makes one plan and applies it; it tells whether the plan did anything.
func (s *sim) step() bool {
	p := Make(s.world())
	before := s.clone()
	s.apply(p)
	if s.check != nil {
		s.check(before, s)
	}
	return !p.Empty()
}

func (s *sim) clone() *sim {
	c := *s
	c.tasks = nil
	for _, t := range s.tasks {
		x := *t
		c.tasks = append(c.tasks, &x)
	}
	return &c
}

func (s *sim) apply(p Plan) {
	for _, u := range p.Update {
		t := s.task(u.ID)
		if t.Desired != u.Desired {
			s.logf("%s %s%s", u.Desired, s.show(t), because(u.Reason))
		}
		t.Task.Task = u
	}
	for _, c := range p.Create {
		s.nextID++
		c.ID, c.Node = fmt.Sprintf("t%d", s.nextID), "n1"
		t := &simTask{Task: Task{Task: c}, image: s.releases[c.Release].Spec.Services[c.Service].Image}
		if s.broken[t.image] == "unplaced" {
			t.Node, t.Reason = "", "no node fits: 1 lacking memory"
		}
		s.tasks = append(s.tasks, t)
		s.logf("create %s%s", s.show(t), because(c.Reason))
	}
	for _, id := range p.Forget {
		s.tasks = slices.DeleteFunc(s.tasks, func(t *simTask) bool { return t.ID == id })
	}
	for _, name := range p.Commands {
		n := s.current().Number
		if s.commands[n] == nil {
			s.commands[n] = map[string]Command{}
		}
		if _, ran := s.commands[n][name]; ran {
			s.logf("release command of %s begins again", name)
		}
		s.commands[n][name] = Command{Job: "j", State: api.JobRunning, StartedAt: s.now}
		s.logf("release command of %s", name)
	}
	if p.Env != nil {
		s.env = *p.Env
	}
	if p.Deployment != nil {
		*s.current() = *p.Deployment
	}
	if p.Bake != nil {
		*s.deps[p.Bake.Number-1] = *p.Bake
	}
	if p.Follow != nil {
		d := *p.Follow
		s.deps = append(s.deps, &d)
	}
	for _, e := range p.Events {
		s.logf("event %s: %s", e.Type, e.Message)
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

func (s *sim) task(id string) *simTask {
	for _, t := range s.tasks {
		if t.ID == id {
			return t
		}
	}
	return nil
}

func (s *sim) show(t *simTask) string { return fmt.Sprintf("%s of release %d", t.Name(), t.Release) }

// agents lets every task do what the time and the wishes allow.
func (s *sim) agents() {
	for _, t := range s.tasks {
		s.agent(t)
	}
	d := s.current()
	if d == nil || s.ends == nil {
		return
	}
	for _, name := range sortedServices(s.releases[d.To]) {
		c, ok := s.commands[d.Number][name]
		if !ok || c.State.Final() {
			continue
		}
		if c.State = s.ends(); d.Backwards {
			c.State = api.JobStopped
		}
		if c.State.Final() {
			c.EndedAt, c.Reason = s.now, string(c.State)
		}
		s.commands[d.Number][name] = c
	}
}

func (s *sim) agent(t *simTask) {
	st := &t.Status
	if t.Node == "" && t.running() && s.broken[t.image] != "unplaced" {
		t.Node, t.Reason = "n1", ""
	}
	if st.State.Final() || t.Lost || t.Node == "" {
		return
	}
	job := s.releases[t.Release].Spec.Services[t.Service].Restart.RunsToEnd()
	switch t.Desired {
	case api.WantWarm:
		t.Serving, t.Released = false, !s.busy[t.ID]
		return
	case api.WantDraining:
		st.State, t.Serving = api.TaskDraining, false
		t.Released = !s.busy[t.ID]
		return
	case api.WantStopped:
		st.State, st.FinishedAt, t.Serving = api.TaskStopped, s.now, false
		return
	}
	begin := latest(t.CreatedAt, t.NotBefore)
	if s.now.Before(begin) {
		return
	}
	if st.State == "" {
		st.State, st.StartedAt = api.TaskRunning, begin
	}
	switch how := s.broken[t.image]; {
	case how == "exit" && st.State == api.TaskRunning:
		s.exit(t, "exited with code 1")
	case how == "late" && st.State == api.TaskReady && s.now.Sub(st.ReadyAt) >= 2*time.Second:
		s.exit(t, "exited with code 3")
	case how == "never" && s.now.Sub(begin) >= time.Minute:
		s.exit(t, "not ready after 1m0s")
	case st.State == api.TaskReady && !st.Unhealthy:
		t.Serving = true // also one that was warm
	case how == "never" || how == "exit" || st.State != api.TaskRunning || s.now.Sub(begin) < s.boot:
	case job:
		st.State, st.FinishedAt = api.TaskStopped, s.now
	default:
		st.State, st.ReadyAt, t.Serving = api.TaskReady, s.now, true
	}
}

func (s *sim) exit(t *simTask, why string) {
	t.Status.State, t.Status.Cause, t.Status.Message = api.TaskFailed, api.CauseExit, why
	t.Status.FinishedAt, t.Serving = s.now, false
}

// run lets time pass in small steps, planning until nothing is left to do at each.
func (s *sim) run(d time.Duration) { s.runBy(d, 100*time.Millisecond) }

func (s *sim) runBy(d, tick time.Duration) {
	for end := s.now.Add(d); ; s.now = s.now.Add(tick) {
		s.agents()
		s.requests(tick)
		if d := s.current(); d != nil && s.resume {
			d.ResumedAt = s.now.Add(1)
		}
		for n := 0; s.step(); n++ {
			s.agents()
			if n > 1000 {
				s.logf("the plan does not come to rest")
				return
			}
		}
		if !s.now.Before(end) {
			return
		}
	}
}

// requests has the serving tasks of every service answer what comes in a tick, in the releases' shares.
func (s *sim) requests(tick time.Duration) {
	if s.rate == 0 {
		return
	}
	weight := map[string]int{}
	if d := s.current(); d != nil {
		for _, r := range d.Rollouts {
			if r.Step > 0 && !d.Backwards {
				weight[r.Service] = r.Weight
			}
		}
	}
	of := map[string]map[uint64]int{}
	for _, t := range s.tasks {
		if t.healthy() {
			if of[t.Service] == nil {
				of[t.Service] = map[uint64]int{}
			}
			of[t.Service][t.Release]++
		}
	}
	for service, releases := range of {
		all := 0
		for _, n := range releases {
			all += n
		}
		for release, n := range releases {
			share := float64(n) / float64(all)
			if w, shared := weight[service]; shared && len(releases) == 2 {
				share = float64(100-w) / 100
				if release == s.current().To {
					share = float64(w) / 100
				}
			}
			s.answer(service, release, float64(s.rate)*tick.Seconds()*share)
		}
	}
}

func (s *sim) answer(service string, release uint64, n float64) {
	image := s.releases[release].Spec.Services[service].Image
	if s.traffic[service] == nil {
		s.traffic[service] = Traffic{}
	}
	seconds := s.traffic[service][release]
	if k := len(seconds); k == 0 || seconds[k-1].Time != s.now.Unix() {
		seconds = append(seconds, verdict.Second{Time: s.now.Unix(), Latency: []verdict.Bucket{{UpTo: api.Duration(10*time.Millisecond + s.slow[image])}}})
	}
	last := &seconds[len(seconds)-1]
	requests := s.whole(fmt.Sprint(service, release), n)
	last.Requests += requests
	last.Latency[0].N += requests
	last.Failed += s.whole(fmt.Sprint(service, release, "failed"), n*float64(s.fails[image])/100)
	s.traffic[service][release] = seconds
}

// whole gives the whole part of what has come together under a name, and keeps the rest.
func (s *sim) whole(name string, n float64) uint64 {
	n += s.rest[name]
	s.rest[name] = n - math.Floor(n)
	return uint64(n)
}

// summary gives the environment's state in a line a service.
func (s *sim) summary() []string {
	var out []string
	names := map[string]bool{}
	for _, t := range s.tasks {
		if t.live() || t.completed() {
			names[t.Service] = true
		}
	}
	var keys []string
	for n := range names {
		keys = append(keys, n)
	}
	slices.Sort(keys)
	for _, n := range keys {
		var parts []string
		for _, t := range s.tasks {
			if t.Service != n || !t.live() && !t.completed() {
				continue
			}
			state := string(t.Status.State)
			if state == "" {
				state = "assigned"
			}
			if t.Desired == api.WantWarm {
				state = "warm"
			}
			if t.Status.Unhealthy {
				state += "!"
			}
			parts = append(parts, fmt.Sprintf("%d@r%d:%s", t.Slot, t.Release, state))
		}
		slices.Sort(parts)
		out = append(out, n+": "+strings.Join(parts, " "))
	}
	state := "release " + fmt.Sprint(s.env.Release)
	if len(s.deps) > 0 {
		d := s.deps[len(s.deps)-1]
		state += fmt.Sprintf(", deployment %d %s", d.Number, d.State)
		if d.Reason != "" {
			state += " (" + d.Reason + ")"
		}
	}
	return append(out, state)
}
