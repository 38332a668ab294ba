package deploy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/verdict"
)

// A task's way is told from what the control plane sees of it, whatever the clock of its node says.
func TestStepsOfOneTask(t *testing.T) {
	start := time.Unix(1_000_000, 0).UTC()
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	type seen struct {
		now    float64
		status api.TaskStatus
	}
	ran := func(s float64) seen {
		return seen{s, api.TaskStatus{State: api.TaskRunning, StartedAt: at(3)}}
	}
	ready := func(now, started, ready float64) seen {
		return seen{now, api.TaskStatus{State: api.TaskReady, StartedAt: at(started), ReadyAt: at(ready)}}
	}
	pull := seen{1, api.TaskStatus{State: api.TaskPulling}}
	for name, c := range map[string]struct {
		seen []seen
		want string
	}{
		"pulled":         {[]seen{pull, {2, api.TaskStatus{State: api.TaskStarting}}, ran(3), ready(5, 3, 4.5)}, "start 2+1 pull 1+1 health check 3+1.5 roll 4.5+0.5"},
		"there already":  {[]seen{ran(3), ready(5, 3, 4)}, "start 0.5+2.5 health check 3+1 roll 4+1"},
		"seen late":      {[]seen{ready(9, 3, 4)}, "start 0.5+2.5 health check 3+1 roll 4+5"},
		"clock is ahead": {[]seen{ready(5, 1003, 1004)}, "start 0.5+4.5 health check 5+0 roll 5+0"},
		"clock is slow":  {[]seen{ready(5, -1003, -1000)}, "start 0.5+0 health check 0.5+0 roll 0.5+4.5"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := api.AppSpec{App: "shop", Env: "production", Services: map[string]api.ServiceSpec{"web": {Image: "v1", Replicas: 1,
				Update: api.Strategy{Monitor: api.Duration(2 * time.Second)}}}}
			w := World{Env: api.Environment{EnvRef: api.EnvRef{App: "shop", Env: "production"}}, Now: start,
				Releases: map[uint64]*api.Release{1: {Number: 1, Spec: spec, Commit: "c0ffee"}},
				Deployment: &api.Deployment{Number: 1, To: 1, Kind: api.KindDeploy, State: api.DeployQueued, CreatedAt: at(-2),
					Builds: []api.Build{{Services: []string{"cron", "web"}, Ago: api.Duration(10 * time.Second), Took: api.Duration(7 * time.Second)}}}}
			take := func() {
				p := Make(w)
				if p.Deployment != nil {
					w.Deployment = p.Deployment
				}
				if p.Env != nil {
					w.Env = *p.Env
				}
				for _, c := range p.Create {
					c.ID, c.Node, c.CreatedAt = "t", "n", at(0.5)
					w.Tasks = append(w.Tasks, Task{Task: c, Serving: true})
				}
			}
			take()
			for _, s := range append(c.seen, seen{c.seen[len(c.seen)-1].now + 2, c.seen[len(c.seen)-1].status}) {
				w.Now, w.Tasks[0].Status = at(s.now), s.status
				for range 3 { // a plan that is made again notes nothing twice
					take()
				}
			}
			d := w.Deployment
			var got []string
			for _, s := range d.Steps {
				if s.Name == api.StepMonitor {
					continue // by the task's clock
				}
				if !s.Ended {
					t.Errorf("step %+v goes on", s)
				}
				got = append(got, fmt.Sprintf("%s %g+%g", s.Name, s.At.Sub(start).Seconds(), s.Took.Std().Seconds()))
			}
			before := "build -12+7 queue -2+2 "
			want := strings.Fields(before + c.want)
			have := strings.Fields(strings.Join(got, " "))
			slices.Sort(have) // those that began together stand in any order
			if slices.Sort(want); !slices.Equal(have, want) {
				t.Errorf("steps are\n%q, want\n%q", have, want)
			}
			if d.Target == nil || d.Target.Commit != "c0ffee" || d.Target.Images["web"] != "v1" || d.Replaced != nil {
				t.Errorf("deployment is %s, target %+v, replaced %+v", d.State, d.Target, d.Replaced)
			}
		})
	}
}

func TestStepsAreBounded(t *testing.T) {
	var p path
	for i := range 2 * api.KeepSteps {
		p.begin(api.StepStart, fmt.Sprint("s", i), time.Unix(int64(i), 0))
	}
	if len(p) != api.KeepSteps {
		t.Errorf("%d steps are kept", len(p))
	}
	p.end(api.StepStart, "s1000", time.Unix(9, 0), "") // is none
	p.endAll(time.Unix(1<<20, 0), "")
}

// What changes a result is kept for good, and the last word now and then.
func TestVerdictsAreKept(t *testing.T) {
	now := time.Unix(1_000_000, 0).UTC()
	d := &api.Deployment{}
	say := func(result string) bool {
		now = now.Add(time.Second)
		return heard(d, []api.Verdict{{Service: "web", Result: result, At: now}}, now)
	}
	written := 0
	for range 25 {
		if say(api.VerdictInsufficient) {
			written++
		}
	}
	if written != 3 || len(d.Turns) != 0 {
		t.Errorf("%d of 25 equal verdicts were written, %d turns kept", written, len(d.Turns))
	}
	for i := range 2 * api.KeepTurns {
		if !say([]string{api.VerdictPass, api.VerdictFail}[i%2]) {
			t.Error("a change was not written")
		}
	}
	if len(d.Turns) != api.KeepTurns || !d.Turns[api.KeepTurns-1].At.Equal(now) || !d.Verdicts[0].At.Equal(now) {
		t.Errorf("%d turns, the last of %s; now is %s", len(d.Turns), d.Turns[len(d.Turns)-1].At, now)
	}
}

// Every number of a verdict is kept: a field that is new there must be known here.
func TestEveryNumberIsKept(t *testing.T) {
	v := verdict.Verdict{Result: verdict.Fail, Cause: verdict.CauseTail, Reason: "because"}
	n := 0
	fill(reflect.ValueOf(&v.Numbers).Elem(), &n)
	b, err := json.Marshal(told("web", &v, time.Unix(1_000_000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		want := fmt.Sprint(1_000_000_000 * int64(1000+i)) // as seconds, of which durations are made
		if text := string(b); !strings.Contains(text, fmt.Sprint(1000+i)) && !strings.Contains(text, want) && !strings.Contains(text, api.Duration(1000+i).String()) &&
			!strings.Contains(text, (time.Duration(1000+i)*time.Second).String()) && i != 2 { // the second is At, which Verdict has
			t.Errorf("number %d of verdict.Numbers is not in %s", i, text)
		}
	}
}

// fill gives every field another value, from 1001 on.
func fill(v reflect.Value, n *int) {
	if v.Kind() == reflect.Struct {
		for _, f := range v.Fields() {
			fill(f, n)
		}
		return
	}
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint(1000 + *n))
	case reflect.Float64:
		v.SetFloat(float64(1000 + *n))
	case reflect.Uint64:
		v.SetUint(uint64(1000 + *n))
	default:
		v.SetInt(int64(1000 + *n))
	}
}

// What happens on a trial names its deployment, for those who are told of it.
func TestTrialNamesItsDeployment(t *testing.T) {
	now := time.Unix(1_000_000, 0).UTC()
	release := func(n uint64, image string) *api.Release {
		return &api.Release{Number: n, Spec: api.AppSpec{App: "shop", Env: "production", Services: map[string]api.ServiceSpec{"web": {Image: image, Replicas: 1}}}}
	}
	crashed := func(id string) Task {
		return Task{Task: api.Task{ID: id, Service: "web", Slot: 1, Release: 2, Hash: api.HashService(release(2, "v2").Spec, "web"), Node: "n", Desired: api.WantRunning,
			CreatedAt: now.Add(-time.Second)}, Status: api.TaskStatus{State: api.TaskFailed, Cause: api.CauseOOM, Message: "killed for memory"}}
	}
	for name, from := range map[string]*api.Release{"release.failed": release(1, "v1"), "release.verified": nil} {
		w := World{Now: now, Env: api.Environment{Release: 2, LastDeployment: 7}, Releases: map[uint64]*api.Release{2: release(2, "v2")}, Tasks: []Task{crashed("a")},
			Bake: &api.Deployment{Number: 7, Kind: api.KindDeploy, From: 1, To: 2, State: api.DeploySucceeded, Trial: api.TrialOn, StartedAt: now.Add(-time.Minute), BakedAt: now.Add(-time.Second)}}
		if from != nil {
			w.Releases[1] = from
		}
		p := Make(w)
		if len(p.Events) != 1 || p.Events[0].Type != name || p.Events[0].Deployment != 7 {
			t.Errorf("%s: %+v", name, p.Events)
		}
		if from != nil && (p.Follow == nil || p.Follow.Number != 8 || p.Bake.Follow != 8 || p.Bake.State != api.DeployRolledBack || p.Bake.Trial != api.TrialFailed) {
			t.Errorf("bake %+v, follow %+v", p.Bake, p.Follow)
		}
	}
}

// Where a share of the requests stays, be it at a step that holds or since a user has paused it, it is told how it goes on.
func TestShareSaysHowItGoesOn(t *testing.T) {
	at := time.Unix(1_000_000, 0).UTC()
	for _, c := range []struct {
		shift shift
		state api.RolloutState
		want  string
	}{
		{shift{at: at}, api.RolloutRolling, "50 % of the requests"},
		{shift{at: at, held: true}, api.RolloutRolling, "50 % of the requests; goes on with `ikada resume`"},
		{shift{at: at}, api.RolloutPaused, "50 % of the requests; goes on with `ikada resume`"},
		{shift{}, api.RolloutPaused, ""}, // the step's tasks are not ready yet: whoever paused it has said why
	} {
		c.shift.weight, c.shift.steps = 50, []api.CanaryStep{{Weight: 50}, {Weight: allRequests}}
		r := api.Rollout{State: c.state}
		if c.shift.note(&r); r.Reason != c.want {
			t.Errorf("%+v, %s: %q, want %q", c.shift, c.state, r.Reason, c.want)
		}
	}
}
