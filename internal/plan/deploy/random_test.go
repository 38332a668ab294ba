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

// TestRandomWorlds lets random users, faults and time loose on the planner. Every plan keeps the invariants, and
// when the users stop and the faults are mended every world comes to rest with exactly what was asked for.
// IKADA_WORLDS sets how many worlds there are.
func TestRandomWorlds(t *testing.T) {
	worlds := 400
	if n, err := strconv.Atoi(os.Getenv("IKADA_WORLDS")); err == nil {
		worlds = n
	}
	for seed := range worlds {
		runWorld(t, uint64(seed))
		if t.Failed() {
			t.Fatalf("world %d", seed)
		}
	}
}

func runWorld(t *testing.T, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	s := newSim()
	s.check = func(before, after *sim) { checkInvariants(t, before, after) }
	s.boot = time.Duration(r.IntN(900)) * time.Millisecond
	s.ends = func() api.JobState {
		return []api.JobState{api.JobSucceeded, api.JobFailed, api.JobLost, api.JobPending, api.JobRunning, api.JobRunning, api.JobRunning}[r.IntN(7)]
	}
	for range 3 + r.IntN(8) {
		randomDeed(r, s)
		s.run(time.Duration(r.IntN(4000)) * time.Millisecond)
		if t.Failed() {
			return
		}
	}
	// Now everything is mended, and the world must come to rest.
	clear(s.broken)
	clear(s.busy)
	clear(s.problems)
	clear(s.fails)
	s.rate = 0
	mended := s.now
	s.resume = true
	for _, x := range s.tasks {
		if x.Lost && x.live() { // its node comes back, and what it ran is gone
			x.Lost = false
			s.exit(x, "exited with code 1")
		}
	}
	s.env.Stopped = false
	s.ends = func() api.JobState { return api.JobSucceeded }
	s.runBy(10*time.Minute, 2*time.Second)
	if d := s.current(); d != nil {
		t.Errorf("deployment %d is still %s: %+v", d.Number, d.State, d.Rollouts)
	}
	release := s.releases[s.env.Release]
	want := map[string]int{}
	if release != nil {
		for name, spec := range release.Spec.Services {
			want[name] = s.env.Replicas(name, spec)
		}
	}
	for _, x := range s.tasks {
		if !x.live() {
			continue
		}
		if x.Desired == api.WantWarm && x.WarmAt.After(mended.Add(-api.DefaultWarm.Std())) {
			continue
		}
		if x.Hash != api.HashService(release.Spec, x.Service) || !x.healthy() {
			t.Errorf("%s of release %d is %s (%s), the committed release is %d", x.Name(), x.Release, x.Status.State, x.Desired, release.Number)
		}
		want[x.Service]--
	}
	for name, n := range want {
		if n != 0 {
			t.Errorf("%s lacks %d tasks", name, n)
		}
	}
}

// randomDeed lets a user or fate do something.
func randomDeed(r *rand.Rand, s *sim) {
	live := func() *simTask {
		var all []*simTask
		for _, t := range s.tasks {
			if t.live() {
				all = append(all, t)
			}
		}
		if len(all) == 0 {
			return nil
		}
		return all[r.IntN(len(all))]
	}
	switch r.IntN(10) {
	case 0, 1, 2, 3:
		s.deploy(api.KindDeploy, randomSpec(r))
	case 4:
		if s.env.Release != 0 {
			s.queue(api.KindRollback, 1+r.Uint64N(s.env.LastRelease))
		}
	case 5:
		s.env.Scale = map[string]int{fmt.Sprintf("s%d", r.IntN(3)): r.IntN(6)}
	case 6:
		s.broken[fmt.Sprintf("v%d", r.IntN(4))] = []string{"exit", "late", "never", "unplaced"}[r.IntN(4)]
	case 7:
		if t := live(); t != nil && t.Node != "" {
			s.exit(t, "exited with code 137")
		}
	case 8:
		if t := live(); t != nil && t.Status.State == api.TaskReady {
			t.Status.Unhealthy, t.Status.Message = true, "unhealthy: GET / failed 3 times"
		}
	case 9:
		switch t := live(); {
		case t == nil || t.Node == "":
		case r.IntN(2) == 0:
			s.busy[t.ID] = true
		default:
			t.Lost = true
		}
	}
	if d := s.current(); d != nil && d.State == api.DeployRunning {
		switch r.IntN(12) {
		case 0:
			d.Cancel, d.Reason = true, "cancelled by ann"
		case 1:
			d.PausedAt = s.now
		case 2, 3:
			d.ResumedAt = s.now.Add(1)
		}
	}
	if r.IntN(8) == 0 {
		s.rate = 20 * r.IntN(3)
		s.fails[fmt.Sprintf("v%d", r.IntN(4))] = []int{0, 20, 100}[r.IntN(3)]
	}
}

func randomSpec(r *rand.Rand) api.AppSpec {
	spec := api.AppSpec{App: "shop", Env: "production", Services: map[string]api.ServiceSpec{}}
	for i := range 1 + r.IntN(3) {
		svc := api.ServiceSpec{Image: fmt.Sprintf("v%d", r.IntN(4)), Replicas: r.IntN(5)}
		svc.Update = api.Strategy{Parallelism: r.IntN(3), Monitor: api.Duration(time.Duration(r.IntN(3000)) * time.Millisecond),
			Delay: api.Duration(time.Duration(r.IntN(2)) * time.Second)}
		if r.IntN(3) == 0 {
			svc.Update.Order = api.StopFirst
		}
		svc.Rollback = svc.Update
		if svc.Update.Order == "" && r.IntN(3) == 0 {
			svc.Update.Kind = []string{api.BlueGreen, api.Canary}[r.IntN(2)]
			for range r.IntN(3) * len(svc.Update.Kind) / len(api.BlueGreen) {
				svc.Update.Steps = append(svc.Update.Steps, api.CanaryStep{Weight: r.IntN(100), Hold: r.IntN(4) == 0,
					Pause: api.Duration(time.Duration(r.IntN(3000)) * time.Millisecond)})
			}
		}
		if r.IntN(2) == 0 {
			svc.Expose = []uint16{80}
			warm := api.Duration(time.Duration(r.IntN(8000)) * time.Millisecond)
			svc.Update.Warm = &warm
		}
		svc.Drain = api.Duration(time.Duration(1+r.IntN(20)) * time.Second)
		if i > 0 && r.IntN(3) == 0 {
			svc.DependsOn = []api.Dependency{{Service: fmt.Sprintf("s%d", i-1),
				Condition: []string{api.DependStarted, api.DependHealthy}[r.IntN(2)]}}
		}
		if r.IntN(4) == 0 {
			svc.Release = &api.ReleaseCommand{}
		}
		spec.Services[fmt.Sprintf("s%d", i)] = svc
	}
	return spec
}
