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
		reason  string
		swapped bool // the old tasks have gone when it breaks
	}{
		{"crashes at its start", `    environment: {CRASH: start}`, "exited with code 7", false},
		{"fails its check", `    environment: {UNHEALTHY: "1"}`, "500", false},
		{"runs out of memory", "    environment: {LEAK: \"300\"}\n    mem_limit: 48m", "memory", false},
		{"crashes after it was ready", `    environment: {CRASH: 2s}`, "exited with code 7", true},
		{"has no such command", `    command: [/no/such/program]`, "/no/such/program", false},
		{"listens elsewhere", `    environment: {PORT: "9999"}`, "connection refused; it listens on port 9999", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := shared.App(t)
			a.web("v1")
			a.Deploy()
			before := a.Tasks("web")
			load := StartLoad(t, 2, a.URL("/"), "v1", "v2")
			a.Monitor = "4s"
			a.web("v2", c.more)
			a.Run("deploy").Want(t, exitRolledBack, "release 2 was taken back", c.reason)
			load.StopClean(t, 20)
			a.Run("status").Want(t, exitDone, "rolled back", c.reason, "release 1")
			a.Run("deployments").Want(t, exitDone, "rolled back", c.reason)
			events := a.Run("events").Want(t, exitDone, c.reason).Stdout
			if rejected, back := strings.Index(events, "rejected"), strings.Index(events, "rolled back"); rejected < 0 || back < rejected {
				t.Errorf("the events tell in the wrong order\n%s", events)
			}
			a.Run("receipt").Want(t, exitDone, "taken back to 1", c.reason)
			s := a.Status()
			if s.State != api.HealthOK || s.Release != 1 || s.Deployment.State != api.DeployRolledBack {
				t.Errorf("status is %s, release %d, deployment %s", s.State, s.Release, s.Deployment.State)
			}
			if after := a.Tasks("web"); !c.swapped && (len(after) != 2 || after[0].ID != before[0].ID) {
				t.Errorf("the old release's tasks were touched: %d tasks now", len(after))
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

func TestReleaseWithAPortInUseIsTakenBack(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	a.web("v1")
	a.Deploy()
	taken := nextPort()
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", taken))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	load := StartLoad(t, 2, a.URL("/"), "v1", "v2")
	a.Compose(fmt.Sprintf("services:\n  web:\n    image: {registry}/app:v2\n    ports: [\"{port}:8080\", \"%d:8080\"]\n", taken))
	a.Run("deploy").Want(t, exitRolledBack, fmt.Sprint(taken), "in use")
	load.StopClean(t, 1)
	if got := a.Get("/"); got != "v1" {
		t.Errorf("app answers %q", got)
	}
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
