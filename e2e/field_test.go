package e2e

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// The tests of this file are complaints that users of other deploy tools have filed; docs/field.md has all of them.

// TestOneReplicaNeverRefuses updates, restarts and takes back a service of one task with no check of its own, under
// clients that make a new connection for each request.
func TestOneReplicaNeverRefuses(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(version, more string) {
		a.Compose("services:\n  web:\n    image: {registry}/app:" + version + "\n    ports: [\"{port}:8080\"]\n" + more)
	}
	compose("v1", "")
	a.Deploy()
	load := startLoad(t, 4, &http.Transport{DisableKeepAlives: true}, a.URL("/"), []string{"v1", "v2"})
	compose("v2", "")
	a.Deploy().Want(t, exitDone, "failed        0")
	a.Run("restart").Want(t, exitDone, "succeeded", "failed        0")
	// What Swarm does by default is to stop half way, and to leave it at that.
	compose("v1", "    environment: {CRASH: start}\n    deploy: {update_config: {failure_action: pause}}\n")
	a.Run("deploy").Want(t, exitRolledBack, "pause is taken as rollback", "exited with code 7")
	a.Run("rollback", "1").Want(t, exitDone, "succeeded", "failed        0")
	load.StopClean(t, 20)
	if got := a.Get("/"); got != "v1" {
		t.Errorf("the app answers %q", got)
	}
}

// TestRetiringTaskGetsNoNewRequest keeps an old task alive by a request that takes long: from the switch on it gets no
// new one.
func TestRetiringTaskGetsNoNewRequest(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(version string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:` + version + `
    ports: ["{port}:8080"]
    deploy: {replicas: 2}
    x-ikada: {health: {http: /healthz}, strategy: {type: blue-green, monitor: 300ms, drain: 30s, warm: 0s}}
`)
	}
	compose("v1")
	a.Deploy()
	long := make(chan error, 1)
	go func() {
		code, body, err := ask(a.URL("/stream?n=60&d=100ms"))
		if err == nil && (code != http.StatusOK || strings.Count(body, "v1 ") != 60) {
			err = fmt.Errorf("%d with %d lines of 60", code, strings.Count(body, "v1 "))
		}
		long <- err
	}()
	Until(t, 10*time.Second, func() string { // the long request is at its task
		traffic, err := a.Client(t).Traffic(t.Context(), a.Ref(), api.TrafficQuery{})
		if err != nil {
			return err.Error()
		}
		for _, row := range traffic.Rows {
			if row.InFlight > 0 {
				return ""
			}
		}
		return "nothing is in flight"
	})
	compose("v2")
	a.Run("deploy", "--detach").Want(t, exitDone)
	var seen []string
	Until(t, 60*time.Second, func() string {
		for range 20 { // one after another: each begins when the one before has its answer
			seen = append(seen, a.Get("/"))
		}
		if d := a.Status().Deployment; d == nil || !d.State.Final() {
			return "the deployment ends"
		}
		return ""
	})
	if err := <-long; err != nil {
		t.Errorf("the request that took long: %v", err)
	}
	first := slices.Index(seen, "v2")
	if first < 0 || slices.Contains(seen[first:], "v1") {
		t.Errorf("of %d requests, one after another, number %d was the first that the new release answered, but the old one did later too", len(seen), first)
	}
}

// TestRollbackIsPaced goes back to a release whose tasks have ended: one at a time, as it came.
func TestRollbackIsPaced(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(version string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:` + version + `
    ports: ["{port}:8080"]
    deploy: {replicas: 3}
    x-ikada: {health: {http: /healthz}, strategy: {parallelism: 1, monitor: 300ms, warm: 0s}}
`)
	}
	compose("v1")
	a.Deploy()
	compose("v2")
	a.Deploy()
	load := StartLoad(t, 2, a.URL("/"), "v1", "v2")
	most, least := a.extremes(func() { a.Run("rollback").Want(t, exitDone, "succeeded", "2 → 1") })
	load.StopClean(t, 10)
	if most > 4 || least < 3 {
		t.Errorf("%d tasks lived at once and %d were ready, expected 4 at most and 3 at least", most, least)
	}
}

// trial waits until a deployment's release is no longer on trial.
func (a *App) trial(number uint64) api.Deployment {
	a.t.Helper()
	var d api.Deployment
	Until(a.t, time.Minute, func() string {
		var err error
		if d, err = a.Client(a.t).Deployment(a.t.Context(), a.Ref(), number); err != nil {
			return err.Error()
		}
		if !d.State.Final() || d.Trial == api.TrialOn {
			return fmt.Sprintf("deployment %d is %s, its release %s", number, d.State, d.Trial)
		}
		return ""
	})
	return d
}

// judged writes a Compose file of a service that is judged for some seconds: enough for one that serves only errors to
// be found out, too short for how long answers take, which neighbours on this machine change.
func (a *App) judged(version, env string) {
	a.Compose(`
services:
  web:
    image: {registry}/app:v1
    ports: ["{port}:8080"]
    environment: {VERSION: ` + version + `, ` + env + `}
    x-ikada:
      health: {http: /healthz, interval: 1s, timeout: 10s, retries: 3, start_period: 8s}
      strategy: {monitor: 1s, bake: 3s}
`)
}

// TestNoTrafficIsNoFailure deploys to a service that nobody calls: that is not enough to tell, and no reason to go back.
func TestNoTrafficIsNoFailure(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.judged("v1", `X: "1"`)
	a.Deploy()
	a.judged("v2", `X: "1"`)
	a.Run("deploy").Want(t, exitDone, "succeeded")
	d := a.trial(2)
	if d.State != api.DeploySucceeded || d.Trial == api.TrialFailed {
		t.Errorf("a release without requests: %s, %s: %s", d.State, d.Trial, d.Reason)
	}
	if len(d.Verdicts) != 1 || d.Verdicts[0].Result == api.VerdictFail || d.Verdicts[0].Reason == "" {
		t.Errorf("its verdicts are %+v", d.Verdicts)
	}
	a.Run("receipt", "2").Want(t, exitDone, d.Verdicts[0].Result, d.Verdicts[0].Reason)
	if got := a.Get("/"); got != "v2" {
		t.Errorf("the app answers %q", got)
	}
}

// TestFixIsNeverHeldUp has a broken release in production, whose alarms would all ring: one that is as bad is let
// through, and so is the fix.
func TestFixIsNeverHeldUp(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.judged("broken", `FAIL: "100"`)
	a.Deploy() // nothing is there to compare it with
	w := watchReplies(t, a.URL("/"), "")
	Until(t, 30*time.Second, func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.bad < 300 {
			return fmt.Sprintf("%d bad replies", w.bad)
		}
		return ""
	})
	for number, c := range []struct{ version, env string }{{"as-bad", `FAIL: "100"`}, {"fixed", `X: "1"`}} {
		a.judged(c.version, c.env)
		a.Run("deploy").Want(t, exitDone, "succeeded")
		if d := a.trial(uint64(number + 2)); d.State != api.DeploySucceeded || d.Trial == api.TrialFailed {
			t.Errorf("%s: %s, %s: %s", c.version, d.State, d.Trial, d.Reason)
		}
	}
	w.end()
	w.ended.Wait()
	if got := a.Get("/"); got != "fixed" {
		t.Errorf("the app answers %q", got)
	}
}

// TestStagingTakesNothingFromProduction cleans up after staging, whose images are production's: the way back in
// production is still there. A build of staging that hangs meanwhile holds nobody up.
func TestStagingTakesNothingFromProduction(t *testing.T) {
	t.Parallel()
	n := NewNode(t).WithImages(t)
	a := n.App(t)
	stagingPort := nextPort()
	build := func(version string) {
		a.Compose(fmt.Sprintf(`
services:
  web:
    build: .
    ports: ["{port}:8080"]
    x-ikada: {health: {http: /healthz}, strategy: {monitor: 300ms, warm: 0s}}
x-ikada: {environments: {staging: {services: {web: {ports: !override ["%d:8080"]}}}}}
`, stagingPort))
		a.File("Dockerfile", "FROM {registry}/app:v1\nENV VERSION="+version+"\n")
	}
	for _, version := range []string{"one", "two"} {
		build(version)
		a.Deploy("-e", "staging")
		a.Run("promote", "--from", "staging", "--to", "production").Want(t, exitDone, "succeeded")
	}
	a.Run("env", "rm", "staging", "--yes", "--volumes").Want(t, exitDone, "is gone")
	a.Run("prune", "--all", "--unused-for", "0s").Want(t, exitDone)
	compose, err := os.ReadFile(a.Path + "/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a.Run("rollback").Want(t, exitDone, "2 → 1")
	if got := a.Get("/"); got != "one" {
		t.Errorf("after the rollback the app answers %q", got)
	}

	a.File("Dockerfile", "FROM {registry}/app:v1\nRUN sleep 613\n")
	hung := n.Command(t.Context(), a.Path, "deploy", "-e", "staging")
	if err := hung.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = hung.Wait() // it is killed
		close(ended)
	}()
	Until(t, 30*time.Second, func() string {
		if strings.Contains(processes(t), "sleep 613") {
			return ""
		}
		return "staging's build runs"
	})
	a.Path = t.TempDir()
	a.File("compose.yaml", string(compose))
	a.File("Dockerfile", "FROM {registry}/app:v1\nENV VERSION=three\n")
	a.Deploy()
	if got := a.Get("/"); got != "three" {
		t.Errorf("the app answers %q", got)
	}
	select {
	case <-ended:
		t.Error("staging's build ended while production was deployed: nothing is shown")
	default:
	}
	_ = hung.Process.Kill() // its end ends the build
	<-ended
}

// processes gives the command lines of all processes of this machine.
func processes(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, e := range entries {
		if line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil { // it may have ended by now
			out.WriteString(strings.ReplaceAll(string(line), "\x00", " ") + "\n")
		}
	}
	return out.String()
}
