package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
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

// TestOwnChecksOutliveIkada kills ikada while a check's command runs, twice, and between two questions over HTTP: the command
// goes on, runs once at a time and is not left running, failures are counted on where they were, and each deployment ends
// as it should. No request fails meanwhile.
func TestOwnChecksOutliveIkada(t *testing.T) {
	t.Parallel()
	n := NewNode(t).WithImages(t)
	a := n.App(t)
	compose := func(version, checks string) {
		a.Compose(`
services:
  web:
    image: {registry}/app:v1
    ports: ["{port}:8080"]
    environment: {VERSION: ` + version + `}
    volumes: ["data:/data"]
    stop_grace_period: 1s
    x-ikada:
      health: {http: /healthz}
      strategy: {order: start-first, monitor: 300ms, drain: 1s}
` + checks + `
volumes: {data: {}}
`)
	}
	// Of the first release it passes at once, else it fails when it is told to end.
	const command = `      checks:
        smoke:
          command:
            - sh
            - -c
            - |
              log=/data/$$IKADA_RELEASE
              mkdir $$log.busy || echo beside >>$$log
              echo begun >>$$log
              while [ $$IKADA_RELEASE != 1 ] && ! rm $$log.go; do sleep 0.1; done 2>/dev/null
              echo over >>$$log
              rmdir $$log.busy
              [ $$IKADA_RELEASE = 1 ]
          interval: 1s
          timeout: 5m
          failures: 2
          required: true`
	running := func(release uint64, times int) string {
		list := slices.DeleteFunc(a.jobs().Jobs, func(j api.Job) bool { return j.Kind != api.JobCheck || j.Release != release })
		live := slices.IndexFunc(list, func(j api.Job) bool { return j.State == api.JobRunning })
		if len(list) != times || live < 0 {
			return fmt.Sprintf("of %d runs of the command %d is the one that goes on, of %d", len(list), live, times)
		}
		return ""
	}
	restart := func() {
		n.Kill(t)
		n.Start(t)
	}
	check := func() api.CheckResult {
		d := a.Status().Deployment
		if d == nil || len(d.Checks) != 1 {
			return api.CheckResult{}
		}
		return d.Checks[0]
	}

	compose("good", "")
	a.Deploy()
	load := StartLoad(t, 2, a.URL("/"), "good", "bad")
	compose("bad", command)
	a.Run("deploy", "--detach").Want(t, exitDone)
	for i := range 2 {
		Until(t, patience, func() string { return running(2, i+1) })
		restart()
		Until(t, patience, func() string { return running(2, i+1) })
		a.Shell("web", "touch /data/2.go")
	}
	a.Run("watch").Want(t, exitRolledBack, "check web/smoke: exited with code 1", "twice in a row")
	if r := check(); r.Failed != 2 || r.InRow != 2 || r.Passed+r.Unknown > 0 || r.Baseline == nil || r.Baseline.Result != api.VerdictPass {
		t.Errorf("the command failed twice, and it passed on the release before: %+v", r)
	}
	if got := a.Shell("web", "cat /data/2"); got != "begun\nover\nbegun\nover" {
		t.Errorf("the command wrote %q", got)
	}

	// A deployment that is cancelled right after a restart leaves none behind.
	a.Run("deploy", "--detach").Want(t, exitDone)
	Until(t, patience, func() string { return running(3, 1) })
	restart()
	a.Run("cancel").Want(t, exitDone)
	a.Run("watch").Want(t, exitCancelled)
	Until(t, patience, func() string {
		for _, j := range a.jobs().Jobs {
			if !j.State.Final() {
				return fmt.Sprintf("%s of release %d is %s", j.Title(), j.Release, j.State)
			}
		}
		for _, task := range a.tasks(true) {
			if task.Job != nil && !task.State().Final() {
				return fmt.Sprintf("%s of release %d is %s", task.Name(), task.Release, task.State())
			}
		}
		return ""
	})
	if got := a.Shell("web", "cat /data/3"); got != "begun" {
		t.Errorf("the command wrote %q", got)
	}

	compose("bad", `      checks:
        page: {http: {path: /, contains: good}, interval: 2s, timeout: 30s, failures: 3, required: true}`)
	a.Run("deploy", "--detach").Want(t, exitDone)
	Until(t, patience, func() string {
		if r := check(); r.Name != "page" || r.Failed == 0 {
			return fmt.Sprintf("the page was not asked: %+v", r)
		}
		return ""
	})
	restart()
	a.Run("watch").Want(t, exitRolledBack, `check web/page: web.1: status 200, but the answer does not contain "good" three times in a row`)
	if r := check(); r.Failed != 3 || r.InRow != 3 || r.Passed+r.Unknown > 0 {
		t.Errorf("the page failed three times: %+v", r)
	}
	load.StopClean(t, 10)
	if got := a.Get("/"); got != "good" {
		t.Errorf("the app answers %q", got)
	}
}
