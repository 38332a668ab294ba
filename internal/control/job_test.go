package control

import (
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
)

// TestSchedulesAreLookedAtOften: a timer knows nothing of a clock that is set forward, or of a machine that sleeps.
func TestSchedulesAreLookedAtOften(t *testing.T) {
	ref := api.EnvRef{App: "shop", Env: "production"}
	now := time.Date(2026, 11, 22, 2, 59, 50, 0, time.UTC)
	since := now.Add(-time.Hour)
	release := &api.Release{EnvRef: ref, Number: 1, Spec: api.AppSpec{Services: map[string]api.ServiceSpec{"web": {Cron: map[string]api.CronSpec{
		"daily": {Schedule: "0 3 * * *"}, "noon": {Schedule: "0 12 * * *"}, "every": {Schedule: "@every 61m"},
	}}}}}
	js := &jobs{env: ref}
	for name, spec := range release.Spec.Services["web"].Cron {
		js.crons = append(js.crons, &api.Cron{EnvRef: ref, Service: "web", Name: name, Schedule: spec.Schedule, Since: since})
	}
	want := map[string]time.Time{"daily": now.Add(10 * time.Second), "noon": now.Add(cronLook), "every": now.Add(cronLook)}
	w := deploy.World{Now: now, Releases: map[uint64]*api.Release{1: release}}
	for range 2 { // and whenever it is looked at
		for _, c := range new(Loop).dueCrons(js, w, api.Environment{EnvRef: ref, Release: 1}) {
			if !c.Look.Equal(want[c.State.Name]) || !c.Due.IsZero() {
				t.Errorf("at %s: %s is looked at at %s, want %s; due %s", w.Now, c.State.Name, c.Look, want[c.State.Name], c.Due)
			}
		}
		w.Now = w.Now.Add(5 * time.Second)
		want["noon"], want["every"] = w.Now.Add(cronLook), w.Now.Add(cronLook)
	}
	w.Now = since.Add(61 * time.Minute)
	for _, c := range new(Loop).dueCrons(js, w, api.Environment{EnvRef: ref, Release: 1}) {
		if c.State.Name == "every" && !c.Due.Equal(w.Now) {
			t.Errorf("every 61m since %s: due %s", since, c.Due)
		}
	}
}
