package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

const imageApp = "services: {web: {image: nginx, ports: [\"8080:80\"], annotations: {a: b}}}\n"

// deployment is one in a state, with a rollout of web.
func deployment(state api.DeploymentState, r api.Rollout, change ...func(*api.Deployment)) api.Deployment {
	r.Service = "web"
	d := api.Deployment{EnvRef: shop, Number: 7, From: 3, To: 4, State: state, Rollouts: []api.Rollout{r}}
	for _, c := range change {
		c(&d)
	}
	return d
}

func response(d api.Deployment) api.DeployResponse {
	return api.DeployResponse{Release: d.To, Deployment: &d}
}

func TestDeploy(t *testing.T) {
	rolling := deployment(api.DeployRunning, api.Rollout{State: api.RolloutRolling, Want: 3, New: 2, Ready: 1, Old: 2})
	backwards := deployment(api.DeployRunning, api.Rollout{State: api.RolloutRolling, Want: 3, New: 1, Old: 3, Failed: 1},
		func(d *api.Deployment) { d.Backwards, d.Reason = true, "web.1 exited with code 1" })
	receipt := func(d *api.Deployment) {
		d.Receipt = api.Receipt{Requests: 999, LongestWait: api.Duration(12 * time.Millisecond), Swap: api.Duration(1500 * time.Millisecond), Took: api.Duration(2 * time.Second)}
	}
	reason := func(d *api.Deployment) { d.Reason = "web.1 exited with code 1" }
	done := api.Rollout{State: api.RolloutDone, Want: 3, New: 3, Ready: 3}
	// The worker is up between two crashes when the deployment ends.
	ailing := func(r api.Rollout) func(*api.Deployment) {
		return func(d *api.Deployment) {
			r.Service, d.Ailing = "worker", []api.Ailment{{Service: "worker", Reason: "exited with code 1 (7 times)"}}
			d.Rollouts = append(d.Rollouts, r)
		}
	}
	left := ailing(api.Rollout{State: api.RolloutLeft, Want: 1, New: 1, Failed: 2, Reason: "was failing before this deployment began: exited with code 1 (7 times)"})
	up := ailing(api.Rollout{State: api.RolloutDone, Want: 1, New: 1, Ready: 1, Failed: 3})
	var transcript strings.Builder
	for _, c := range []struct {
		name  string
		args  []string
		reply any
		watch []any
		code  int
	}{
		{"done", nil, response(rolling), []any{rolling, rolling, deployment(api.DeploySucceeded, done, receipt)}, ExitDone},
		{"json", []string{"--json"}, response(rolling), []any{rolling, deployment(api.DeploySucceeded, done, receipt)}, ExitDone},
		{"unchanged", nil, api.DeployResponse{Unchanged: true, Release: 4, Warnings: []string{"nginx has no digest upstream"}}, nil, ExitDone},
		{"detached", []string{"--detach", "-m", "by night"}, response(rolling), nil, ExitDone},
		{"taken back", nil, response(rolling), []any{rolling, backwards, deployment(api.DeployRolledBack, api.Rollout{State: api.RolloutDone, Want: 3, Old: 3}, receipt, reason)}, ExitRolledBack},
		{"beside one that was failing before", nil, response(rolling), []any{
			deployment(api.DeployRunning, api.Rollout{State: api.RolloutRolling, Want: 3, New: 2, Ready: 1, Old: 2}, left),
			deployment(api.DeploySucceeded, done, up, receipt)}, ExitDone},
		{"cancelled", nil, response(rolling), []any{deployment(api.DeployCancelled, done, reason)}, ExitCancelled},
		{"superseded", nil, response(rolling), []any{deployment(api.DeploySuperseded, done, reason)}, ExitCancelled},
		{"failed", nil, response(rolling), []any{deployment(api.DeployFailed, done, reason)}, ExitError},
		{"refused", nil, &api.Error{Kind: api.Conflict, Message: "shop/production is being destroyed"}, nil, ExitError},
	} {
		f := newFake(t)
		f.on("POST /apps/shop/envs/production/deployments", c.reply)
		f.stream("GET /apps/shop/envs/production/deployments/7/watch", false, c.watch...)
		dir := directory(t, "shop", map[string]string{"compose.yaml": imageApp})
		args := append([]string{"deploy"}, c.args...)
		r := f.ikada(t.Context(), dir, "", args...)
		transcript.WriteString("# " + c.name + "\n")
		record(&transcript, args, r)
		if r.code != c.code {
			t.Errorf("%s: exit %d, wanted %d", c.name, r.code, c.code)
		}
		var request api.DeployRequest
		_, body, _ := strings.Cut(f.requests()[0], "{")
		if err := json.Unmarshal([]byte("{"+body), &request); err != nil || request.Spec.Services["web"].Image != "nginx" || request.Spec.App != "shop" {
			t.Errorf("%s: asked for %+v (%v)", c.name, request, err)
		}
	}
	golden(t, "testdata/deploy.golden", transcript.String())
}

func TestRollback(t *testing.T) {
	f := newFake(t)
	last := deployment(api.DeploySucceeded, api.Rollout{}, func(d *api.Deployment) { d.Kind, d.From, d.To = api.KindRollback, 4, 3 })
	f.on("POST /apps/shop/envs/production/rollback", response(last))
	f.stream("GET /apps/shop/envs/production/deployments/7/watch", false, last)
	r := f.ikada(t.Context(), "", "", "rollback", "3", "-a", "shop")
	if r.code != 0 || !strings.Contains(r.out, "4 → 3") || f.requests()[0] != `POST /apps/shop/envs/production/rollback {"release":3}` {
		t.Errorf("exit %d\n%s%s%v", r.code, r.out, r.err, f.requests())
	}
}

// With --wait trial the exit code is the trial's.
func TestDeployWaitsForTheTrial(t *testing.T) {
	rolling := deployment(api.DeployRunning, api.Rollout{State: api.RolloutRolling, Want: 1})
	done := func(change ...func(*api.Deployment)) api.Deployment {
		return deployment(api.DeploySucceeded, api.Rollout{State: api.RolloutDone, Want: 1, New: 1, Ready: 1}, append([]func(*api.Deployment){func(d *api.Deployment) {
			d.Trial, d.BakedAt = api.TrialOn, noon.Add(10*time.Minute)
		}}, change...)...)
	}
	says := func(result, reason string) func(*api.Deployment) {
		return func(d *api.Deployment) {
			d.Verdicts = []api.Verdict{{Service: "web", Result: result, Reason: reason}}
		}
	}
	trial := func(trial api.Trial) func(*api.Deployment) { return func(d *api.Deployment) { d.Trial = trial } }
	back := func(d *api.Deployment) {
		d.State, d.Reason, d.Follow = api.DeployRolledBack, "web: 19 % of 1,200 requests failed", 8
	}
	way := func(state api.DeploymentState) api.Deployment {
		return api.Deployment{EnvRef: shop, Number: 8, Kind: api.KindRollback, From: 4, To: 3, State: state, Reason: "web: 19 % of 1,200 requests failed"}
	}
	few, pass := says(api.VerdictInsufficient, "no requests"), says(api.VerdictPass, "0 % of 900 requests failed")
	fail := says(api.VerdictFail, "19 % of 1,200 requests failed")
	check := func(result, reason string, inRow int) func(*api.Deployment) {
		return func(d *api.Deployment) {
			d.Checks = []api.CheckResult{{Owner: "web", Name: "login", Kind: api.CheckHTTP, Asked: "GET /login", Result: result, Reason: reason, InRow: inRow, Limit: 3}}
		}
	}
	good, bad := check(api.VerdictPass, "web.1: status 200 after 3ms", 0), check(api.VerdictFail, "web.1: status 500, not 200 to 399", 3)
	var transcript strings.Builder
	for _, c := range []struct {
		name string
		then []any
		back api.DeploymentState
		code int
	}{
		{"verified", []any{done(few), done(few), done(pass), done(pass, trial(api.TrialVerified))}, "", ExitDone},
		{"unverified", []any{done(few), done(few, trial(api.TrialUnverified))}, "", ExitDone},
		{"not judged", []any{done(trial(""))}, "", ExitDone},
		{"taken back", []any{done(pass), done(fail, trial(api.TrialFailed), back)}, api.DeploySucceeded, ExitRolledBack},
		{"no way back", []any{done(pass), done(fail, trial(api.TrialFailed))}, "", ExitError},
		{"a check fails, and there is no way back", []any{done(pass, good), done(pass, bad, trial(api.TrialFailed))}, "", ExitError},
		{"way back fails", []any{done(pass), done(fail, trial(api.TrialFailed), back)}, api.DeployFailed, ExitError},
		{"another came", []any{done(pass), done(pass, trial(api.TrialEnded))}, "", ExitCancelled},
	} {
		f := newFake(t)
		f.on("POST /apps/shop/envs/production/deployments", response(rolling))
		f.stream("GET /apps/shop/envs/production/deployments/7/watch", false, append([]any{rolling}, c.then...)...)
		f.stream("GET /apps/shop/envs/production/deployments/8/watch", false, way(api.DeployRunning), way(c.back))
		dir := directory(t, "shop", map[string]string{"compose.yaml": "services: {web: {image: nginx}}\n"})
		args := []string{"deploy", "--wait", "trial"}
		r := f.ikada(t.Context(), dir, "", args...)
		transcript.WriteString("# " + c.name + "\n")
		record(&transcript, args, r)
		if r.code != c.code {
			t.Errorf("%s: exit %d, wanted %d: %s", c.name, r.code, c.code, r.err)
		}
		if watch := f.requests()[1]; watch != "GET /apps/shop/envs/production/deployments/7/watch?until=trial" {
			t.Errorf("%s: %s", c.name, watch)
		}
	}
	golden(t, "testdata/trial.golden", transcript.String())
}

// Ctrl-C leaves a trial alone too.
func TestInterruptedTrialGoesOn(t *testing.T) {
	onTrial := deployment(api.DeploySucceeded, api.Rollout{}, func(d *api.Deployment) { d.Trial, d.BakedAt = api.TrialOn, noon.Add(time.Minute) })
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.mux.HandleFunc("GET "+client.Prefix+"/apps/shop/envs/production/deployments/7", func(w http.ResponseWriter, _ *http.Request) { answer(w, onTrial) })
	f.mux.HandleFunc("GET "+client.Prefix+"/apps/shop/envs/production/deployments/7/watch", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	r := f.ikada(ctx, "", "", "watch", "7", "--wait", "trial", "-a", "shop")
	if r.code != ExitError || !strings.Contains(r.err, "Deployment 7 has succeeded, and release 4 stays on trial until 12:01:00: watch it with `ikada watch 7 -a shop -e production --wait trial`") {
		t.Errorf("exit %d, stderr %s", r.code, r.err)
	}
}

// TestInterruptedDeployGoesOn holds that Ctrl-C and --timeout leave the deployment alone and say how to come back.
func TestInterruptedDeployGoesOn(t *testing.T) {
	rolling := deployment(api.DeployRunning, api.Rollout{State: api.RolloutRolling, Want: 1})
	for _, c := range []struct {
		name string
		args []string
		code int
	}{{"interrupt", nil, ExitError}, {"timeout", []string{"--timeout", "150ms"}, ExitTimeout}} {
		f := newFake(t)
		ctx, cancel := context.WithCancel(t.Context())
		f.on("POST /apps/shop/envs/production/deployments", response(rolling))
		f.mux.HandleFunc("GET "+client.Prefix+"/apps/shop/envs/production/deployments/7/watch", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			if c.name == "interrupt" {
				cancel()
			}
			<-r.Context().Done()
		})
		dir := directory(t, "shop", map[string]string{"compose.yaml": "services: {web: {image: nginx}}\n"})
		r := f.ikada(ctx, dir, "", append([]string{"deploy"}, c.args...)...)
		cancel()
		if r.code != c.code || !strings.Contains(r.err, "eployment 7 goes on: watch it with `ikada watch 7 -a shop -e production`, cancel it with `ikada cancel 7") {
			t.Errorf("%s: exit %d, stderr %s", c.name, r.code, r.err)
		}
		for _, request := range f.requests() {
			if strings.Contains(request, "cancel") {
				t.Errorf("%s: %s", c.name, request)
			}
		}
	}
}

func TestDeployRefusesBadFlags(t *testing.T) {
	f := newFake(t)
	dir := directory(t, "shop", map[string]string{"compose.yaml": "services: {web: {image: nginx, gpus: all}}\n", "ok.yaml": imageApp})
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, ExitError, "error: services.web.gpus: devices of the node are not given to tasks"},
		{[]string{"-f", dir + "/nope.yaml"}, ExitError, "nope.yaml"},
		{[]string{"-f", dir + "/ok.yaml", "--image", "web"}, ExitUsage, "expected SERVICE=REF"},
		{[]string{"-f", dir + "/ok.yaml", "--wait", "bake"}, ExitUsage, `--wait "bake": expected deployment or trial`},
		{[]string{"-f", dir + "/ok.yaml", "--wait", "trial", "-d"}, ExitUsage, "--detach stands beside --wait trial; expected one of them"},
		{[]string{"-f", dir + "/ok.yaml", "--image", "db=x"}, ExitUsage, "there is no service db; expected one of web"},
	} {
		r := f.ikada(t.Context(), dir, "", append([]string{"deploy"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.err, c.says) {
			t.Errorf("%v: exit %d, stderr %s", c.args, r.code, r.err)
		}
	}
	if len(f.requests()) != 0 {
		t.Errorf("the server was asked: %v", f.requests())
	}
}

// TestUnsetVariablesOfEnvFiles holds that a "$" in a value of .env or of an env_file takes nothing away in silence.
func TestUnsetVariablesOfEnvFiles(t *testing.T) {
	dir := directory(t, "shop", map[string]string{
		"compose.yaml": "services: {web: {image: nginx, env_file: web.env}}\n",
		".env":         "DATABASE_PASSWORD=p$gone\nGREETING=${greeting:-hello}\nPLAIN='p$plain'\n",
		"web.env":      "PASSWORD=p$lost\n",
	})
	f := newFake(t)
	f.on("POST /apps/shop/envs/production/deployments", api.DeployResponse{Unchanged: true, Release: 1})
	r := f.ikada(t.Context(), dir, "", "deploy")
	want := "warning: variable gone is not set: an empty string is taken\nwarning: variable lost is not set: an empty string is taken\n"
	if r.code != ExitDone || !strings.HasPrefix(r.err, want) || strings.Count(r.err, "warning") != 2 {
		t.Errorf("exit %d, stderr:\n%s", r.code, r.err)
	}
}

// TestDeployBuilds holds that images are built before anything is deployed, equal builds once, and that a failed build
// deploys nothing.
func TestDeployBuilds(t *testing.T) {
	dir := directory(t, "shop", map[string]string{
		"compose.yaml": "services: {web: {build: .}, worker: {build: ., command: work}, given: {build: ./other}}\n",
		"Dockerfile":   "FROM scratch\n", "other/Dockerfile": "FROM scratch\n",
	})
	events := []any{
		api.BuildEvent{Log: "warning: tag other/web is not given"},
		api.BuildEvent{Step: "FROM scratch", Started: true},
		api.BuildEvent{Step: "FROM scratch", Cached: true, Done: true},
		api.BuildEvent{Step: "RUN make", Started: true},
		api.BuildEvent{Step: "RUN make", Log: "compiling\x1b[31m\nlinking\n"},
	}
	built := append(append([]any{}, events...), api.BuildEvent{Step: "RUN make", Done: true, Took: api.Duration(1200 * time.Millisecond)},
		api.BuildEvent{Image: "shop/web@sha256:0011223344556677"})
	failed := append(append([]any{}, events...), api.BuildEvent{Error: &api.Error{Kind: api.Exhausted, Message: "RUN make ran out of memory (512 MiB)"}})
	for name, c := range map[string]struct {
		events []any
		code   int
	}{"built": {built, ExitDone}, "failed": {failed, ExitError}} {
		f := newFake(t)
		f.mux.HandleFunc("POST "+client.Prefix+"/builds/session", func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			t.Cleanup(func() { _ = conn.Close() })
		})
		f.stream("POST /builds", false, c.events...)
		f.on("POST /apps/shop/envs/production/deployments", api.DeployResponse{Unchanged: true, Release: 1})
		r := f.ikada(t.Context(), dir, "", "deploy", "--image", "given=other@sha256:99")
		if r.code != c.code {
			t.Fatalf("%s: exit %d\n%s%s", name, r.code, r.out, r.err)
		}
		builds, deploys := 0, ""
		for _, request := range f.requests() {
			if strings.HasPrefix(request, "POST /builds ") {
				builds++
			} else {
				deploys += request
			}
		}
		if builds != 1 {
			t.Errorf("%s: %d builds", name, builds)
		}
		if name == "failed" {
			if deploys != "" || !strings.Contains(r.err, "error: services.web.build: RUN make ran out of memory") {
				t.Errorf("failed: %q, stderr %s", deploys, r.err)
			}
			continue
		}
		if !strings.Contains(deploys, `"builds":[{"services":["web","worker"],"image":"shop/web@sha256:0011223344556677","ago":"0s","took":"0s"}]`) {
			t.Errorf("%s: the time of the build is not in %s", name, deploys)
		}
		if strings.Count(deploys, `"image":"shop/web@sha256:0011223344556677","networks"`)+strings.Count(deploys, `"image":"shop/web@sha256:0011223344556677","command"`) != 2 || !strings.Contains(deploys, "other@sha256:99") {
			t.Errorf("deployed %s", deploys)
		}
		for _, want := range []string{"web: warning: tag other/web is not given\n", "web: FROM scratch (cached)\n", "web: compiling\n", "web: RUN make (1.2s)\n", "web: built shop/web@001122334455 in"} {
			if !strings.Contains(r.err, want) {
				t.Errorf("no line %q in\n%s", want, r.err)
			}
		}
	}
}

func TestUnreachableServerNamesTheRemedy(t *testing.T) {
	f := newFake(t)
	f.url = "http://127.0.0.1:1"
	dir := directory(t, "shop", map[string]string{"compose.yaml": "services: {web: {build: .}}\n", "Dockerfile": "FROM scratch\n"})
	for _, command := range []string{"nodes", "deploy"} {
		r := f.ikada(t.Context(), dir, "", command)
		if r.code != ExitError || !strings.Contains(r.err, "remedy: check that the server runs") || strings.Contains(r.err, "services.web") {
			t.Errorf("%s: exit %d, %s", command, r.code, r.err)
		}
	}
}

// TestOthersThanRootAreToldOfTokens holds what one is told who may not open the node's socket.
func TestOthersThanRootAreToldOfTokens(t *testing.T) {
	s := newShell(Options{Environ: map[string]string{}})
	err := api.Errorf(api.Unavailable, "reach ikada: %w", &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)})
	if got := s.remedy(err); !strings.Contains(got, "say sudo") || !strings.Contains(got, "IKADA_TOKEN") {
		t.Errorf("remedy %q", got)
	}
}

// TestRefusedBaseImageIsToldOfLogins holds that who may build is not sent for a token when a registry refuses the build.
func TestRefusedBaseImageIsToldOfLogins(t *testing.T) {
	s := newShell(Options{Environ: map[string]string{}})
	err := buildError("web", &api.Error{Kind: api.Unauthorized, Field: "build", Message: "Dockerfile line 1: 401 Unauthorized"})
	if got := s.remedy(err); err.Error() != "services.web.build: Dockerfile line 1: 401 Unauthorized" || !strings.Contains(got, "ikada registry login") {
		t.Errorf("%v, remedy %q", err, got)
	}
}

// TestQueuedDeploySaysWhatItWaitsFor holds that whoever waits behind a deployment that is paused is told of it, and that
// resume and pause mean the one that runs.
func TestQueuedDeploySaysWhatItWaitsFor(t *testing.T) {
	f := newFake(t)
	first := deployment(api.DeployRunning, api.Rollout{State: api.RolloutPaused, Want: 3, New: 1, Ready: 1, Old: 2}, func(d *api.Deployment) { d.Number = 6 })
	second := func(state api.DeploymentState) api.Deployment { return deployment(state, api.Rollout{Want: 3}) }
	f.on("GET /apps/shop/envs/production", api.EnvironmentStatus{Deployment: &first})
	f.on("GET /apps/shop/envs/production/deployments", []api.Deployment{second(api.DeployQueued), first})
	f.on("POST /apps/shop/envs/production/deployments", response(second(api.DeployQueued)))
	f.on("POST /apps/shop/envs/production/deployments/6/resume", first)
	f.on("POST /apps/shop/envs/production/deployments/6/pause", first)
	f.stream("GET /apps/shop/envs/production/deployments/7/watch", false, second(api.DeployQueued), second(api.DeployQueued), second(api.DeployRunning), second(api.DeploySucceeded))
	dir := directory(t, "shop", map[string]string{"compose.yaml": imageApp})
	r := f.ikada(t.Context(), dir, "", "deploy")
	want := "deployment 7 to release 4: queued: deployment 6 runs before it, which is paused: `ikada resume 6` has it go on, `ikada cancel 6` takes it back\n"
	if r.code != 0 || strings.Count(r.err, want) != 1 || strings.Contains(r.err, "queued\n") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	for _, command := range []string{"resume", "pause"} {
		if r := f.ikada(t.Context(), dir, "", command); r.code != 0 || !strings.HasPrefix(r.out, "Deployment 6 of shop/production ") {
			t.Errorf("%s: exit %d\n%s%s", command, r.code, r.out, r.err)
		}
	}
}

// TestUnknownEnvironmentNamesTheRemedy holds what one is told whose app is not deployed, or misspelt.
func TestUnknownEnvironmentNamesTheRemedy(t *testing.T) {
	f := newFake(t)
	f.on("GET /apps/shpo/envs/production", &api.Error{Kind: api.NotFound, Message: "environment shpo/production does not exist"})
	if r := f.ikada(t.Context(), "", "", "status", "-a", "shpo"); r.code != ExitError || !strings.Contains(r.err, "remedy: `ikada status --all` lists those that there are") {
		t.Errorf("exit %d, %s", r.code, r.err)
	}
}

// TestStatusTellsWhatIsWaitedFor holds that a deployment which waits for a person says so in status.
func TestStatusTellsWhatIsWaitedFor(t *testing.T) {
	f := newFake(t)
	held := deployment(api.DeployRunning, api.Rollout{Service: "web", State: api.RolloutPaused, Ready: 1, Want: 2, New: 1, Old: 2,
		Reason: "50 % of the requests; goes on with `ikada resume`"})
	f.on("GET /apps/shop/envs/production", api.EnvironmentStatus{Environment: api.Environment{EnvRef: shop, Release: 3}, State: api.HealthOK, Deployment: &held})
	r := f.ikada(t.Context(), "", "", "status", "-a", "shop")
	if want := "\n  web: paused, 1 of 2 ready, 2 old: 50 % of the requests; goes on with `ikada resume`\n"; r.code != 0 || !strings.Contains(r.out, want) {
		t.Errorf("exit %d, %q does not hold %q", r.code, r.out, want)
	}
}
