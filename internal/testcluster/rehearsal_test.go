package testcluster

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/control"
	"github.com/ikada/ikada/internal/dispatch"
)

// TestRehearsalsComeTrue has random deployments rehearsed and then made by the real control loop, dispatcher and agents:
// both end in the same state, with the same tasks wanted. IKADA_REHEARSALS sets how many there are.
func TestRehearsalsComeTrue(t *testing.T) {
	worlds := 25
	if n, err := strconv.Atoi(os.Getenv("IKADA_REHEARSALS")); err == nil {
		worlds = n
	}
	ends := map[string]int{}
	for seed := range worlds {
		synctest.Test(t, func(t *testing.T) { rehearseWorld(t, uint64(seed), ends) })
		if t.Failed() {
			t.Fatalf("world %d", seed)
		}
	}
	t.Logf("ends: %v", ends)
	if os.Getenv("IKADA_REHEARSALS") == "" && (ends["succeeded"] == 0 || ends["rolled back"] == 0) {
		t.Errorf("the worlds are poor: %v", ends)
	}
}

func rehearseWorld(t *testing.T, seed uint64, ends map[string]int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 11))
	c := good(t, randomApp(r, "1"), []string{"n1", "n2", "n3"}[:1+r.IntN(3)]...)
	c.Run(time.Second)
	spec := randomApp(r, "2")
	var crash []api.Hazard
	if r.IntN(4) == 0 { // one of the new release's services exits at once
		names := slices.Sorted(func(yield func(string) bool) {
			for name, s := range spec.Services {
				if s.Replicas > 0 && !yield(name) {
					return
				}
			}
		})
		if len(names) > 0 {
			name := names[r.IntN(len(names))]
			svc := spec.Services[name]
			runs("exit", "1")(&svc)
			spec.Services[name] = svc
			crash = []api.Hazard{{Kind: api.HazardCrash, Name: name}}
		}
	}
	plan := c.rehearse(spec, crash)
	foretold := plan.Rehearsal
	if crash != nil {
		foretold = plan.WhatIf[0].Rehearsal
	}
	_, number := c.Deploy(spec)
	d := c.Done(number, time.Hour)
	ends[string(d.State)]++
	v := c.View()
	if d.State != foretold.State || v.Env.Release != foretold.Committed {
		t.Errorf("foretold: %s (%s), release %d; it was %s (%s), release %d", foretold.State, foretold.Reason, foretold.Committed, d.State, d.Reason, v.Env.Release)
	}
	if is, said := wanted(v), counted(foretold.Tasks); !reflect.DeepEqual(is, said) {
		t.Errorf("foretold after %s: %v\nit was: %v\nof %+v\nnow:\n%s", foretold.State, said, is, spec, v)
	}
}

// rehearse has a deployment of the spec rehearsed, as the API does.
func (c *Cluster) rehearse(spec api.AppSpec, whatIf []api.Hazard) api.PlanResponse {
	c.t.Helper()
	env := *c.View().Env
	env.LastRelease++
	env.LastDeployment++
	spec.App, spec.Env = Env.App, Env.Env
	release := &api.Release{EnvRef: Env, Number: env.LastRelease, Spec: spec, Hash: api.HashSpec(spec), CreatedAt: time.Now()}
	d := &api.Deployment{EnvRef: Env, Number: env.LastDeployment, Kind: api.KindDeploy, From: env.Release, To: release.Number, State: api.DeployQueued, CreatedAt: time.Now()}
	p, err := control.NewRehearsals(c.Controls[0].Mirror, dispatch.LeaseTime).Rehearse(c.t.Context(), 0, env, release, d, whatIf)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// wanted gives which tasks are wanted, and for what; on which node is a matter of moments.
func wanted(v View) map[string]int {
	var out []api.PlanTask
	for _, t := range v.Live() {
		if t.Job == nil && t.Desired.Runs() {
			out = append(out, api.PlanTask{Service: t.Service, Slot: t.Slot, Release: t.Release, Desired: t.Desired})
		}
	}
	return counted(out)
}

func counted(ts []api.PlanTask) map[string]int {
	out := map[string]int{}
	for _, t := range ts {
		out[fmt.Sprintf("%s.%d of release %d %s", t.Service, t.Slot, t.Release, t.Desired)]++
	}
	return out
}

func randomApp(r *rand.Rand, version string) api.AppSpec {
	spec := api.AppSpec{Services: map[string]api.ServiceSpec{}}
	for i := range 1 + r.IntN(3) {
		// A service that stays as it is must do so in every detail.
		svc := service(cmp.Or(map[int]string{0: "7"}[r.IntN(4)], version), r.IntN(5))
		svc.Ports = []api.PortSpec{{Published: uint16(18080 + i), Target: 8080}}
		svc.Update.Parallelism = r.IntN(3)
		if r.IntN(3) == 0 {
			svc.Update.Order = api.StopFirst
		}
		svc.Rollback = svc.Update
		if svc.Update.Order == "" && r.IntN(3) == 0 {
			svc.Update.Kind = []string{api.BlueGreen, api.Canary}[r.IntN(2)]
			if svc.Update.Kind == api.Canary {
				svc.Update.Steps = []api.CanaryStep{{Weight: 5 + r.IntN(50), Pause: api.Duration(time.Duration(1+r.IntN(20)) * time.Second)}}
			}
		}
		if r.IntN(2) == 0 {
			warm := api.Duration(10 * time.Minute)
			svc.Update.Warm = &warm
		}
		if i > 0 && r.IntN(3) == 0 {
			svc.DependsOn = []api.Dependency{{Service: fmt.Sprintf("s%d", i-1), Condition: []string{api.DependStarted, api.DependHealthy}[r.IntN(2)]}}
		}
		if r.IntN(4) == 0 {
			svc.Release = &api.ReleaseCommand{Command: api.Command{Command: []string{"print", "migrated", "exit", "0"}}}
		}
		if version != "1" && r.IntN(6) == 0 {
			svc.Resources.ReserveMemory = 1 << 40 // of no node
		}
		spec.Services[fmt.Sprintf("s%d", i)] = svc
	}
	return spec
}
