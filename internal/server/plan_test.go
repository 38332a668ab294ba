package server_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// fakeRehearser notes what it is to play.
type fakeRehearser struct {
	env     api.Environment
	release *api.Release
	dep     *api.Deployment
	asked   int
}

func (f *fakeRehearser) Rehearse(_ context.Context, _ int64, env api.Environment, r *api.Release, d *api.Deployment, whatIf []api.Hazard) (api.PlanResponse, error) {
	f.env, f.release, f.dep = env, r, d
	f.asked++
	out := api.PlanResponse{Notes: []string{"a note"}}
	out.State, out.Steps = api.DeploySucceeded, []api.PlanStep{{Number: 1, Type: "deployment.started", Text: "started"}}
	for _, h := range whatIf {
		out.WhatIf = append(out.WhatIf, api.Answer{Hazard: h, Cases: []api.Case{{State: api.DeployRolledBack}}})
	}
	return out, nil
}

// everything gives all that the store holds.
func (b *bench) everything() map[string]string {
	b.t.Helper()
	out := map[string]string{}
	_, err := b.store.View(b.ctx(), func(tx store.Tx) error {
		entries, err := tx.List(store.Root)
		for _, e := range entries {
			out[e.Key] = string(e.Value)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func TestPlanWritesNothing(t *testing.T) {
	b := newBench(t)
	first := b.deploy(api.DeployRequest{Spec: spec()})
	b.finish(shop, first.Deployment.Number, api.DeploySucceeded)
	before := b.everything()
	secret := func(s *api.AppSpec) { s.Secrets = map[string]api.SecretSpec{"db": {Value: []byte("hunter2")}} }
	p, err := b.client.Plan(b.ctx(), shop, api.PlanRequest{Deploy: &api.DeployRequest{Spec: spec(image(""), secret)},
		WhatIf: []api.Hazard{{Kind: api.HazardFail, Name: "web"}}})
	if err != nil {
		t.Fatal(err)
	}
	if after := b.everything(); !reflect.DeepEqual(before, after) {
		t.Errorf("a plan wrote something: %v, before %v", after, before)
	}
	if p.Release != 2 || p.Deployment == nil || p.Deployment.Number != 2 || p.State != api.DeploySucceeded || len(p.WhatIf) != 1 || len(p.Steps) != 1 {
		t.Errorf("plan %+v", p)
	}
	changed := map[string]string{}
	for _, c := range p.Changes {
		changed[c.Field] = c.To
	}
	if changed["services.web.image"] != "a new image, not built yet" || changed["secrets.db"] == "" {
		t.Errorf("changes %v", p.Changes)
	}
	if len(p.Notes) != 2 || !strings.HasPrefix(p.Notes[0], "web: nothing was built") || p.Notes[1] != "a note" {
		t.Errorf("notes %q", p.Notes)
	}
	got := b.rehearser
	if got.env.LastRelease != 2 || got.env.Release != 1 || got.release.Number != 2 || got.dep.State != api.DeployQueued ||
		got.release.Spec.Services["web"].Image == "" || got.release.Spec.Secrets["db"].Value != nil {
		t.Errorf("rehearsed %+v of %+v to %+v", got.dep, got.env, got.release)
	}
	// What runs is kept where that is said, and then nothing changes.
	p, err = b.client.Plan(b.ctx(), shop, api.PlanRequest{Deploy: &api.DeployRequest{Spec: spec(image(""))}, KeepImages: true})
	if err != nil || !p.Unchanged || !p.Succeeds() || b.rehearser.asked != 1 {
		t.Errorf("plan %+v, %v", p, err)
	}
	p, err = b.client.Plan(b.ctx(), shop, api.PlanRequest{Deploy: &api.DeployRequest{Spec: spec(), Force: true}})
	if err != nil || p.Unchanged || p.Release != 2 {
		t.Errorf("plan %+v, %v", p, err)
	}
}

func TestPlanOfPromotionAndRollback(t *testing.T) {
	b := newBench(t)
	staging := api.EnvRef{App: shop.App, Env: "staging"}
	for _, req := range []api.DeployRequest{{Spec: spec()}, {Spec: spec(image("registry.test/web:2"))}, {Spec: spec(image("registry.test/web:3"), inEnv(staging, 18081))}} {
		d := b.deploy(req)
		b.finish(api.EnvRef{App: req.Spec.App, Env: req.Spec.Env}, d.Deployment.Number, api.DeploySucceeded)
	}
	before := b.everything()
	p, err := b.client.Plan(b.ctx(), shop, api.PlanRequest{Rollback: &api.RollbackRequest{}})
	if err != nil || p.Release != 1 || p.Deployment.Kind != api.KindRollback || len(p.Changes) != 1 || b.rehearser.release.Number != 1 {
		t.Errorf("plan of a rollback %+v, %v", p, err)
	}
	p, err = b.client.Plan(b.ctx(), shop, api.PlanRequest{Promote: &api.PromoteRequest{From: "staging"}})
	if err != nil || p.Release != 3 || len(p.Changes) == 0 || !strings.Contains(b.rehearser.release.Spec.Services["web"].Image, "web") {
		t.Errorf("plan of a promotion %+v, %v", p, err)
	}
	if after := b.everything(); !reflect.DeepEqual(before, after) {
		t.Errorf("a plan wrote something")
	}
	for name, req := range map[string]api.PlanRequest{
		"deploy":  {},
		"whatIf":  {Rollback: &api.RollbackRequest{}, WhatIf: make([]api.Hazard, api.MaxHazards+1)},
		"release": {Rollback: &api.RollbackRequest{Release: 9}},
	} {
		_, err := b.client.Plan(b.ctx(), shop, req)
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	both := api.PlanRequest{Rollback: &api.RollbackRequest{}, Promote: &api.PromoteRequest{From: "staging"}}
	if _, err := b.client.Plan(b.ctx(), shop, both); !api.IsKind(err, api.Invalid) {
		t.Errorf("two at once: %v", err)
	}
}
