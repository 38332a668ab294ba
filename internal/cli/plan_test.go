package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func at(d time.Duration) *api.Duration { v := api.Duration(d); return &v }

// rehearsed is a plan of a deploy that succeeds, or does not.
func rehearsed(state api.DeploymentState) api.PlanResponse {
	p := api.PlanResponse{Changes: []api.Change{{Field: "services.web.image", From: "registry.test/web@sha256:0123", To: "a new image, not built yet"}},
		Notes: []string{"web: a task is ready 1.5s after it was made (as the median of 3 tasks before)"}}
	p.Release, p.Deployment = 4, &api.Deployment{EnvRef: shop, Number: 7, Kind: api.KindDeploy, From: 3, To: 4, State: api.DeployQueued}
	p.State, p.Committed, p.Took = state, 4, api.Duration(6*time.Second)
	p.Steps = []api.PlanStep{
		{Number: 1, Type: "deployment.started", Text: "deploy 7 to release 4 started"},
		{Number: 1, Type: api.PlanStart, Text: "web.1 of release 4 starts on n1"},
		{Number: 2, At: api.Duration(1523456 * time.Microsecond), Type: "task.ready", Text: "web.1 of release 4 on n1 is ready"},
		{Number: 3, At: api.Duration(6 * time.Second), Type: "deployment.succeeded", Text: "deploy 7 to release 4 succeeded after 6s"},
		{Number: 4, At: api.Duration(601523 * time.Millisecond), Type: api.PlanDrain, Text: "web.1 of release 3 leaves: was kept warm for 10m0s"},
	}
	lost := api.Rehearsal{State: api.DeployRolledBack, Reason: "web.1: it was \x1b[2J lost", Committed: 3, Took: api.Duration(20 * time.Second),
		Gaps:  []api.Gap{{Service: "web", From: api.Duration(2 * time.Second), For: api.Duration(12 * time.Second)}, {Service: "db", From: api.Duration(2 * time.Second), Open: true}},
		Steps: []api.PlanStep{{Number: 1, Type: "deployment.started", Text: "deploy 7 to release 4 started"}, {Number: 2, At: api.Duration(2 * time.Second), Type: api.PlanLose, Text: "node n2 dies"}}}
	p.WhatIf = []api.Answer{
		{Hazard: api.Hazard{Kind: api.HazardLose, Name: "n2"}, Worst: 1, Rehearsal: lost, Cases: []api.Case{
			{Step: 1, State: api.DeploySucceeded}, {Step: 2, State: api.DeployRolledBack, Gaps: lost.Gaps}}},
		{Hazard: api.Hazard{Kind: api.HazardLose, Name: "n2", At: at(time.Minute)}, Rehearsal: p.Rehearsal, Cases: []api.Case{{State: api.DeploySucceeded}}},
		{Hazard: api.Hazard{Kind: api.HazardCrash, Name: "web", At: at(2 * time.Second)}, Rehearsal: p.Rehearsal, Cases: []api.Case{{State: api.DeploySucceeded}}},
		{Hazard: api.Hazard{Kind: api.HazardFail, Name: "web"}, Rehearsal: lost, Cases: []api.Case{{State: api.DeployRolledBack}}},
	}
	if state != api.DeploySucceeded {
		p.Reason, p.Committed, p.WhatIf = "web.1: no node fits: 2 lacking memory (3072 MiB wanted)", 3, nil
	}
	return p
}

// TestPlan keeps what plans look like, what they ask of the server, and their exit codes.
func TestPlan(t *testing.T) {
	good := newFake(t)
	good.on("POST /apps/shop/envs/production/plan", rehearsed(api.DeploySucceeded))
	good.on("GET /apps/shop/envs/production", api.EnvironmentStatus{Environment: api.Environment{EnvRef: shop, Release: 3}})
	bad := newFake(t)
	bad.on("POST /apps/shop/envs/production/plan", rehearsed(api.DeployRolledBack))
	same := newFake(t)
	unchanged := api.PlanResponse{DeployResponse: api.DeployResponse{Unchanged: true, Release: 3, Warnings: []string{"mind the gap"}}}
	unchanged.State = api.DeploySucceeded
	same.on("POST /apps/shop/envs/production/plan", unchanged)
	dir := directory(t, "shop", map[string]string{"compose.yaml": "name: shop\nservices:\n  web:\n    build: .\n  db:\n    image: db:1\n", "Dockerfile": "FROM scratch\n"})
	var transcript strings.Builder
	for _, c := range []struct {
		line string
		f    *fake
	}{
		{"plan --what-if lose=n2 --what-if lose=n2@1m --what-if crash=web@2s --what-if fail=web", good},
		{"plan --what-if lose=n2@3 --image web=web:2 --keep-images", bad},
		{"plan rollback 2 -a shop", bad},
		{"plan --promote-from staging --release 4 -a shop --json", bad},
		{"plan", same},
		{"plan rollback x", good},
		{"plan --release 4", good},
		{"plan --what-if lose", good},
		{"plan --what-if lose=n1@0", good},
		{"plan --what-if fail=web@3", good},
		{"plan --what-if crash=web@3", good},
		{"plan --image nope=x", good},
	} {
		before := len(c.f.requests())
		args := strings.Fields(c.line)
		record(&transcript, args, c.f.ikada(t.Context(), dir, "", args...))
		for _, r := range c.f.requests()[before:] {
			if !strings.HasPrefix(r, "GET ") {
				transcript.WriteString("→ " + r + "\n")
			}
		}
	}
	golden(t, "testdata/plan.golden", transcript.String())
}
