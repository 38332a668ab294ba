package deploy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/verdict"
)

// counted is when a second that has ended can be asked for.
const counted = 100 * time.Millisecond

// traffic judges the target by its requests and its tasks' ends. A way back is a person's own choice: nothing is asked.
func (m *maker) traffic() (why string) {
	if m.target == nil || m.dep.Kind == api.KindRollback {
		return ""
	}
	m.heard, why = m.compareAll(m.dep, m.target, m.committed, m.dep.Verdicts)
	heard(m.dep, m.heard, m.w.Now)
	var failed string
	m.dep.Checks, failed = m.check(m.dep, m.target, m.committed)
	return cmp.Or(why, failed)
}

// bake judges the committed release for a while after it has taken over, and queues the way back when it fails.
func (m *maker) bake() {
	d, now := m.w.Bake, m.w.Now
	if d == nil {
		return
	}
	b := *d
	if d.To != m.env.Release || m.env.Stopped || m.env.Destroying {
		endTrial(&b, api.TrialEnded, now)
		m.p.Bake = &b
		return
	}
	from := m.w.Releases[d.From]
	verdicts, why := m.compareAll(&b, m.committed, from, b.Verdicts)
	worth := heard(&b, verdicts, now)
	checks, failed := m.check(&b, m.committed, from)
	why = cmp.Or(why, failed)
	worth, b.Checks = worth || !sameChecks(checks, b.Checks), checks
	switch {
	case why != "" && from == nil:
		endTrial(&b, api.TrialFailed, now)
		m.eventOf(&b, api.LevelError, "release.no_way_back", fmt.Sprintf("release %d failed after it had taken over: %s; release %d is no longer kept, so nothing is done", d.To, why, d.From))
	case why != "":
		m.env.LastDeployment++
		m.p.Follow = &api.Deployment{EnvRef: m.env.EnvRef, Number: m.env.LastDeployment, Kind: api.KindRollback, To: d.From,
			State: api.DeployQueued, Reason: why, Scale: d.Scale, CreatedAt: now, CreatedBy: "ikada"}
		b.State, b.Reason, b.Follow = api.DeployRolledBack, why, m.env.LastDeployment
		endTrial(&b, api.TrialFailed, now)
		m.eventOf(&b, api.LevelError, "release.failed", fmt.Sprintf("release %d failed after it had taken over: %s; back to release %d", d.To, why, d.From))
	case !now.Before(d.BakedAt):
		endTrial(&b, m.verified(verdicts, checks, d), d.BakedAt)
	default:
		m.p.wake(now, b.BakedAt)
		if !worth {
			m.noteEnv()
			return
		}
		m.p.Bake = &b
		m.noteEnv()
		return
	}
	b.Verdicts = verdicts
	m.p.Bake = &b
	m.noteEnv()
}

// verified ends a release's trial that it has not failed.
func (m *maker) verified(verdicts []api.Verdict, checks []api.CheckResult, d *api.Deployment) api.Trial {
	trial, level := api.TrialVerified, api.LevelInfo
	told, passed := tell(checks)
	if !passed {
		trial, level = api.TrialUnverified, api.LevelWarn
	}
	said := make([]string, 0, len(verdicts))
	for _, v := range verdicts {
		if v.Result != api.VerdictPass {
			trial, level = api.TrialUnverified, api.LevelWarn
		}
		said = append(said, v.Service+": "+v.Reason)
	}
	said = append(said, told...)
	m.eventOf(d, level, "release."+string(trial), fmt.Sprintf("release %d is %s; %s", d.To, trial, strings.Join(said, "; ")))
	return trial
}

// compareAll judges every service of the target that differs from the release before. Why is the first failure.
func (m *maker) compareAll(d *api.Deployment, target, from *api.Release, before []api.Verdict) (all []api.Verdict, why string) {
	if from == nil {
		return before, ""
	}
	for _, name := range sortedServices(target) {
		spec := target.Spec.Services[name].WithDefaults()
		old, ok := from.Spec.Services[name]
		now, was := m.hash(target, name), m.hash(from, name)
		if !ok || now == was || !spec.Update.Judged() || old.Restart.RunsToEnd() || spec.Restart.RunsToEnd() {
			continue
		}
		v := verdict.Judge(m.evidence(d, spec, name, now, was))
		all = append(all, told(name, &v, m.w.Now))
		if v.Result == verdict.Fail && why == "" {
			why = name + ": " + v.Reason
		}
	}
	if len(all) > 0 && m.w.Traffic != nil { // where nobody counts, nothing new comes with time
		m.p.wake(m.w.Now, m.w.Now.Truncate(time.Second).Add(time.Second+counted))
	}
	return all, why
}

// bakeTime gives for how long the deployment's release is to be judged after it has taken over.
func (m *maker) bakeTime(d *api.Deployment) time.Duration {
	var longest time.Duration
	for _, v := range d.Verdicts {
		update := m.target.Spec.Services[v.Service].Update
		longest = max(longest, update.BakeTime().Std())
	}
	if d.From == 0 {
		return longest
	}
	for _, r := range d.Checks {
		for _, name := range m.changes(m.target, m.committed) {
			if r.Owner == "" || r.Owner == name {
				update := m.target.Spec.Services[name].Update
				longest = max(longest, update.BakeTime().Std())
			}
		}
	}
	return longest
}

// evidence gathers what is known of a service since the deployment began, by the hashes of what its tasks run.
func (m *maker) evidence(d *api.Deployment, spec api.ServiceSpec, name, hash, was string) verdict.Input {
	in := verdict.Input{Now: m.w.Now.Unix(), New: verdict.Side{Release: d.To}, Old: verdict.Side{Release: d.From}}
	began := d.StartedAt.Unix()
	var fresh, old [][]verdict.Second
	for _, number := range slices.Sorted(maps.Keys(m.w.Traffic[name])) {
		r := m.w.Releases[number]
		if r == nil {
			continue
		}
		seconds := m.w.Traffic[name][number]
		switch m.hash(r, name) {
		case hash:
			at, _ := slices.BinarySearchFunc(seconds, began, func(s verdict.Second, t int64) int { return cmp.Compare(s.Time, t) })
			fresh = append(fresh, seconds[at:])
		case was:
			old = append(old, seconds)
		}
	}
	in.New.Seconds, in.Old.Seconds = merge(fresh), merge(old)
	if until := beside(d, name); !until.IsZero() {
		in.Until = until.Unix() - 1 // the last whole second
	}
	for i := range m.w.Tasks {
		t := &m.w.Tasks[i]
		if t.Service != name {
			continue
		}
		switch {
		case t.Hash == hash && !t.CreatedAt.Before(d.StartedAt):
			t.testify(&in.New, spec, m.w.Now)
		case t.Hash == was:
			t.testify(&in.Old, spec, m.w.Now)
		}
	}
	return in
}

// beside gives until when tasks of both releases served, zero while they do.
func beside(d *api.Deployment, name string) time.Time {
	for _, r := range d.Rollouts {
		if r.Service == name && r.Step > 0 && r.Step == r.Steps && !r.StepAt.IsZero() {
			return r.StepAt
		}
	}
	return d.SwappedAt
}

// testify adds how the task has fared to its release's side. Its check is made at every interval, and a task is taken
// out when it fails: so one that serves on has passed it each time.
func (t *Task) testify(side *verdict.Side, spec api.ServiceSpec, now time.Time) {
	until := now
	if !t.Status.FinishedAt.IsZero() {
		until = t.Status.FinishedAt
	}
	if began := t.Status.StartedAt; !began.IsZero() && until.After(began) {
		side.Faults.Exposure += until.Sub(began).Seconds()
	}
	cause := cmp.Or(t.Fault, t.Status.Cause)
	switch failed := t.failed() || t.running() && t.Status.Unhealthy; {
	case !failed:
		if every := checkInterval(spec); every > 0 && t.healthy() && now.After(t.Status.ReadyAt) {
			side.Probes.Passed += uint64(now.Sub(t.Status.ReadyAt) / every)
		}
	case cause == api.CauseOOM:
		side.Faults.OOMKills++
	case t.Status.ReadyAt.IsZero():
		side.Faults.Unready++
	default:
		side.Faults.Crashes++
	}
}

// checkInterval gives how often a ready task's check is made, 0 when it has none.
func checkInterval(spec api.ServiceSpec) time.Duration {
	switch {
	case spec.Health == nil && spec.FirstPort() != 0:
		return api.DefaultProbeInterval.Std()
	case spec.Health == nil || spec.Health.Disabled:
		return 0
	}
	return cmp.Or(spec.Health.Interval, api.DefaultInterval).Std()
}

// merge adds the seconds of several releases that run the same.
func merge(all [][]verdict.Second) []verdict.Second {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	sums := map[int64]verdict.Second{}
	for _, seconds := range all {
		for _, s := range seconds {
			sum := sums[s.Time]
			sum.Time, sum.Requests, sum.Failed, sum.Lost = s.Time, sum.Requests+s.Requests, sum.Failed+s.Failed, sum.Lost+s.Lost
			sum.Latency = mergeBuckets(sum.Latency, s.Latency)
			sums[s.Time] = sum
		}
	}
	out := make([]verdict.Second, 0, len(sums))
	for _, at := range slices.Sorted(maps.Keys(sums)) {
		out = append(out, sums[at])
	}
	return out
}

func mergeBuckets(a, b []verdict.Bucket) []verdict.Bucket {
	var out []verdict.Bucket
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].UpTo < b[0].UpTo:
			out, a = append(out, a[0]), a[1:]
		case len(a) == 0 || b[0].UpTo < a[0].UpTo:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, verdict.Bucket{UpTo: a[0].UpTo, N: a[0].N + b[0].N})
			a, b = a[1:], b[1:]
		}
	}
	return out
}
