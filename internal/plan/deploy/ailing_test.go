package deploy

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// TestAiling holds which services a deployment that begins leaves as they are, and what it says of them.
func TestAiling(t *testing.T) {
	now := time.Unix(1_000_000, 0).UTC()
	ref := api.EnvRef{App: "shop", Env: "production"}
	release := func(number uint64, worker, web api.ServiceSpec) *api.Release {
		return &api.Release{EnvRef: ref, Number: number, Spec: api.AppSpec{App: ref.App, Env: ref.Env,
			Services: map[string]api.ServiceSpec{"worker": worker, "web": web}}}
	}
	hash := func(worker api.ServiceSpec) string { return api.HashService(release(1, worker, worker).Spec, "worker") }
	// A task that began a minute ago, in a row of failures.
	task := func(slot, attempt int, st api.TaskStatus, change ...func(*Task)) Task {
		x := Task{Task: api.Task{ID: string(rune('a'+slot)) + string(rune('a'+attempt)), Service: "worker", Slot: slot, Release: 1, Node: "n1", Attempt: attempt,
			Desired: api.WantRunning, CreatedAt: now.Add(time.Duration(attempt) * time.Second).Add(-time.Minute)}, Status: st, Serving: true}
		for _, f := range change {
			f(&x)
		}
		return x
	}
	ready := func(ago time.Duration) api.TaskStatus {
		return api.TaskStatus{State: api.TaskReady, ReadyAt: now.Add(-ago)}
	}
	exited := api.TaskStatus{State: api.TaskFailed, Cause: api.CauseExit, Message: "exited with code 1", FinishedAt: now.Add(-time.Second)}
	starting := api.TaskStatus{State: api.TaskStarting}
	gone := api.TaskStatus{State: api.TaskFailed, Cause: api.CauseLost, Message: "its container was gone", FinishedAt: now}
	unplaced := func(x *Task) { x.Node, x.Reason = "", "no node fits: 1 lacking memory" }
	for _, c := range []struct {
		name   string
		wanted int
		tasks  []Task
		change func(w *World, next *api.ServiceSpec)
		why    string
	}{
		{"all up", 2, []Task{task(1, 0, ready(time.Hour)), task(2, 0, ready(time.Hour))}, nil, ""},
		{"crashed just now", 1, []Task{task(1, 0, exited)}, nil, "exited with code 1"},
		{"in a crash loop", 1, []Task{task(1, 6, exited), task(1, 7, api.TaskStatus{})}, nil, "exited with code 1 (7 times)"},
		{"starting once more", 1, []Task{task(1, 1, exited), task(1, 2, starting)}, nil, "exited with code 1 (2 times)"},
		{"its record is forgotten", 1, []Task{task(1, 3, starting)}, nil, "failed (3 times)"},
		{"up between two crashes", 1, []Task{task(1, 1, exited), task(1, 2, ready(59*time.Second))}, nil, "exited with code 1 (2 times)"},
		{"has held for a minute", 1, []Task{task(1, 1, exited), task(1, 2, ready(time.Minute))}, nil, ""},
		{"up after one crash", 1, []Task{task(1, 0, exited), task(1, 1, ready(time.Second))}, nil, ""},
		{"not picked by balancers yet", 1, []Task{task(1, 0, ready(time.Second), func(x *Task) { x.Serving = false })}, nil, ""},
		{"starting for the first time", 1, []Task{task(1, 0, starting)}, nil, ""},
		{"nothing there", 1, nil, nil, ""},
		{"node restarted", 1, []Task{task(1, 0, gone)}, nil, ""},
		{"starting after its node restarted", 1, []Task{task(1, 0, gone), task(1, 0, starting)}, nil, ""},
		{"node silent", 1, []Task{task(1, 0, ready(time.Hour), func(x *Task) { x.Lost = true })}, nil, "node n1 does not answer"},
		{"unhealthy", 1, []Task{task(1, 0, api.TaskStatus{State: api.TaskReady, ReadyAt: now.Add(-time.Hour), Unhealthy: true, Message: "unhealthy: GET / failed 3 times"})}, nil,
			"unhealthy: GET / failed 3 times"},
		{"taken out as unhealthy", 1, []Task{task(1, 0, api.TaskStatus{State: api.TaskDraining, Message: "draining"}, func(x *Task) {
			x.Desired, x.Fault, x.Reason = api.WantDraining, api.CauseUnhealthy, "unhealthy: GET / failed 3 times"
		}), task(1, 1, starting)}, nil, "unhealthy: GET / failed 3 times"},
		{"killed for memory", 1, []Task{task(1, 0, api.TaskStatus{State: api.TaskFailed, Cause: api.CauseOOM, Message: "killed for memory: its limit is 96 MiB"})}, nil,
			"killed for memory: its limit is 96 MiB"},
		{"no node fits", 1, []Task{task(1, 0, api.TaskStatus{}, unplaced)}, nil, "no node fits: 1 lacking memory"},
		{"one of three", 3, []Task{task(1, 0, ready(time.Hour)), task(2, 4, exited), task(3, 0, ready(time.Hour))}, nil,
			"1 of 3 tasks failed; worker.2: exited with code 1 (5 times)"},
		{"a slot that is no longer wanted", 1, []Task{task(1, 0, ready(time.Hour)), task(2, 4, exited)}, nil, ""},
		{"a lower slot, but as many as wanted", 1, []Task{task(1, 4, exited), task(2, 0, ready(time.Hour))}, nil, ""},
		{"none is wanted", 0, []Task{task(1, 0, exited)}, nil, ""},
		{"more are wanted from now on", 1, []Task{task(1, 0, exited)}, func(_ *World, next *api.ServiceSpec) { next.Replicas = 2 }, "1 of 2 tasks failed; worker.1: exited with code 1"},
		{"scaled to none by hand", 1, []Task{task(1, 0, exited)}, func(w *World, _ *api.ServiceSpec) { w.Env.Scale = map[string]int{"worker": 0} }, ""},
		{"it is changed", 1, []Task{task(1, 0, exited)}, func(_ *World, next *api.ServiceSpec) { next.Image = "w2" }, ""},
		{"it is restarted", 1, []Task{task(1, 0, exited)}, func(_ *World, next *api.ServiceSpec) { next.Labels = map[string]string{"ikada.generation": "2"} }, ""},
		{"the environment was down", 1, []Task{task(1, 0, exited)}, func(w *World, _ *api.ServiceSpec) { w.Env.Stopped = true }, ""},
		{"nothing is committed", 1, []Task{task(1, 0, exited)}, func(w *World, _ *api.ServiceSpec) { w.Env.Release = 0 }, ""},
		{"the target is no longer kept", 1, []Task{task(1, 0, exited)}, func(w *World, _ *api.ServiceSpec) { delete(w.Releases, 2) }, ""},
		{"rollback by hand", 1, []Task{task(1, 0, exited)}, func(w *World, _ *api.ServiceSpec) { w.Deployment.Kind = api.KindRollback }, "exited with code 1"},
		{"its port is taken", 1, []Task{task(1, 0, ready(time.Hour))}, func(w *World, _ *api.ServiceSpec) {
			w.Problems = map[string]string{"worker": "port :80 cannot be opened"}
		}, "port :80 cannot be opened"},
		{"its port is taken, and is published anew", 1, []Task{task(1, 0, ready(time.Hour))}, func(w *World, next *api.ServiceSpec) {
			w.Problems = map[string]string{"worker": "port :80 cannot be opened"}
			next.Ports = []api.PortSpec{{Target: 1, Published: 80}}
		}, ""},
		{"its port is taken, and none is wanted", 0, nil, func(w *World, _ *api.ServiceSpec) {
			w.Problems = map[string]string{"worker": "port :80 cannot be opened"}
		}, ""},
		{"job whose work is done", 1, []Task{task(1, 0, exited), task(1, 1, api.TaskStatus{State: api.TaskStopped})}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := api.ServiceSpec{Image: "w1", Replicas: c.wanted}
			next := spec
			w := World{Now: now, Env: api.Environment{EnvRef: ref, Release: 1, LastRelease: 2}, Releases: map[uint64]*api.Release{1: nil, 2: nil}, Tasks: c.tasks,
				Deployment: &api.Deployment{EnvRef: ref, Number: 1, Kind: api.KindDeploy, To: 2, State: api.DeployQueued, CreatedAt: now}}
			if c.change != nil {
				c.change(&w, &next)
			}
			for n, r := range map[uint64]*api.Release{1: release(1, spec, api.ServiceSpec{Image: "v1", Replicas: 1}), 2: release(2, next, api.ServiceSpec{Image: "v2", Replicas: 1})} {
				if _, kept := w.Releases[n]; kept {
					w.Releases[n] = r
				}
			}
			for i := range w.Tasks {
				w.Tasks[i].Hash = hash(spec)
			}
			p := Make(w)
			var want []api.Ailment
			if c.why != "" {
				want = []api.Ailment{{Service: "worker", Reason: c.why}}
			}
			if got := p.Deployment.Ailing; !reflect.DeepEqual(got, want) {
				t.Fatalf("ailing: %v, expected %v", got, want)
			}
			told := 0
			for _, e := range p.Events {
				if e.Type == "deployment.ailing" {
					told++
					if text := "worker was failing before this deployment began and is left as it is: " + c.why; e.Message != text || e.Service != "worker" || e.Level != api.LevelWarn {
						t.Errorf("event %+v, expected %q", e, text)
					}
				}
			}
			if told != len(want) {
				t.Errorf("%d events tell of it, expected %d", told, len(want))
			}
			// Who goes on with it knows it from what was written down, whatever the tasks do then.
			b, err := json.Marshal(p.Deployment)
			if err != nil {
				t.Fatal(err)
			}
			w.Deployment = new(api.Deployment)
			if err := json.Unmarshal(b, w.Deployment); err != nil {
				t.Fatal(err)
			}
			w.Tasks, w.Now = nil, now.Add(time.Second)
			if again := Make(w); again.Deployment != nil && !reflect.DeepEqual(again.Deployment.Ailing, want) {
				t.Errorf("ailing became %v", again.Deployment.Ailing)
			}
		})
	}
}
