package deploy

import (
	"slices"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

// checkInvariants holds what no plan may break, whatever the world.
func checkInvariants(t *testing.T, before, after *sim) {
	t.Helper()
	for name, goal := range after.goalServices() {
		spec := goal.WithDefaults()
		want := after.env.Replicas(name, spec)
		pace := spec.Update.Parallelism
		if d := after.current(); d != nil && (d.Backwards || d.Kind == api.KindRollback) {
			pace = spec.Rollback.Parallelism
		}
		if pace == 0 || after.shifts(name) {
			pace = max(want, 1)
		}
		// What a node that does not answer may still run cannot be counted, or its loss would hold a rollout up for ever.
		// Warm tasks stand beside it: what counts is that no container is added above it.
		reachable := func(t *Task) bool { return t.live() && !t.Lost && t.WarmAt.IsZero() }
		containers := func(t *Task) bool { return t.live() && !t.Lost }
		liveWas, live := before.count(name, reachable), after.count(name, reachable)
		ceiling := want + pace
		if spec.Update.Order == api.StopFirst {
			ceiling = want
		}
		if n := before.heldAt(name); n > want { // until the release commands have succeeded
			ceiling += n - want
		}
		if live > ceiling && live > liveWas && after.count(name, containers) > before.count(name, containers) {
			t.Fatalf("%s: %d tasks live, %d allowed\n%s", name, live, ceiling, strings.Join(after.log, "\n"))
		}
		readyWas, ready := before.count(name, (*Task).healthy), after.count(name, (*Task).healthy)
		floor := want
		if spec.Update.Order == api.StopFirst {
			floor = want - pace
		}
		if ready < readyWas && ready < floor {
			t.Fatalf("%s: the plan takes ready tasks from %d to %d, at least %d must stay", name, readyWas, ready, floor)
		}
	}
	rank := map[api.Desired]int{api.WantRunning: 0, api.WantWarm: 0, api.WantDraining: 1, api.WantStopped: 2}
	for _, was := range before.tasks {
		is := after.task(was.ID)
		if is == nil {
			if was.live() && was.Node != "" {
				t.Fatalf("%s: a live task was forgotten", was.ID)
			}
			continue
		}
		if rank[is.Desired] < rank[was.Desired] {
			t.Fatalf("%s: desired went back from %s to %s", was.ID, was.Desired, is.Desired)
		}
		warm := was.Desired == api.WantWarm && was.Released
		if is.Desired == api.WantStopped && was.Desired != api.WantDraining && was.Desired != api.WantStopped && !warm && !was.Lost {
			t.Fatalf("%s: stopped without a drain", was.ID)
		}
		if is.Desired != was.Desired && is.Reason == "" {
			t.Fatalf("%s: desired became %s without a reason", was.ID, is.Desired)
		}
	}
	checkHeld(t, before, after)
	running := 0
	for _, d := range after.deps {
		if d.State == api.DeployRunning {
			running++
		}
		if d.State.Final() && d.State != api.DeploySucceeded && d.State != api.DeploySuperseded && d.Reason == "" {
			t.Fatalf("deployment %d is %s without a reason", d.Number, d.State)
		}
	}
	if running > 1 {
		t.Fatalf("%d deployments run at once", running)
	}
}

// shifts tells whether the service is on its way by weights, with all new tasks beside all old ones.
func (s *sim) shifts(service string) bool {
	d := s.current()
	return d != nil && !d.Backwards && slices.ContainsFunc(d.Rollouts, func(r api.Rollout) bool { return r.Service == service && r.Step > 0 })
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

// goalServices gives the services of the release that the environment is on its way to.
func (s *sim) goalServices() map[string]api.ServiceSpec {
	n := s.env.Release
	if d := s.current(); d != nil && d.State == api.DeployRunning && !d.Backwards {
		n = d.To
	}
	if r := s.releases[n]; r != nil {
		return r.Spec.Services
	}
	return nil
}

// heldAt gives how many tasks of a service stay while the deployment's release commands have not succeeded; 0 when there
// are none to come.
func (s *sim) heldAt(service string) int {
	d, committed := s.current(), s.releases[s.env.Release]
	if d == nil || d.Backwards || d.Kind != api.KindDeploy || s.releases[d.To] == nil || committed == nil {
		return 0
	}
	for name, spec := range s.releases[d.To].Spec.Services {
		if was, ok := committed.Spec.Services[service]; ok && spec.Release != nil && s.commands[d.Number][name].State != api.JobSucceeded {
			return s.env.Replicas(service, was)
		}
	}
	return 0
}

// checkHeld holds that nothing of a release is made before its release commands have succeeded, but for what these
// depend on, and that none is begun twice.
func checkHeld(t *testing.T, before, after *sim) {
	t.Helper()
	d := before.current()
	if d == nil || d.Backwards || d.Kind != api.KindDeploy || before.releases[d.To] == nil {
		return
	}
	target := before.releases[d.To].Spec
	needed, open := map[string]bool{}, 0
	var need func(name string)
	need = func(name string) {
		for _, dep := range target.Services[name].DependsOn {
			if !needed[dep.Service] {
				needed[dep.Service] = true
				need(dep.Service)
			}
		}
	}
	for name, spec := range target.Services {
		if spec.Release != nil && before.commands[d.Number][name].State != api.JobSucceeded {
			open++
			need(name)
		}
	}
	if now := after.deps[d.Number-1]; open == 0 || now.Backwards {
		return
	}
	if after.env.Release == d.To {
		t.Fatalf("deployment %d ended with %d release commands to come", d.Number, open)
	}
	var committed api.AppSpec
	if r := before.releases[before.env.Release]; r != nil {
		committed = r.Spec
	}
	for _, x := range after.tasks {
		if before.task(x.ID) != nil || x.Release != d.To || needed[x.Service] {
			continue
		}
		if _, ok := committed.Services[x.Service]; !ok || api.HashService(committed, x.Service) != x.Hash {
			t.Fatalf("%s of release %d was made before its release commands have succeeded", x.Name(), x.Release)
		}
	}
}
