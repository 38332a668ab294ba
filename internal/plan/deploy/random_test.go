package deploy

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// usualWorlds is how many there are when nobody says: some ten seconds.
const usualWorlds = 2000

// TestRandomWorlds lets random users, faults and time loose on the planner. Every plan keeps the invariants, and
// when the users stop and the faults are mended every world comes to rest with exactly what was asked for. In every other
// world releases have checks of their users' own.
// IKADA_WORLDS sets how many worlds there are, IKADA_SEED which is the first. With -v it tells how often what was met;
// where the usual number of worlds, or more, does not meet all that they should, it fails.
func TestRandomWorlds(t *testing.T) {
	worlds, first := usualWorlds, 0
	for name, n := range map[string]*int{"IKADA_WORLDS": &worlds, "IKADA_SEED": &first} {
		if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
			*n = v
		}
	}
	met := map[string]int{}
	began, failed := time.Now(), 0
	for seed := first; seed < first+worlds; seed++ {
		checks := seed%2 == 1
		if fault := runWorld(uint64(seed), checks, met); fault != "" {
			t.Errorf("world %d: %s", seed, fault)
			if failed++; failed == 1 {
				var story []string
				tellWorld(uint64(seed), checks, &story)
				for _, line := range story {
					t.Log(line)
				}
			}
			if failed == 5 {
				t.FailNow()
			}
		}
		if n := seed - first + 1; n%10000 == 0 {
			t.Logf("%d worlds in %s", n, time.Since(began).Round(time.Second))
		}
	}
	reportMet(t, met, worlds)
}

// TestWorldsThatFailedOnce runs the worlds again that have shown a mistake, in the planner or in what is asked of it.
func TestWorldsThatFailedOnce(t *testing.T) {
	for seed, what := range onceFailed {
		if fault := runWorld(seed, false, map[string]int{}); fault != "" {
			t.Errorf("world %d (%s): %s", seed, what, fault)
		}
	}
}

// onceFailed names the seeds with what had gone wrong. Their worlds have no checks.
var onceFailed = map[uint64]string{
	6622:  "tasks of a service that is not changed were made faster than its pace, beside those that made up for them",
	9003:  "a way back may end where a task fails again and again, also when the records of that are forgotten",
	40156: "a way back ended while balancers had not picked yet what was up again",
	41875: "agents had not done yet what was asked of them at the very end",
	49131: "tasks that served again after they were warm were drained before balancers had confirmed it",
	56895: "a way back ended before it had taken down the other release, whose tasks nothing lacked",
}

// tellWorld runs a world again, and gives what happened in it.
func tellWorld(seed uint64, checks bool, story *[]string) {
	w := newRandomWorld(seed, checks, map[string]int{}, false)
	w.live()
	if s := w.staging; s != nil {
		*story = append(append(*story, "staging:"), append(s.log, s.summary()...)...)
	}
	*story = append(*story, append(w.log, w.summary()...)...)
}

// runWorld gives the first thing that went wrong in a world, "" when nothing did.
func runWorld(seed uint64, checks bool, met map[string]int) string {
	w := newRandomWorld(seed, checks, met, true)
	w.live()
	return w.fault
}

// randomWorld is an environment with its users, and sometimes another one from which releases are promoted.
type randomWorld struct {
	*sim
	r       *rand.Rand
	staging *randomWorld // nil: none
	calm    bool         // nothing fails in it, so nothing may be taken back
	ails    bool         // in it services fail and others are deployed beside them
	spec    api.AppSpec  // last deployed
}

func newRandomWorld(seed uint64, checks bool, met map[string]int, quiet bool) *randomWorld {
	r := rand.New(rand.NewPCG(seed, 7))
	w := newRandomEnv(r, met, quiet)
	w.ails = seed%5 > 1 // the others stay the worlds that they were, those of onceFailed among them
	if r.IntN(10) == 0 {
		w.staging = newRandomEnv(rand.New(rand.NewPCG(seed, 8)), met, quiet)
		w.staging.env.Env = "staging"
	}
	if checks { // by a random source of their own: a world without is as it was before there were any
		w.wonder = rand.New(rand.NewPCG(seed, 9))
		if w.staging != nil {
			w.staging.wonder = w.wonder
		}
	}
	return w
}

func newRandomEnv(r *rand.Rand, met map[string]int, quiet bool) *randomWorld {
	s := newSim()
	s.watch, s.quiet, s.met, s.chance = true, quiet, met, r
	w := &randomWorld{sim: s, r: r, calm: r.IntN(8) == 0}
	for i := range r.IntN(3) {
		s.nodes = append(s.nodes, &node{name: fmt.Sprintf("n%d", i+2), bit: 2 << i})
	}
	s.lag = []time.Duration{0, 0, 300 * time.Millisecond, 2 * time.Second, 5 * time.Second}[r.IntN(5)]
	if s.lag > 0 {
		s.meet("agents and balancers that lag")
	}
	s.boot, s.patience = time.Duration(r.IntN(900))*time.Millisecond, 5*time.Second
	if r.IntN(2) == 0 {
		s.rate = 50 + r.IntN(150)
	}
	outcomes := []api.JobState{api.JobFailed, api.JobLost, api.JobPending, api.JobRunning, api.JobRunning, api.JobRunning, api.JobRunning,
		api.JobSucceeded, api.JobSucceeded, api.JobSucceeded, api.JobSucceeded, api.JobSucceeded, api.JobSucceeded}
	if w.calm {
		outcomes = outcomes[2:]
	}
	s.ends = func() api.JobState { return outcomes[r.IntN(len(outcomes))] }
	if r.IntN(3) == 0 { // a job of a service that is there: another planner's
		s.jobs = append(s.jobs, Task{Task: api.Task{ID: "job", Service: "s0", Slot: 1, Release: 1, Hash: "job", Node: "n1", Desired: api.WantRunning,
			CreatedAt: s.now, Job: &api.TaskJob{}}, Status: api.TaskStatus{State: []api.TaskState{api.TaskReady, api.TaskFailed}[r.IntN(2)]}})
		s.meet("task of a job beside")
	}
	return w
}

// live lets users and faults do their worst, then mends everything, and tells whether the world comes to rest.
func (w *randomWorld) live() {
	deeds := 4 + w.r.IntN(10)
	for range deeds {
		w.deed()
		pause := time.Duration(w.r.IntN(4000)) * time.Millisecond
		if w.r.IntN(30) == 0 {
			pause += placeDeadline
		}
		w.run(pause)
		if s := w.staging; s != nil {
			s.deed()
			s.run(pause)
			if s.fault != "" {
				w.fault = "staging: " + s.fault
			}
		}
		if w.fault != "" {
			return
		}
	}
	w.rest()
	if w.fault == "" && w.r.IntN(20) == 0 {
		w.destroy()
	}
}

// rest mends everything, and holds that the world comes to rest as it should.
func (w *randomWorld) rest() {
	s := w.sim
	clear(s.broken)
	clear(s.busy)
	clear(s.problems)
	clear(s.fails)
	clear(s.slow)
	clear(s.checks)
	s.pressure = nil
	s.rate, s.lag, s.dirty = 0, min(s.lag, 300*time.Millisecond), true
	mended := s.now
	s.resume = true
	for _, n := range s.nodes {
		if n.cut() {
			s.comeBack(n, w.r.IntN(2) == 0)
		}
	}
	for _, x := range s.tasks { // what fails its check by chance would do so for ever
		if x.known.Unhealthy && x.live() {
			s.exit(x, "exited with code 1")
		}
	}
	s.env.Stopped = false
	s.ends = func() api.JobState { return api.JobSucceeded }
	for range 80 {
		if s.runBy(30*time.Second, time.Second); s.fault != "" || s.idle() {
			break
		}
	}
	if s.fault == "" {
		s.checkRest(mended)
	}
	if w.calm && s.fault == "" {
		for _, d := range s.deps {
			if d.State == api.DeployRolledBack || d.State == api.DeployFailed {
				s.wrong("nothing failed in this world, and deployment %d is %s: %s", d.Number, d.State, d.Reason)
			}
		}
	}
}

// idle tells whether nothing is left to be done.
func (s *sim) idle() bool {
	if s.current() != nil || s.baking() != nil || s.dirty || !s.wake.IsZero() {
		return false
	}
	for _, t := range s.tasks {
		if t.live() && !t.healthy() {
			return false
		}
	}
	return true
}

// checkRest holds that exactly what the last deployment that succeeded asks for is there, and nothing else.
func (s *sim) checkRest(mended time.Time) {
	if d := s.current(); d != nil {
		s.wrong("deployment %d is still %s: %+v", d.Number, d.State, d.Rollouts)
		return
	}
	release := s.releases[s.env.Release]
	s.checkLast()
	want, images := map[string]int{}, map[string]string{}
	if release != nil {
		for name, spec := range release.Spec.Services {
			want[name], images[name] = s.env.Replicas(name, spec), spec.Image
			for _, t := range s.tasks {
				if t.completed() && t.Service == name && t.Hash == api.HashService(release.Spec, name) && t.Slot <= s.env.Replicas(name, spec) {
					want[name]--
				}
			}
			if spec.Restart.MaxAttempts > 0 || spec.Restart.Condition == api.RestartNone {
				want[name] = -1 << 20 // it may have been given up
			}
		}
	}
	for _, x := range s.tasks {
		if !x.live() {
			continue
		}
		if x.Desired == api.WantWarm && x.WarmAt.After(mended.Add(-api.DefaultWarm.Std())) {
			continue
		}
		if want[x.Service] < -1<<10 && x.healthy() {
			continue // it may make up for one that was given up
		}
		if release == nil || x.Hash != api.HashService(release.Spec, x.Service) || !x.healthy() || x.image != images[x.Service] {
			s.wrong("%s %s of release %d is %s (%s) on %s, the committed release is %d", x.ID, x.Name(), x.Release, x.Status.State, x.Desired, x.Node, s.env.Release)
		}
		want[x.Service]--
	}
	for name, n := range want {
		if n > 0 || n < 0 && n > -1<<10 {
			s.wrong("%s lacks %d tasks", name, n)
		}
	}
}

// checkLast holds that the environment has the release that its last deployment left it.
func (s *sim) checkLast() {
	var last *api.Deployment
	for _, d := range s.deps {
		if !d.State.Final() {
			s.wrong("deployment %d is %s for ever", d.Number, d.State)
		}
		if !d.StartedAt.IsZero() {
			last = d
		}
	}
	if last == nil {
		return
	}
	want := last.From
	if last.State == api.DeploySucceeded || last.Trial != "" {
		want = last.To
	}
	if s.env.Release != want {
		s.wrong("deployment %d from release %d to %d is %s, and release %d is committed", last.Number, last.From, last.To, last.State, s.env.Release)
	}
}

// destroy ends the environment, of which nothing may be left.
func (w *randomWorld) destroy() {
	s := w.sim
	s.env.Destroying, s.dirty = true, true
	s.meet("environment destroyed")
	s.runBy(2*time.Minute, time.Second)
	for _, t := range s.tasks {
		s.wrong("%s is left of an environment that is destroyed: %s, %s", t.Name(), t.Status.State, t.Desired)
	}
}
