package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ikada/ikada/api"
)

// TestReceipt waits for a release to come through its trial under load, and reads the proof of its way: whole in the JSON,
// and unchanged in the signed form.
func TestReceipt(t *testing.T) {
	a := shared.App(t)
	compose := func(version string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:` + version + `
    ports: ["{port}:8080"]
    deploy: {replicas: 2}
    x-ikada: {health: {http: /healthz}, strategy: {monitor: 300ms, parallelism: 0, bake: 3s}}
`)
	}
	compose("v1")
	a.Deploy()
	compose("v2")
	load := StartLoad(t, 4, a.URL("/"), "v1", "v2")
	a.Deploy("--wait", "trial", "--message", "the second").Want(t, exitDone, "way back")
	load.StopClean(t, 10)
	var d api.Deployment
	a.Run("receipt", "--json").Want(t, exitDone).JSON(t, &d)
	if d.Trial != api.TrialVerified && d.Trial != api.TrialUnverified {
		t.Errorf("the trial is %q", d.Trial)
	}
	var steps []string
	for _, s := range d.Steps {
		if !s.Ended {
			t.Errorf("step %s goes on", s.Name)
		}
		steps = append(steps, s.Name)
	}
	for _, want := range []string{api.StepQueue, api.StepStart, api.StepCheck, api.StepRoll, api.StepDrain, api.StepMonitor, api.StepTrial} {
		if !slices.Contains(steps, want) {
			t.Errorf("there is no step %s among %q", want, steps)
		}
	}
	var sum uint64
	for _, one := range d.Receipt.Releases {
		sum += one.Requests
	}
	if d.Receipt.Requests == 0 || sum != d.Receipt.Requests || d.Receipt.Failed != 0 {
		t.Errorf("%d requests, by release %+v", d.Receipt.Requests, d.Receipt.Releases)
	}
	if len(d.Verdicts) != 1 || d.Verdicts[0].Numbers == nil || d.Verdicts[0].Numbers.New.Release != 2 || d.Verdicts[0].Numbers.New.Requests == 0 {
		t.Errorf("verdicts %+v", d.Verdicts)
	}
	if d.Target == nil || d.Replaced == nil || d.Target.Message != "the second" || d.Target.Images["web"] == d.Replaced.Images["web"] {
		t.Errorf("target %+v, replaced %+v", d.Target, d.Replaced)
	}
	if w := d.Receipt.WayBack; w == nil || w.Release != 1 || w.Warm != 2 || w.Until.IsZero() {
		t.Errorf("way back %+v", w)
	}
	signed := a.Run("receipt", "--signed").Want(t, exitDone)
	file := filepath.Join(t.TempDir(), "receipt.json")
	if err := os.WriteFile(file, []byte(signed.Stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Run("receipt", "--verify", file).Want(t, exitDone, "Signed by key", "health check")
}
