package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

// expected is what random worlds must meet. A kind that is never met is not tested, whatever the number of worlds.
var expected = []string{
	// Ways.
	"done: rolling, start-first, one at a time", "done: rolling, start-first, two at a time", "done: rolling, start-first, all at once",
	"done: rolling, stop-first, one at a time", "done: rolling, stop-first, two at a time", "done: rolling, stop-first, all at once",
	"done: rolling, with a delay", "done: blue-green", "done: canary by weight", "done: canary by header", "done: canary by cookie",
	"done: rollback", "done: restart", "done: canary that held", "canary in its step 1", "canary in its step 2", "canary in its step 3",
	"job run to its end",
	// What users do.
	"paused", "resumed", "running deployment cancelled", "queued deployment cancelled", "promotion",
	"restart", "queued behind a running deployment", "queued deployment superseded", "rollback by hand in the middle of a deployment",
	"scaled in the middle of a deployment", "environment stopped", "environment started again", "environment destroyed",
	"refused by a lock", "lock that ended by itself", "old release collected",
	// Faults.
	"task that becomes unhealthy", "crash loop", "held back after a crash", "node silent in the middle of a deployment",
	"task of a lost node replaced", "node back with its tasks", "node back after a restart", "leader changed",
	"leader changed in the middle of a deployment", "agents and balancers that lag", "report that is too old",
	"drain to its deadline", "memory is short",
	"warm task ended: its time is over", "release command failed", "task of a job beside", "task waits for a node",
	// How deployments fail.
	"turned back: memory", "turned back: pull",
	"turned back: port", "turned back: cancelled", "turned back: release command",
	"turned back: verdict while rolling",

	"failed on trial", "trial: verified", "trial: unverified", "trial: ended", "verdict insufficient", "verdict passed",
	"ailing service is left as it is", "ailing service that comes up", "done: beside an ailing service", "turned back: beside an ailing service",
	"service waits for one that ails", "leader changed beside an ailing service",
	// Checks of users' own.
	"asked: http", "asked: promql", "asked: command", "asked: the release before", "question lost with its leader",
	"check's command under another leader", "check answered: pass", "check answered: fail", "check answered: insufficient",
	"check fails as before", "required check waited for", "verified, with checks", "failed on trial by a check", "turned back: check",
	"check that failed waits for the release before",

	"way back by warm tasks", "way back by new tasks", "ended: rolled back", "ended: failed", "ended: cancelled", "ended: succeeded",
}

// rare is what many worlds must meet: in few it may be missing by chance.
var rare = []string{
	"resumed from a step that holds", "task that serves late", "warm task ended: memory is short", "turned back: not ready",
	"turned back: no node", "turned back: unhealthy", "turned back: verdict in a later canary step", "turned back: verdict of blue-green",
	"turned back: check that cannot be answered", "turned back: verdict while paused", "turned back: verdict in canary step 1", "turned back: exit", "turned back: crash when ready",
}

const manyWorlds = 10000

// reportMet logs how often what was met; what was never met is an error when it should have been.
func reportMet(t *testing.T, met map[string]int, worlds int) {
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(met)) {
		lines = append(lines, fmt.Sprintf("%8d  %s", met[what], what))
	}
	t.Log("met:\n" + strings.Join(lines, "\n"))
	must := expected
	switch {
	case worlds >= manyWorlds:
		must = slices.Concat(expected, rare)
	case worlds < usualWorlds:
		return
	}
	for _, what := range must {
		if met[what] == 0 {
			t.Errorf("no world has met %q", what)
		}
	}
}

// meetPlan counts what a plan shows.
func meetPlan(before, after *sim, p *Plan) {
	meet := after.meet
	backwards := false
	if was := before.current(); was != nil {
		d := after.deps[was.Number-1]
		backwards = d.Backwards
		if d.Backwards && !was.Backwards {
			meet("turned back: " + turnedBack(before, d))
		}
		meetAiling(after, was, d)
		if d.State.Final() {
			meet("ended: " + string(d.State))
			if d.State == api.DeploySucceeded {
				meetDone(before, after, d)
			}
		}
		for _, r := range d.Rollouts {
			if r.Step > 0 && r.Step < r.Steps && !d.Backwards {
				meet(fmt.Sprintf("canary in its step %d", r.Step))
			}
		}
		for _, v := range d.Verdicts {
			switch v.Result {
			case api.VerdictInsufficient:
				meet("verdict insufficient")
			case api.VerdictPass:
				meet("verdict passed")
			}
		}
	}
	if b := p.Bake; b != nil {
		if b.Trial == api.TrialFailed {
			meet("failed on trial")
		} else {
			meet("trial: " + string(b.Trial))
		}
	}
	for _, u := range p.Update {
		was := before.task(u.ID)
		switch {
		case u.Desired == api.WantRunning && was.Desired == api.WantWarm && backwards:
			meet("way back by warm tasks")
		case u.Desired == api.WantDraining && was.Desired == api.WantWarm && strings.Contains(u.Reason, "memory"):
			meet("warm task ended: memory is short")
		case u.Desired == api.WantDraining && was.Desired == api.WantWarm && strings.Contains(u.Reason, "kept warm"):
			meet("warm task ended: its time is over")
		case u.Fault == api.CauseLost && was.Fault == "":
			meet("task of a lost node replaced")
		case strings.Contains(u.Reason, "still in flight"):
			meet("drain to its deadline")
		}
	}
	for _, x := range p.Create {
		if backwards {
			meet("way back by new tasks")
		}
		if x.NotBefore.After(after.now) {
			meet("held back after a crash")
		}
		if x.Attempt >= 3 {
			meet("crash loop")
		}
	}
	for _, t := range after.tasks {
		if t.live() && t.running() && t.Node == "" {
			meet("task waits for a node")
		}
		if t.completed() {
			meet("job run to its end")
		}
		if t.healthy() && t.routed && after.now.Sub(t.Status.ReadyAt) > time.Second && !before.serves(t.ID) {
			meet("task that serves late")
		}
	}
}

// meetAiling counts what becomes of services that were failing before a deployment.
func meetAiling(after *sim, was, d *api.Deployment) {
	meet := after.meet
	if len(d.Ailing) > 0 && was.State == api.DeployQueued {
		meet("ailing service is left as it is")
	}
	if len(d.Ailing) > 0 && d.Backwards && !was.Backwards {
		meet("turned back: beside an ailing service")
	}
	for _, r := range d.Rollouts {
		switch {
		case strings.Contains(r.Reason, "it was failing before this deployment"):
			meet("service waits for one that ails")
		case d.Ailment(r.Service) == "":
		case r.State == api.RolloutLeft && d.State == api.DeploySucceeded:
			meet("done: beside an ailing service")
		case r.State == api.RolloutDone && !d.State.Final():
			meet("ailing service that comes up")
		}
	}
}

func (s *sim) serves(id string) bool { t := s.task(id); return t != nil && t.healthy() }

// turnedBack names the kind of reason for which a deployment goes back.
func turnedBack(before *sim, d *api.Deployment) string {
	for _, v := range d.Verdicts {
		if v.Result != api.VerdictFail || !strings.Contains(d.Reason, v.Reason) {
			continue
		}
		if before.deps[d.Number-1].Paused() {
			return "verdict while paused"
		}
		for _, r := range before.deps[d.Number-1].Rollouts {
			switch {
			case r.Service != v.Service || r.Step == 0:
			case r.Steps == 1:
				return "verdict of blue-green"
			case r.Step < r.Steps:
				return map[bool]string{true: "verdict in canary step 1", false: "verdict in a later canary step"}[r.Step == 1]
			default:
				return "verdict after a canary's steps"
			}
		}
		return "verdict while rolling"
	}
	switch {
	case !strings.HasPrefix(d.Reason, "check "):
	case strings.Contains(d.Reason, " is required, "):
		return "check that cannot be answered"
	default:
		return "check"
	}
	for _, of := range []struct{ text, kind string }{
		{"cancelled", "cancelled"}, {"is not tried again", "waits in vain"}, {"no progress", "no progress"}, {"release command", "release command"}, {"cannot be pulled", "pull"}, {"no node fits", "no node"},
		{"killed for memory", "memory"}, {"unhealthy", "unhealthy"}, {"not ready after", "not ready"}, {"port 80", "port"},
		{"no longer kept", "no release"}, {"code 3", "crash when ready"}, {"code 137", "crash when ready"},
		{"exited", "exit"},
	} {
		if strings.Contains(d.Reason, of.text) {
			return of.kind
		}
	}
	return "other: " + d.Reason
}

// meetDone counts the ways on which a deployment has come to its end.
func meetDone(before, after *sim, d *api.Deployment) {
	meet := after.meet
	switch {
	case d.Kind == api.KindRollback:
		meet("done: rollback")
		return
	case d.Restart:
		meet("done: restart")
	}
	from, to := before.releases[d.From], before.releases[d.To]
	if from == nil {
		return
	}
	for name, spec := range to.Spec.Services {
		old, ok := from.Spec.Services[name]
		if !ok || before.hashes.of(from, name) == before.hashes.of(to, name) || after.env.Replicas(name, spec) == 0 || after.env.Replicas(name, old) == 0 {
			continue
		}
		u := spec.WithDefaults().Update
		switch {
		case u.Kind == api.BlueGreen:
			meet("done: blue-green")
			continue
		case u.Kind == api.Canary && u.Match != nil && u.Match.Headers != nil:
			meet("done: canary by header")
		case u.Kind == api.Canary && u.Match != nil:
			meet("done: canary by cookie")
		case u.Kind == api.Canary:
			meet("done: canary by weight")
		}
		if u.Kind == api.Canary {
			if slices.ContainsFunc(u.Steps, func(s api.CanaryStep) bool { return s.Hold }) {
				meet("done: canary that held")
			}
			continue
		}
		if u.Delay > 0 {
			meet("done: rolling, with a delay")
		}
		meet(fmt.Sprintf("done: rolling, %s, %s", u.Order, []string{"all at once", "one at a time", "two at a time"}[u.Parallelism]))
	}
}
