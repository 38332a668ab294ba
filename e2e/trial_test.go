package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// begun is a command that goes on beside the test.
type begun struct {
	*screen
	cmd   *exec.Cmd
	ended chan struct{}
}

// begin starts a command from the app's directory.
func (a *App) begin(args ...string) *begun {
	a.t.Helper()
	b := &begun{screen: &screen{}, cmd: a.Command(context.Background(), a.Path, args...), ended: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = b.screen, b.screen
	if err := b.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	go func() {
		defer close(b.ended)
		_ = b.cmd.Wait() // its state says how it ended
	}()
	a.t.Cleanup(func() {
		_ = b.cmd.Process.Kill() // no effect when it has ended
		<-b.ended
	})
	return b
}

// says waits until the command has printed a text.
func (b *begun) says(t *testing.T, text string) {
	t.Helper()
	Until(t, patience, func() string {
		if !strings.Contains(b.String(), text) {
			return fmt.Sprintf("%q is not in %q", text, b.String())
		}
		return ""
	})
}

// end waits for the command's end.
func (b *begun) end(t *testing.T) Result {
	t.Helper()
	select {
	case <-b.ended:
	case <-time.After(patience):
		t.Fatalf("%v goes on: %s", b.cmd.Args, b)
	}
	return Result{Args: b.cmd.Args[1:], Stdout: b.String(), Code: b.cmd.ProcessState.ExitCode()}
}

// TestTrialVerified waits for the end of a trial under load, by the command that deployed and by one that came later: both tell
// that the release is verified, by its requests and its user's check. Waits are long, so that those of a busy machine
// hardly count beside them; one that it keeps from being verified even so is followed by another.
func TestTrialVerified(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(version string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:v1
    ports: ["{port}:8080"]
    environment: {VERSION: ` + version + `, DELAY: 150ms}
    x-ikada:
      health: {http: /healthz, timeout: 30s}
      strategy: {monitor: 300ms, parallelism: 0, bake: 12s}
      checks:
        page: {http: {path: /, contains: ` + version + `}, interval: 2s, timeout: 1m}
`)
	}
	const tries = 4
	versions := make([]string, tries+1)
	for i := range versions {
		versions[i] = fmt.Sprintf("v%d", i+1)
	}
	compose(versions[0])
	a.Deploy()
	load := StartLoad(t, 24, a.URL("/"), versions...)
	Until(t, patience, func() string {
		if n := load.Seen(versions[0]); n < 500 {
			return fmt.Sprintf("%d answers", n)
		}
		return ""
	})
	for number := uint64(2); ; number++ {
		compose(versions[number-1])
		deploy := a.begin("deploy", "--wait", "trial")
		deploy.says(t, "on trial until")
		watch := a.Run("watch", strconv.FormatUint(number, 10), "--wait", "trial").Want(t, exitDone, "check web/page: pass")
		r := deploy.end(t).Want(t, exitDone, "succeeded", "check web/page: pass")
		d, err := a.Client(t).Deployment(t.Context(), a.Ref(), number)
		if err != nil {
			t.Fatal(err)
		}
		if d.Trial == api.TrialUnverified && number < tries+1 {
			t.Logf("release %d is unverified: %+v, %+v", number, d.Verdicts, d.Checks)
			continue
		}
		told := fmt.Sprintf("the trial of release %d: verified", number)
		watch.Want(t, exitDone, told)
		r.Want(t, exitDone, told, "web: pass: ")
		if d.State != api.DeploySucceeded || d.Trial != api.TrialVerified || d.Follow != 0 || len(d.Verdicts) != 1 || d.Verdicts[0].Result != api.VerdictPass ||
			len(d.Checks) != 1 || d.Checks[0].Result != api.VerdictPass || d.Checks[0].Failed > 0 {
			t.Errorf("%s, %s: %+v, %+v", d.State, d.Trial, d.Verdicts, d.Checks)
		}
		break
	}
	load.StopClean(t, 100)
}

// TestTrialTakenBack has releases break after they have taken over, under load: whoever deployed, restarted or promoted, and
// whoever watches, is told that the release failed on its trial, by its requests or its user's check, and waits for the way
// back; exit code 3.
func TestTrialTakenBack(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	stagingPort := nextPort()
	compose := func(version, checks string) {
		a.Compose(fmt.Sprintf(`
services:
  web:
    image: {registry}/app:%s
    ports: ["{port}:8080"]
    environment: {DELAY: 50ms}
    x-ikada:
      health: {http: /healthz, timeout: 30s}
      strategy: {monitor: 300ms, parallelism: 0, bake: 10m}
%s
x-ikada: {environments: {staging: {services: {web: {ports: !override ["%d:8080"]}}}}}
`, version, checks, stagingPort))
	}
	compose("v1", "")
	a.Deploy()
	w := watchReplies(t, a.URL("/"), "")
	Until(t, patience, func() string {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.total < 200 {
			return fmt.Sprintf("%d replies", w.total)
		}
		return ""
	})
	number := uint64(2)
	// fails deploys in one way, breaks what is there then, and gives how its deployment stands in the end.
	fails := func(reason string, args ...string) api.Deployment {
		t.Helper()
		deploy := a.begin(append(args, "--wait", "trial")...)
		deploy.says(t, "on trial until")
		watch := a.begin("watch", strconv.FormatUint(number, 10), "--wait", "trial")
		watch.says(t, "on trial until")
		if code, body := get(t, a.URL("/break")); code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
		for _, c := range []*begun{deploy, watch} {
			c.end(t).Want(t, exitRolledBack, ": failed", "was taken back: ", reason, fmt.Sprintf("deployment %d to release %d: succeeded", number+1, a.Status().Release))
		}
		d, err := a.Client(t).Deployment(t.Context(), a.Ref(), number)
		if err != nil {
			t.Fatal(err)
		}
		back, err := a.Client(t).Deployment(t.Context(), a.Ref(), number+1)
		if err != nil {
			t.Fatal(err)
		}
		if d.State != api.DeployRolledBack || d.Trial != api.TrialFailed || d.Follow != number+1 || d.SwappedAt.IsZero() || !strings.Contains(d.Reason, reason) ||
			back.State != api.DeploySucceeded || back.Kind != api.KindRollback || back.To != d.From || a.Status().Release != d.From {
			t.Errorf("%s, %s, %s; then %s to release %d: %s", d.State, d.Trial, d.Reason, back.Kind, back.To, back.State)
		}
		if got := a.Get("/"); got != "v1" {
			t.Errorf("the app answers %q", got)
		}
		w.quiet(t, patience)
		number += 2
		return d
	}
	compose("v2", "")
	fails("requests failed", "deploy")
	if d := fails("requests failed", "restart"); d.To != 3 || d.From != 1 {
		t.Errorf("a restart went from release %d to %d", d.From, d.To)
	}

	// A user's own check says it of a release, where traffic has no say.
	compose("v1", `      checks: {page: {http: /, interval: 1s, timeout: 1m, failures: 2}}`)
	a.Deploy()
	number++
	compose("v3", "")
	a.Deploy("-e", "staging")
	w.end()
	w.ended.Wait()
	d := fails("check web/page: web.1: status 500, not 200 to 399", "promote", "--from", "staging", "--to", "production")
	if len(d.Checks) != 1 || d.Checks[0].InRow < 2 || d.Checks[0].Baseline == nil || d.Checks[0].Baseline.Result != api.VerdictPass {
		t.Errorf("checks %+v", d.Checks)
	}
}
