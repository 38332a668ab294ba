package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// web writes a Compose file of one service, web, that serves the test app at the published port with two tasks, a
// check and a short watch after each swap. More lines of the service may follow, indented by four spaces.
func (a *App) web(version string, more ...string) {
	a.t.Helper()
	a.Compose(`
services:
  web:
    image: {registry}/app:` + version + `
    ports: ["{port}:8080"]
    deploy: {replicas: 2}
    stop_grace_period: 3s
    x-ikada:
      health: {http: /healthz, interval: 1s, timeout: 10s, retries: 2, start_period: 8s}
      strategy: {monitor: ` + a.Monitor + `, drain: 5s, warm: 0s}
` + strings.Join(more, "\n") + "\n")
}

// unchanged deploys what runs already, at most five times, and gives the least time that it took: what others do on the
// machine only adds to it.
func (a *App) unchanged() time.Duration {
	a.t.Helper()
	best := time.Hour
	for i := 0; i < 5 && best > time.Second; i++ {
		best = min(best, a.Deploy().Want(a.t, exitDone, "Nothing to change", "release 1").Took)
	}
	return best
}

func TestDeployFromDockerfileOnly(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.File("Dockerfile", "FROM {registry}/app:v1\nRUN echo built > /built\nENV VERSION=own PORT={port}\nEXPOSE {port}\n")
	r := a.Deploy("--project", a.Name)
	if !strings.Contains(r.Stderr, "built ikada.local/"+a.Name) {
		t.Errorf("progress does not tell of the build:\n%s", r)
	}
	if got := a.Get("/"); got != "own" {
		t.Errorf("app answers %q", got)
	}
	if got := a.Run("exec", "-a", a.Name, a.Name, "cat", "/built").Want(t, exitDone).Stdout; got != "built\n" {
		t.Errorf("/built holds %q", got)
	}
	a.Run("status", "-a", a.Name).Want(t, exitDone, "ok", "1/1")
}

func TestBuildFromCompose(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.Compose(`
services:
  web:
    build:
      context: .
      dockerfile: Web.Dockerfile
      target: final
      args: {WORD: one}
      secrets: [token]
    ports: ["{port}:8080"]
    x-ikada: {strategy: {monitor: 1s}}
secrets:
  token: {file: token.txt}
`)
	a.File("token.txt", "s3cret")
	a.File(".dockerignore", "ignored\n")
	a.File("ignored", "x")
	a.File("kept", "x")
	a.File("Web.Dockerfile", `FROM {registry}/base AS first
ARG WORD
RUN --mount=type=secret,id=token echo "$WORD $(cat /run/secrets/token | md5sum | cut -c1-6)" > /word
COPY . /context/
FROM {registry}/app:v1 AS final
COPY --from=first /word /word
COPY --from=first /context /context
FROM final AS never
RUN exit 1
`)
	a.Deploy()
	if got := a.Get("/read?path=/word"); !strings.HasPrefix(got, "one ") {
		t.Errorf("/word holds %q", got)
	}
	if got := a.Shell("web", "ls /context"); strings.Contains(got, "ignored\n") || !strings.Contains(got, "kept") {
		t.Errorf("the context holds %q", got)
	}
	if best := a.unchanged(); best > 3*time.Second {
		t.Errorf("a deploy with no change took %s and more", best)
	}
}

func TestBuildFails(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	a.File("Dockerfile", "FROM {registry}/base\nRUN echo the compiler says no && exit 9\n")
	a.Compose("services:\n  web:\n    build: .\n")
	a.Run("deploy").Want(t, exitError, "the compiler says no", "exit code: 9", "services.web.build")
	a.File("Dockerfile", "FROM {registry}/nothing:here\n")
	a.Run("deploy").Want(t, exitError, "nothing:here", "not found")
	if got := a.Status().Release; got != 1 {
		t.Errorf("release %d runs after builds that failed, expected 1", got)
	}
	if got := a.Get("/"); got != "v1" {
		t.Errorf("app answers %q", got)
	}
}

func TestNothingChanged(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	before := a.Tasks("web")
	if best := a.unchanged(); best > 2*time.Second { // a fifth of a second on an idle machine
		t.Errorf("a deploy with no change took %s and more", best)
	}
	var response api.DeployResponse
	a.Deploy("--json").JSON(t, &response)
	if !response.Unchanged || response.Release != 1 || response.Deployment != nil {
		t.Errorf("answer is %+v", response)
	}
	if after := a.Tasks("web"); len(after) != 2 || after[0].ID != before[0].ID || after[1].ID != before[1].ID {
		t.Errorf("tasks were replaced: %v, then %v", before, after)
	}
	a.Deploy("--force").Want(t, exitDone, "release", "1 → 2")
	if after := a.Tasks("web"); after[0].ID == before[0].ID {
		t.Error("--force replaced nothing")
	}
}

func TestFirstDeployFails(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1", `    environment: {CRASH: start}`)
	r := a.Run("deploy").Want(t, exitError, "exited with code 7")
	if strings.Contains(r.Stderr, "interrupted") {
		t.Errorf("unclear output:\n%s", r)
	}
	a.Run("status").Want(t, exitDone, "failed", "exited with code 7")
	a.Run("deployments").Want(t, exitDone, "failed", "exited with code 7")
	// The next deploy mends it.
	a.web("v1")
	a.Deploy()
	if got := a.Get("/"); got != "v1" {
		t.Errorf("app answers %q", got)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1", `    environment: {START_DELAY: 6s}`)
	a.Run("deploy", "--timeout", "3s").Want(t, exitTimeout, "goes on", "ikada watch 1")
	a.Run("watch").Want(t, exitDone, "succeeded")
}
