package rehearse

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// maxCases bounds after how many steps a loss is tried.
const maxCases = 100

// beyond is how long after a step a node dies there: what was decided has been written, and little else.
const beyond = time.Millisecond

// Check refuses a hazard that names what there is not.
func Check(s Setting, field string, h api.Hazard) error {
	switch h.Kind {
	case api.HazardLose:
		var names []string
		for _, n := range s.Nodes {
			if !n.Down {
				names = append(names, n.Name)
			}
		}
		slices.Sort(names)
		if !slices.Contains(names, h.Name) {
			return api.FieldError(field, h.String(), "a node that lives: "+strings.Join(names, ", "))
		}
	case api.HazardFail, api.HazardCrash:
		var names []string
		for _, d := range s.Deployments {
			if r := s.Releases[d.To]; d.Number == s.Deployment && r != nil {
				names = slices.Sorted(maps.Keys(r.Spec.Services))
			}
		}
		if !slices.Contains(names, h.Name) {
			return api.FieldError(field, h.String(), "a service of the release: "+strings.Join(names, ", "))
		}
		if h.Step != 0 || h.Kind == api.HazardFail && h.At != nil {
			return api.FieldError(field, h.String(), "fail=SERVICE, crash=SERVICE or crash=SERVICE@DURATION")
		}
	default:
		return api.FieldError(field, h.String(), "lose=NODE[@STEP|@DURATION], fail=SERVICE or crash=SERVICE[@DURATION]")
	}
	if h.Step < 0 || h.At != nil && *h.At < 0 {
		return api.FieldError(field, h.String(), "a step from 1 on, or a time from 0s on")
	}
	return nil
}

// WhatIf says what becomes of a deployment when something goes wrong. plain is how it goes otherwise.
func WhatIf(s Setting, plain api.Rehearsal, field string, h api.Hazard) (api.Answer, error) {
	if err := Check(s, field, h); err != nil {
		return api.Answer{}, err
	}
	a := api.Answer{Hazard: h}
	worst := func(c api.Case, t Trouble) {
		r := Run(s, &t)
		c.State, c.Reason, c.Took, c.Gaps = r.State, r.Reason, r.Took, r.Gaps
		a.Cases = append(a.Cases, c)
		if i := len(a.Cases) - 1; i == 0 || worse(&a.Cases[i], &a.Cases[a.Worst]) {
			a.Worst, a.Rehearsal = i, r
		}
	}
	switch {
	case h.Kind == api.HazardFail:
		worst(api.Case{}, Trouble{Fail: h.Name})
	case h.Kind == api.HazardCrash:
		t := Trouble{Crash: h.Name}
		if h.At != nil {
			t.After = h.At.Std()
		}
		worst(api.Case{}, t)
	case h.At != nil:
		worst(api.Case{At: *h.At}, Trouble{Lose: h.Name, At: h.At.Std()})
	default:
		all := moments(plain)
		if h.Step > len(all) {
			return a, api.FieldError(field, h.String(), "a step of the deployment: 1 to "+strconv.Itoa(len(all)))
		}
		if h.Step > 0 {
			all = all[h.Step-1 : h.Step]
		}
		for _, c := range thin(all) {
			worst(c, Trouble{Lose: h.Name, At: c.At.Std() + beyond})
		}
	}
	return a, nil
}

// moments gives a case for each step until the deployment has ended.
func moments(plain api.Rehearsal) []api.Case {
	var out []api.Case
	for _, s := range plain.Steps {
		if s.At > plain.Took {
			break
		}
		if len(out) == 0 || out[len(out)-1].Step != s.Number {
			out = append(out, api.Case{Step: s.Number, At: s.At})
		}
	}
	return out
}

// thin leaves out cases evenly where there are too many.
func thin(all []api.Case) []api.Case {
	if len(all) <= maxCases {
		return all
	}
	out := make([]api.Case, 0, maxCases)
	for i := range maxCases {
		out = append(out, all[i*(len(all)-1)/(maxCases-1)])
	}
	return out
}

// worse tells whether a case is worse than another: first for those who use the services, then for the deployment.
func worse(a, b *api.Case) bool {
	fate := func(c *api.Case) int {
		switch c.State {
		case api.DeploySucceeded:
			return 0
		case api.DeployRolledBack, api.DeployCancelled:
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(a.Gone(), b.Gone()), cmp.Compare(fate(a), fate(b)), cmp.Compare(a.Took, b.Took)) > 0
}
