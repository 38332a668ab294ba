package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

// Every kind of broken release is taken back: exit code 3, the reason wherever one looks, and the old release serves
// throughout.
func TestBrokenReleaseIsTakenBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		more    string // lines of the service
		version string
		reason  string
	}{
		{"crashes at its start", `    environment: {CRASH: start}`, "v2", "exited with code 7"},
		{"fails its check", `    environment: {UNHEALTHY: "1"}`, "v2", "500"},
		{"runs out of memory", "    environment: {LEAK: \"300\"}\n    mem_limit: 48m", "v2", "memory"},
		{"crashes after it was ready", `    environment: {CRASH: 1s}`, "v2", "exited with code 7"},
		{"has no such command", `    command: [/no/such/program]`, "v2", "/no/such/program"},
		{"listens elsewhere", `    environment: {PORT: "9999"}`, "v2", "8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := shared.App(t)
			a.web("v1")
			a.Deploy()
			before := a.Tasks("web")
			load := StartLoad(t, 2, a.URL("/"), "v1", "v2")
			a.web(c.version, c.more)
			a.Run("deploy").Want(t, exitRolledBack, "release 2 was taken back", c.reason)
			load.StopClean(t, 20)
			a.Run("status").Want(t, exitDone, "rolled back", c.reason, "release 1")
			a.Run("deployments").Want(t, exitDone, "rolled back", c.reason)
			a.Run("events").Want(t, exitDone, c.reason)
			a.Run("receipt").Want(t, exitDone, "taken back to 1", c.reason)
			s := a.Status()
			if s.State != api.HealthOK || s.Release != 1 || s.Deployment.State != api.DeployRolledBack {
				t.Errorf("status is %s, release %d, deployment %s", s.State, s.Release, s.Deployment.State)
			}
			if after := a.Tasks("web"); len(after) != 2 || after[0].ID != before[0].ID {
				t.Errorf("the old release's tasks were touched: %d of them now", len(after))
			}
			if got := a.Get("/"); got != "v1" {
				t.Errorf("app answers %q", got)
			}
		})
	}
}

func TestImageThatCannotBePulled(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	a.web("never-pushed")
	a.Run("deploy").Want(t, exitError, "services.web.image", "never-pushed", "not found")
	a.Compose("services:\n  web:\n    image: 127.0.0.1:9/nobody/listens:v1\n")
	a.Run("deploy").Want(t, exitError, "services.web.image", "127.0.0.1:9")
	if s := a.Status(); s.State != api.HealthOK || s.Release != 1 {
		t.Errorf("status is %s, release %d", s.State, s.Release)
	}
}

func TestPublishedPortInUse(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", a.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a.web("v1")
	r := a.Run("deploy", "--timeout", "20s")
	if r.Code == exitDone {
		t.Fatalf("a deploy to a port in use succeeded\n%s", r)
	}
	if !strings.Contains(r.Stderr, fmt.Sprint(a.Port)) || !strings.Contains(r.Stderr, "in use") {
		t.Errorf("the port is not named\n%s", r)
	}
	a.Run("status").Want(t, exitDone, fmt.Sprint(a.Port), "in use")
}

func TestTwoAppsOnOnePort(t *testing.T) {
	t.Parallel()
	a, b := shared.App(t), shared.App(t)
	b.Port = a.Port
	a.web("v1")
	a.Deploy()
	b.web("v2")
	r := b.Run("deploy", "--timeout", "20s")
	if r.Code == exitDone || !strings.Contains(r.Stderr, fmt.Sprint(a.Port)) || !strings.Contains(r.Stderr, a.Name) {
		t.Errorf("expected an error that names the port and its owner\n%s", r)
	}
	if got := a.Get("/"); got != "v1" {
		t.Errorf("the first app answers %q", got)
	}
}
