package deploy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/verdict"
)

// sim is a cluster in which time passes when the test says so: it applies plans and plays agents and balancers
// (nodes_test.go). As the control loop does, it plans when something has changed and when the last plan said so.
type sim struct {
	now      time.Time
	env      api.Environment
	deps     []*api.Deployment
	releases map[uint64]*api.Release
	tasks    []*simTask
	jobs     []Task // tasks of jobs, which no plan of this package may touch
	nodes    []*node
	elected  time.Time         // when the leader that plans came into office
	lag      time.Duration     // agents and balancers hear and speak as late as that
	boot     time.Duration     // from creation to readiness
	patience time.Duration     // after which one that is not ready fails
	broken   map[string]string // image → how its tasks fail: "exit", "late", "never", "pull", "oom", "unplaced"
	busy     map[string]bool   // tasks with requests in flight that do not end
	problems map[string]string
	commands map[uint64]map[string]Command // deployment → service → its release command
	pressure map[string]string
	resume   bool                     // a user has every deployment go on
	rate     int                      // requests a second of every service
	fails    map[string]int           // image → percent of its requests that fail
	slow     map[string]time.Duration // image → how long its answers take
	traffic  map[string]Traffic
	rest     map[flow]float64    // parts of requests
	ends     func() api.JobState // how a release command that runs stands by now; nil: as the test says
	lock     api.Lock            // in force while it is held
	dirty    bool                // something has changed since the last plan
	wake     time.Time           // when the last plan is to be looked at again
	hashes   Hashes
	checks   map[string]string // IMAGE/CHECK → how its questions are answered: "fail", "none", or "slow" until their time is over; else they pass
	posed    map[uint64]*posed // by deployment
	asked    int
	wonder   *rand.Rand // of which checks there are, and how long answers take; nil: as the test says, and at once
	nextID   int
	log      []string
	quiet    bool           // nobody reads the log
	watch    bool           // every plan keeps the invariants, else fault says which was broken
	fault    string         // the first thing that must not be, and was
	chance   *rand.Rand     // of leaders and agents that fail; nil: none does
	met      map[string]int // how often what happened; nil: nobody counts
}

// flow is requests of a release's service, or the failed ones of them.
type flow struct {
	service string
	release uint64
	failed  bool
}

func newSim() *sim {
	return &sim{now: time.Unix(1_000_000, 0).UTC(), env: api.Environment{EnvRef: api.EnvRef{App: "shop", Env: "production"}},
		releases: map[uint64]*api.Release{}, nodes: []*node{{name: "n1", bit: 1}}, boot: 300 * time.Millisecond, patience: time.Minute,
		broken: map[string]string{}, busy: map[string]bool{}, problems: map[string]string{}, fails: map[string]int{},
		slow: map[string]time.Duration{}, traffic: map[string]Traffic{}, rest: map[flow]float64{},
		commands: map[uint64]map[string]Command{}, checks: map[string]string{}, posed: map[uint64]*posed{}}
}

// meet counts that something has happened.
func (s *sim) meet(what string) {
	if s.met != nil {
		s.met[what]++
	}
}

func (s *sim) logf(format string, args ...any) {
	if !s.quiet {
		s.log = append(s.log, fmt.Sprintf(format, args...))
	}
}

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
			d.State, d.EndedAt, d.Reason = api.DeploySuperseded, s.now, fmt.Sprintf("superseded by deployment %d", s.env.LastDeployment)
			s.meet("queued deployment superseded")
		}
	}
	s.env.Stopped = false
	s.deps = append(s.deps, &api.Deployment{EnvRef: s.env.EnvRef, Number: s.env.LastDeployment, Kind: kind, From: s.env.Release, To: to,
		State: api.DeployQueued, CreatedAt: s.now})
	s.dirty = true
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
	w := World{Now: s.now, Env: s.env, Releases: s.releases, Problems: s.problems, Pressure: s.pressure, Traffic: s.traffic,
		Hashes: &s.hashes, Tasks: make([]Task, 0, len(s.tasks)+len(s.jobs))}
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
	w.Tasks = append(w.Tasks, s.jobs...)
	s.recall(&w)
	return w
}

// step makes one plan and applies it; it tells whether the plan did anything.
func (s *sim) step() bool {
	w := s.world()
	p := Make(w)
	s.dirty, s.wake = false, p.Wake
	if s.chance != nil && s.chance.IntN(50) == 0 {
		w.Hashes = nil
		if again := Make(w); !reflect.DeepEqual(p, again) {
			s.wrong("the same world has two plans: %+v and %+v", p, again)
		}
	}
	if s.chance != nil && s.chance.IntN(400) == 0 {
		s.elect() // before the plan was written down
		return true
	}
	if s.watch {
		w.Hashes = &s.hashes
		if err := checkQuestions(&w, &p); err != nil {
			s.wrong("%v", err)
			return true
		}
	}
	answered := s.pose(p.Ask)
	s.dirty = s.dirty || answered
	if p.Empty() {
		return answered
	}
	if !s.watch {
		s.apply(&p)
		return true
	}
	before := s.clone()
	s.apply(&p)
	if err := checkPlan(before, s, &p); err != nil {
		s.wrong("%v", err)
	}
	if s.met != nil {
		meetPlan(before, s, &p)
		s.meetAnswers(&w, &p)
	}
	return true
}

// wrong notes that something must not be.
func (s *sim) wrong(format string, args ...any) {
	if s.fault == "" {
		s.fault = fmt.Sprintf("%s: %s", s.now.Format("15:04:05.000"), fmt.Sprintf(format, args...))
	}
	s.logf("WRONG: "+format, args...)
}

// clone copies what plans change.
func (s *sim) clone() *sim {
	c := *s
	tasks := make([]simTask, len(s.tasks))
	c.tasks = make([]*simTask, len(s.tasks))
	for i, t := range s.tasks {
		tasks[i] = *t
		c.tasks[i] = &tasks[i]
	}
	deps := make([]api.Deployment, len(s.deps))
	c.deps = make([]*api.Deployment, len(s.deps))
	for i, d := range s.deps {
		deps[i] = *d
		c.deps[i] = &deps[i]
	}
	return &c
}

func (s *sim) apply(p *Plan) {
	s.dirty = true
	for _, u := range p.Update {
		t := s.task(u.ID)
		if t == nil {
			s.wrong("the plan changes %s, which is none of its tasks", u.ID)
			continue
		}
		if t.Desired != u.Desired && !s.quiet {
			s.logf("%s %s%s", u.Desired, s.show(t), because(u.Reason))
		}
		t.Task.Task = u
	}
	for _, c := range p.Create {
		s.nextID++
		c.ID = "t" + strconv.Itoa(s.nextID)
		spec := s.releases[c.Release].Spec.Services[c.Service]
		t := &simTask{Task: Task{Task: c}, image: spec.Image, job: spec.Restart.RunsToEnd(), routed: spec.Routed()}
		s.place(t)
		s.tasks = append(s.tasks, t)
		if !s.quiet {
			s.logf("create %s%s", s.show(t), because(c.Reason))
		}
	}
	for _, id := range p.Forget {
		if s.task(id) == nil {
			s.wrong("the plan forgets %s, which is none of its tasks", id)
		}
		s.tasks = slices.DeleteFunc(s.tasks, func(t *simTask) bool { return t.ID == id })
	}
	for _, name := range p.Commands {
		n := s.current().Number
		if s.commands[n] == nil {
			s.commands[n] = map[string]Command{}
		}
		if _, ran := s.commands[n][name]; ran {
			s.wrong("release command of %s begins again", name)
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

// run lets time pass in small steps, planning until nothing is left to do at each.
func (s *sim) run(d time.Duration) { s.runBy(d, 100*time.Millisecond) }

func (s *sim) runBy(d, tick time.Duration) {
	for end := s.now.Add(d); s.fault == ""; s.now = s.now.Add(tick) {
		s.agents()
		s.requests(tick)
		if d := s.current(); d != nil && s.resume {
			if d.Paused() || slices.ContainsFunc(d.Rollouts, func(r api.Rollout) bool { return r.State == api.RolloutPaused }) {
				d.ResumedAt, s.dirty = s.now.Add(1), true
			}
		}
		for n := 0; s.dirty || !s.wake.IsZero() && !s.wake.After(s.now); n++ {
			if !s.step() {
				break
			}
			if s.chance != nil {
				s.now = s.now.Add(time.Millisecond) // no two plans are of one instant
			}
			s.agents()
			if n > 1000 {
				s.wrong("the plan does not come to rest")
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
	requests := s.whole(flow{service: service, release: release}, n)
	last.Requests += requests
	last.Latency[0].N += requests
	last.Failed += s.whole(flow{service: service, release: release, failed: true}, n*float64(s.fails[image])/100)
	s.traffic[service][release] = seconds
}

// whole gives the whole part of what has come together of a flow, and keeps the rest.
func (s *sim) whole(of flow, n float64) uint64 {
	n += s.rest[of]
	s.rest[of] = n - math.Floor(n)
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
