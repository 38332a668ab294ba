package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

// TestOwnChecks has releases that pass their health check and answer every request taken back by their users' checks, one
// of each kind, with the reason. A Prometheus that is down fails nothing.
func TestOwnChecks(t *testing.T) {
	t.Parallel()
	a := shared.App(t)
	compose := func(version, checks string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:v1
    ports: ["{port}:8080"]
    environment: {VERSION: "` + version + `"}
    stop_grace_period: 1s
    x-ikada:
      health: {http: /healthz}
      strategy: {monitor: 300ms, drain: 1s}
      checks:
        down: {promql: 'up', max: 0, prometheus: "http://127.0.0.1:1", interval: 1s, failures: 1}
` + checks)
	}
	const (
		page    = `        page: {http: {path: /, contains: good}, interval: 1s, failures: 2, required: true}`
		command = `        smoke: {command: [sh, -c, 'wget -qO- http://web:8080/ | grep good || { echo >&2 "release $$IKADA_RELEASE is not good"; exit 3; }'], interval: 1s, failures: 2, required: true}`
		query   = `        size:
          promql: |
            sum(rate(ikada_sent_bytes_total{service="{{.Service}}",release="{{.Release}}"}[10s]))
              / sum(rate(ikada_requests_total{service="{{.Service}}",release="{{.Release}}"}[10s]))
          max: 1000
          interval: 1s
          initial_delay: 6s
          failures: 2
          required: true`
	)
	compose("good", strings.Join([]string{page, command}, "\n"))
	a.Deploy()
	release := uint64(1)
	for _, c := range []struct{ name, bad, check, reason string }{
		{"http", "fine", page, `check web/page: web.1: status 200, but the answer does not contain "good" twice in a row (GET /)`},
		{"command", "fine", command, "check web/smoke: exited with code 3"},
		{"promql", "good" + strings.Repeat("x", 2000), query, "> 1000 twice in a row"},
	} {
		load := StartLoad(t, 4, a.URL("/"), "good", c.bad)
		compose(c.bad, c.check)
		r := a.Run("deploy").Want(t, exitRolledBack, "was taken back")
		release++
		load.StopClean(t, 10)
		d := a.Status().Deployment
		if d == nil || d.To != release || d.State != api.DeployRolledBack || !strings.Contains(d.Reason, c.reason) {
			t.Fatalf("%s: %+v\n%s", c.name, d, r)
		}
		if c.name == "command" && !strings.Contains(d.Reason, "is not good") {
			t.Errorf("the reason lacks the output: %s", d.Reason)
		}
		for _, result := range d.Checks {
			if result.Name == "down" && (result.Result != api.VerdictInsufficient || result.Failed != 0 || result.InRow != 0 || !strings.Contains(result.Reason, "refused")) {
				t.Errorf("%s: a Prometheus that is down: %+v", c.name, result)
			}
		}
		if got := a.Get("/"); got != "good" {
			t.Errorf("%s: the app answers %q", c.name, got)
		}
	}
	a.Run("receipt").Want(t, exitDone, "check", "web/size", "taken back")
	a.Run("checks").Want(t, exitDone, "web/size", "promql", "fail", "1000", "web/down", "insufficient", "refused")

	// All of them let a good one through.
	load := StartLoad(t, 4, a.URL("/"), "good", "good too")
	compose("good too", strings.Join([]string{page, command, query}, "\n"))
	a.Deploy()
	load.StopClean(t, 10)
	d := a.Status().Deployment
	for _, result := range d.Checks {
		if want := result.Name != "down"; want != (result.Result == api.VerdictPass) {
			t.Errorf("%+v", result)
		}
	}

	// One that is as bad as the release before is let through.
	compose("plain", "")
	a.Deploy()
	compose("plain too", page)
	a.Deploy()
	for _, result := range a.Status().Deployment.Checks {
		if result.Name == "page" && (result.Result != api.VerdictFail || !result.Excused || result.Baseline == nil || result.Baseline.Result != api.VerdictFail) {
			t.Errorf("%+v", result)
		}
	}

	req, err := http.NewRequest(http.MethodGet, "http://"+a.Node.Listen+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Node.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v\n%s", resp.Status, err, text)
	}
	for _, line := range []string{
		`ikada_tasks_ready{app="` + a.Name + `",env="production",service="web"} 1`,
		`ikada_deployments_total{app="` + a.Name + `",env="production",kind="deploy",outcome="rolled back"} 3`,
		`ikada_requests_total{app="` + a.Name + `",env="production",service="web",release="1",code="2xx"} `,
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("the page lacks %s", line)
		}
	}
}
