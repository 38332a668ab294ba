package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// images gives the pinned image of web in every kept release.
func (a *App) images() map[uint64]string {
	a.t.Helper()
	var releases []api.Release
	a.Run("releases", "--json").Want(a.t, exitDone).JSON(a.t, &releases)
	out := map[uint64]string{}
	for _, r := range releases {
		out[r.Number] = r.Spec.Services["web"].Image
	}
	return out
}

func TestRollbackRebuildsNothing(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	build := func(version string) {
		a.Compose(`
services:
  web:
    build: .
    ports: ["{port}:8080"]
    x-ikada: {strategy: {monitor: 300ms}, health: {http: /healthz}}
`)
		a.File("Dockerfile", "FROM {registry}/app:v1\nENV VERSION="+version+"\n")
		a.Deploy("--message", "release "+version)
	}
	build("one")
	build("two")
	build("three")
	before := a.images()
	// Without sources: what is not needed cannot be built.
	if err := os.RemoveAll(a.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(a.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	load := StartLoad(t, 2, a.URL("/"), "one", "two", "three")
	r := a.Run("rollback", "-a", a.Name).Want(t, exitDone, "3 → 2", "succeeded")
	if strings.Contains(r.Stderr, "build") {
		t.Errorf("the rollback built something:\n%s", r)
	}
	if got := a.Get("/"); got != "two" {
		t.Errorf("after the rollback the app answers %q", got)
	}
	a.Run("rollback", "1", "-a", a.Name).Want(t, exitDone, "2 → 1")
	if got := a.Get("/"); got != "one" {
		t.Errorf("after the second rollback the app answers %q", got)
	}
	load.StopClean(t, 20)
	a.Run("rollback", "99", "-a", a.Name).Want(t, exitError, "kept release", "1, 2, 3")
	a.Run("rollback", "one", "-a", a.Name).Want(t, exitUsage, "expected a number")
	a.File("compose.yaml", "name: {name}\nservices: {web: {image: x}}\n")
	for n, image := range a.images() {
		if before[n] != image || !strings.Contains(image, "@sha256:") {
			t.Errorf("release %d has the image %s, and had %s", n, image, before[n])
		}
	}
	a.Run("releases").Want(t, exitDone, "release three")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	load := StartLoad(t, 2, a.URL("/"), "v1", "v2")
	a.web("v2", `    environment: {START_DELAY: 60s}`)
	a.Run("deploy", "--detach").Want(t, exitDone, "ikada watch 2")
	a.Run("cancel").Want(t, exitDone, "goes back to release 1")
	a.Run("watch", "2").Want(t, exitCancelled, "cancelled", "root")
	load.StopClean(t, 10)
	a.Run("cancel").Want(t, exitError)
	if s := a.Status(); s.Release != 1 || s.State != api.HealthOK {
		t.Errorf("status is %s, release %d", s.State, s.Release)
	}
}

func TestNewestSupersedesQueued(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.Monitor = "4s" // the first one runs long enough for two more to be asked for
	a.web("v1", `    environment: {START_DELAY: 6s}`)
	a.Run("deploy", "--detach").Want(t, exitDone)
	a.Monitor = "1s"
	a.web("v2")
	a.Run("deploy", "--detach").Want(t, exitDone)
	queued := make(chan Result, 1)
	go func() { queued <- a.Run("watch", "2") }()
	a.web("v3")
	a.Run("deploy").Want(t, exitDone, "succeeded")
	(<-queued).Want(t, exitCancelled, "superseded", "deployment 3")
	if got := a.Get("/"); got != "v3" {
		t.Errorf("app answers %q", got)
	}
	var list []api.Deployment
	a.Run("deployments", "--json").Want(t, exitDone).JSON(t, &list)
	if len(list) != 3 || list[1].State != api.DeploySuperseded || list[2].State != api.DeploySucceeded {
		t.Errorf("deployments are %+v", list)
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	load := StartLoad(t, 2, a.URL("/slow?d=50ms"), "v1", "v2")
	to := func(arg string, want int) {
		t.Helper()
		a.Run("scale", arg).Want(t, exitDone)
		Until(t, 20*time.Second, func() string {
			s := a.Status().Services[0]
			if s.Ready == want && s.Want == want && s.Live == want {
				return ""
			}
			return fmt.Sprintf("%d of %d ready, %d live", s.Ready, s.Want, s.Live)
		})
	}
	to("web=4", 4)
	a.Run("status").Want(t, exitDone, "4/4 by hand")
	a.web("v2")
	a.Deploy()
	if got := len(a.Tasks("web")); got != 4 {
		t.Errorf("a deploy left %d tasks of the 4 asked for by hand", got)
	}
	to("web=1", 1)
	to("web=auto", 2)
	load.StopClean(t, 10)
	to("web=0", 0)
	to("web=2", 2)
	if got := a.Get("/"); got != "v2" {
		t.Errorf("app answers %q", got)
	}
	a.Run("scale", "nothing=2").Want(t, exitError, "nothing", "web")
	a.Run("scale", "web=many").Want(t, exitUsage, "web=many")
	a.Run("scale", "web=-3").Want(t, exitUsage, "web=-3")
}

func TestDownStartRestart(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	first := a.Tasks("web")
	load := StartLoad(t, 2, a.URL("/"), "v1")
	a.Run("restart").Want(t, exitDone, "succeeded")
	load.StopClean(t, 10)
	if second := a.Tasks("web"); len(second) != 2 || second[0].ID == first[0].ID || second[1].ID == first[1].ID {
		t.Errorf("restart left tasks: %d", len(second))
	}
	a.Run("down").Want(t, exitDone, "ikada start")
	Until(t, 20*time.Second, func() string {
		if n := len(a.Tasks("")); n > 0 {
			return fmt.Sprintf("%d tasks", n)
		}
		return ""
	})
	a.Run("status").Want(t, exitDone, "stopped")
	a.Run("start").Want(t, exitDone)
	Until(t, 20*time.Second, func() string {
		if s := a.Status(); s.State != api.HealthOK {
			return "status " + s.State
		}
		return ""
	})
	if got := a.Get("/"); got != "v1" {
		t.Errorf("app answers %q", got)
	}
}

func TestDestroy(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func() {
		a.Compose(`
services:
  web:
    image: {registry}/app:v1
    ports: ["{port}:8080"]
    volumes: ["data:/var/data"]
    x-ikada: {strategy: {monitor: 300ms}}
volumes: {data: {}}
`)
	}
	compose()
	a.Deploy()
	a.Shell("web", "echo kept > /var/data/file")
	a.Run("destroy").Want(t, exitUsage, "--yes")
	a.Run("destroy", "-y").Want(t, exitDone, "is gone")
	a.Run("status").Want(t, exitError, a.Name)
	compose()
	a.Deploy()
	if got := a.Shell("web", "cat /var/data/file"); got != "kept" {
		t.Errorf("the volume holds %q after destroy without --volumes", got)
	}
	a.Run("destroy", "-y", "--volumes").Want(t, exitDone)
	a.Deploy()
	if got := a.Shell("web", "ls /var/data"); got != "" {
		t.Errorf("the volume holds %q after destroy --volumes", got)
	}
}
