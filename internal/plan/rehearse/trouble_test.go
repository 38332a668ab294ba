package rehearse_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/rehearse"
)

// TestHazardsThatThereAreNot holds that what cannot go wrong is refused with what can.
func TestHazardsThatThereAreNot(t *testing.T) {
	s := setting(web("1", 2), web("2", 2), "n1", "n2")
	s.Nodes[1].Down = true
	at, before := api.Duration(time.Second), api.Duration(-time.Second)
	plain := rehearse.Run(s, nil)
	for want, h := range map[string]api.Hazard{
		"a node that lives: n1":                  {Kind: api.HazardLose, Name: "n2"},
		"a service of the release: web":          {Kind: api.HazardFail, Name: "db"},
		"fail=SERVICE, crash=SERVICE or":         {Kind: api.HazardFail, Name: "web", At: &at},
		"lose=NODE[@STEP|@DURATION]":             {Kind: "flood", Name: "n1"},
		"a step from 1 on, or a time from 0s on": {Kind: api.HazardLose, Name: "n1", At: &before},
		"a step of the deployment: 1 to ":        {Kind: api.HazardLose, Name: "n1", Step: 99},
	} {
		_, err := rehearse.WhatIf(s, plain, "whatIf[0]", h)
		if e, ok := errors.AsType[*api.Error](err); !ok || e.Field != "whatIf[0]" || e.Value != h.String() || !strings.HasPrefix(e.Expected, want) {
			t.Errorf("%s: %v", h, err)
		}
	}
}

// TestRunChangesNothing holds that a world can be rehearsed again and again, always with the same end.
func TestRunChangesNothing(t *testing.T) {
	s := setting(web("1", 3), web("2", 3), "n1", "n2")
	var first, second strings.Builder
	write(&first, rehearse.Run(s, nil))
	if _, err := rehearse.WhatIf(s, rehearse.Run(s, nil), "whatIf[0]", api.Hazard{Kind: api.HazardLose, Name: "n1"}); err != nil {
		t.Fatal(err)
	}
	write(&second, rehearse.Run(s, nil))
	if first.String() != second.String() || s.Deployments[0].State != api.DeployQueued || s.Env.Release != 1 {
		t.Errorf("at first:\n%s\nthen:\n%s", &first, &second)
	}
}
