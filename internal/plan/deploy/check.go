package deploy

import (
	"cmp"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/ikada/ikada/api"
)

// CheckKey names whom a question goes to: a check, and the release that it is asked of.
type CheckKey struct {
	Owner   string // the service whose check it is; "": the app's
	Name    string
	Release uint64
}

// Question is a check to be asked of a release now.
type Question struct {
	CheckKey
	Deployment uint64
	Check      api.ReleaseCheck // with defaults and the service that is asked
	Targets    []CheckTarget    // the release's tasks, as far as the check asks tasks
	Hosts      api.Hosts        // of a command: the names of its service, which lead to one of the targets
}

// CheckTarget is a task that is asked.
type CheckTarget struct {
	Task    string // its name, "web.1"
	Address string // with the port, unless that is not known
}

// Answer is what came of a question.
type Answer struct {
	At     time.Time // when it was asked
	Result string    // api.VerdictPass, …
	Value  *api.Number
	Reason string
	Job    string // of a command
}

// Judging gives the deployment whose release is judged, while it runs or on trial; nil when none is.
func (w *World) Judging() *api.Deployment {
	d := cmp.Or(w.Deployment, w.Bake)
	if d == nil || d.Backwards || d.Kind == api.KindRollback {
		return nil
	}
	return d
}

// inspection is one check in the course of a plan.
type inspection struct {
	api.OwnedCheck
	result api.CheckResult
	fresh  []*Task // of the release, ready
	prior  []*Task // of the release before, ready to serve or warm
	begun  bool    // the release has a ready task of a service that it changes
	apart  bool    // each release can be asked for itself
	known  bool    // the release before has what is asked
}

// check brings the results of the target's own checks up to date, and says which to ask. Why is the first that fails the
// release.
func (m *maker) check(d *api.Deployment, target, from *api.Release) (results []api.CheckResult, why string) {
	if target == nil || d.Kind == api.KindRollback || m.w.Unasked {
		return d.Checks, ""
	}
	all := target.Spec.AllChecks()
	if len(all) == 0 {
		return d.Checks, ""
	}
	changed := m.changes(target, from)
	for _, c := range all {
		if len(changed) == 0 || c.Owner != "" && !slices.Contains(changed, c.Owner) || !heeded(target, c, changed) {
			continue
		}
		x := m.look(d, target, from, c, changed)
		m.hear(&x, d)
		failed, waits := x.judged()
		if failed != "" && why == "" {
			why = failed
		}
		if failed == "" {
			m.ask(&x, d, target, from, waits)
		}
		results = append(results, x.result)
	}
	return results, why
}

// changes gives the services of the target whose tasks differ from those of the release before, and stay.
func (m *maker) changes(target, from *api.Release) []string {
	var out []string
	for _, name := range sortedServices(target) {
		if target.Spec.Services[name].Restart.RunsToEnd() {
			continue
		}
		if from != nil {
			if _, was := from.Spec.Services[name]; was && m.hash(from, name) == m.hash(target, name) {
				continue
			}
		}
		out = append(out, name)
	}
	return out
}

// heeded tells whether a check's failure has a say: not where all that changes is to go on whatever fails.
func heeded(target *api.Release, c api.OwnedCheck, changed []string) bool {
	return slices.ContainsFunc(changed, func(name string) bool {
		return (c.Owner == "" || c.Owner == name) && target.Spec.Services[name].Update.FailureAction != api.ActionContinue
	})
}

// look gathers what a check has to do with.
func (m *maker) look(d *api.Deployment, target, from *api.Release, c api.OwnedCheck, changed []string) inspection {
	x := inspection{OwnedCheck: c, apart: c.Apart(), known: from != nil}
	i := slices.IndexFunc(d.Checks, func(r api.CheckResult) bool { return r.Owner == c.Owner && r.Name == c.Name })
	if i >= 0 {
		x.result = d.Checks[i]
	}
	x.result.Owner, x.result.Name, x.result.Kind, x.result.Limit = c.Owner, c.Name, c.Kind(), c.Failures
	x.result.Asked, x.result.Bound = api.FillCheck(c.Asked(), c.Values(m.env.EnvRef, d.To)), bound(&c.ReleaseCheck)
	asked := changed
	if c.Service != "" {
		asked = []string{c.Service}
	}
	for _, name := range asked {
		hash, was := m.hash(target, name), ""
		if from != nil {
			if _, ok := from.Spec.Services[name]; ok {
				was = m.hash(from, name)
			} else if c.Service != "" {
				x.known = false // what was not there cannot have been as bad
			}
		}
		if hash == was {
			x.apart = false // the same tasks are of both releases
		}
		for i := range m.w.Tasks {
			switch t := &m.w.Tasks[i]; {
			case t.Service != name || !t.ready():
			case t.Hash == hash && t.running():
				x.fresh = append(x.fresh, t)
			case t.Hash == was && t.Desired.Runs():
				x.prior = append(x.prior, t)
			}
		}
	}
	sortTasks(x.fresh)
	sortTasks(x.prior)
	x.begun = len(x.fresh) > 0
	if c.Service != "" && !slices.Contains(changed, c.Service) { // its tasks were there before
		x.begun = slices.ContainsFunc(changed, func(name string) bool { return m.serves(name, m.hash(target, name)) })
	}
	return x
}

// serves tells whether a ready task of a service runs what the hash says.
func (m *maker) serves(service, hash string) bool {
	for i := range m.w.Tasks {
		if t := &m.w.Tasks[i]; t.Service == service && t.Hash == hash && t.running() && t.ready() {
			return true
		}
	}
	return false
}

// bound says what a check's value should be.
func bound(c *api.ReleaseCheck) string {
	switch q := c.PromQL; {
	case q == nil:
		return ""
	case q.Min == nil:
		return fmt.Sprintf("at most %v", *q.Max)
	case q.Max == nil:
		return fmt.Sprintf("at least %v", *q.Min)
	default:
		return fmt.Sprintf("%v to %v", *q.Min, *q.Max)
	}
}

// hear takes the answers that have come since.
func (m *maker) hear(x *inspection, d *api.Deployment) {
	r := &x.result
	if a, ok := m.w.Answers[CheckKey{x.Owner, x.Name, d.From}]; ok && d.From != 0 && !a.At.Before(d.StartedAt) && (r.Baseline == nil || a.At.After(r.Baseline.At)) {
		b := api.CheckBaseline{Release: d.From, Result: a.Result, Value: a.Value, Reason: a.Reason, At: a.At, Job: a.Job}
		if x.Kind() != api.CheckPromQL && x.apart && len(x.prior) == 0 && b.Result == api.VerdictFail {
			b.Result, b.Reason = api.VerdictInsufficient, "its tasks left meanwhile"
		}
		if before := r.Baseline; before != nil && b.Result == api.VerdictInsufficient {
			b.Result, b.Value, b.Reason = before.Result, before.Value, before.Reason // what is known of it last
		}
		r.Baseline = &b
	}
	a, ok := m.w.Answers[CheckKey{x.Owner, x.Name, d.To}]
	if !ok || !a.At.After(r.At) || a.At.Before(d.StartedAt) {
		return
	}
	r.Result, r.Value, r.Reason, r.At, r.Job = a.Result, a.Value, a.Reason, a.At, a.Job
	switch a.Result {
	case api.VerdictPass:
		r.Passed++
		r.InRow, r.Blind, r.Excused = 0, 0, false
	case api.VerdictFail:
		r.Failed++
		r.InRow++
		r.Blind = 0
	default:
		r.Unknown++
		r.Blind++
		if x.OnError == api.OnErrorFail {
			r.InRow++
		}
	}
}

// judged says why the release has failed by the check, "" when it has not. Waits tells that the release before is to be
// asked first, whether it does any better.
func (x *inspection) judged() (why string, waits bool) {
	r := &x.result
	if r.InRow < x.Failures {
		return "", false
	}
	b := r.Baseline
	if x.apart && x.known && len(x.prior) > 0 && (b == nil || !b.At.After(r.At)) {
		return "", true
	}
	if b != nil && b.Result == api.VerdictFail {
		r.Excused, r.InRow = true, 0
		return "", false
	}
	r.Excused = false
	return fmt.Sprintf("check %s: %s %s", r.Title(), r.Reason, inRow(r.InRow, r.Asked)), false
}

// numerals are what is said of small numbers.
var numerals = []string{"", "", "twice", "three times", "four times", "five times", "six times", "seven times", "eight times", "nine times", "ten times"}

// inRow says how often, and of what.
func inRow(n int, asked string) string {
	times := fmt.Sprintf("%d times in a row", n)
	switch {
	case n == 1:
		times = "once"
	case n < len(numerals):
		times = numerals[n] + " in a row"
	}
	return fmt.Sprintf("%s (%s)", times, asked)
}

// ask has the check asked of either release when it is time to.
func (m *maker) ask(x *inspection, d *api.Deployment, target, from *api.Release, waits bool) {
	r, now := &x.result, m.w.Now
	old := CheckKey{x.Owner, x.Name, d.From}
	if x.known && !m.w.Asking[old] {
		first := r.Baseline == nil && r.At.IsZero()
		switch {
		case waits, first && x.apart && len(x.prior) > 0:
			m.p.Ask = append(m.p.Ask, question(x, old, d, from, x.prior))
		case first && !x.apart && !x.begun && d.SwappedAt.IsZero() && (len(x.fresh) > 0 || !x.calls()): // whatever serves is the release before
			m.p.Ask = append(m.p.Ask, question(x, old, d, from, x.fresh))
		}
	}
	if waits || !x.begun || len(x.fresh) == 0 {
		return
	}
	if r.Since.IsZero() {
		r.Since = now
	}
	due := r.Since.Add(x.InitialDelay.Std())
	if !r.At.IsZero() {
		due = r.At.Add(x.Interval.Std())
	}
	fresh := CheckKey{x.Owner, x.Name, d.To}
	switch {
	case m.w.Asking[fresh]:
	case now.Before(due):
		m.p.wake(now, due)
	default:
		m.p.Ask = append(m.p.Ask, question(x, fresh, d, target, x.fresh))
	}
}

// calls tells whether the check needs tasks to ask.
func (x *inspection) calls() bool { return x.PromQL == nil && (x.HTTP == nil || x.HTTP.URL == "") }

func question(x *inspection, key CheckKey, d *api.Deployment, of *api.Release, tasks []*Task) Question {
	q := Question{CheckKey: key, Deployment: d.Number, Check: x.ReleaseCheck}
	if !x.calls() {
		return q
	}
	spec := of.Spec.Services[x.Service]
	port := spec.FirstPort()
	if x.HTTP != nil {
		port = cmp.Or(x.HTTP.Port, port)
	}
	for _, t := range tasks[:min(len(tasks), api.MaxCheckedTasks)] {
		address := t.Status.Address
		if port != 0 {
			address = net.JoinHostPort(address, strconv.Itoa(int(port)))
		}
		q.Targets = append(q.Targets, CheckTarget{Task: t.Name(), Address: address})
	}
	if x.Kind() == api.CheckCommand && len(tasks) > 0 {
		at := tasks[(x.result.Passed+x.result.Failed+x.result.Unknown)%len(tasks)].Status.Address
		q.Hosts = api.Hosts{x.Service: at}
		for _, n := range spec.Networks {
			for _, alias := range n.Aliases {
				q.Hosts[alias] = at
			}
		}
	}
	return q
}

// missing says which required check holds the deployment's end up, and failed, why it will never let it go.
func (m *maker) missing() (waits, failed string) {
	if m.target == nil || m.dep.Backwards {
		return "", ""
	}
	for _, c := range m.target.Spec.AllChecks() {
		i := slices.IndexFunc(m.dep.Checks, func(r api.CheckResult) bool { return r.Owner == c.Owner && r.Name == c.Name })
		if i < 0 || !c.Required || !m.askable(c) {
			continue
		}
		r := &m.dep.Checks[i]
		switch {
		case r.Result == api.VerdictPass || r.Excused:
		case r.Blind >= c.Failures:
			return "", fmt.Sprintf("check %s is required, and could not be answered %s: %s", r.Title(), inRow(r.Blind, r.Asked), r.Reason)
		case waits == "":
			waits = "waits for check " + r.Title()
			if r.Result != "" {
				waits += ": " + r.Reason
			}
		}
	}
	return waits, ""
}

// askable tells whether a check will ever have a task to ask: services that are scaled to nothing, or run to their end, have
// none that stays ready, and one that ails may have none.
func (m *maker) askable(c api.OwnedCheck) bool {
	changed := m.changes(m.target, m.committed)
	asked := changed
	if c.Service != "" {
		asked = []string{c.Service}
	}
	wanted := func(name string) bool {
		spec := m.target.Spec.Services[name]
		return m.env.Replicas(name, spec) > 0 && !spec.Restart.RunsToEnd()
	}
	return slices.ContainsFunc(asked, wanted) && slices.ContainsFunc(changed, wanted) && m.dep.Ailment(c.Service) == ""
}

// hush has nothing asked of a release that this very plan judges for the last time.
func (m *maker) hush() {
	d := cmp.Or(m.dep, m.p.Bake, m.w.Bake)
	if d == nil || d.Backwards || d.State.Final() && d.Trial != api.TrialOn {
		m.p.Ask = nil
	}
}

// tell puts what the checks say into words.
func tell(results []api.CheckResult) (said []string, all bool) {
	all = true
	for _, r := range results {
		if r.Result != api.VerdictPass {
			all = false
		}
		text := cmp.Or(r.Result, "not asked")
		if r.Reason != "" {
			text += ": " + r.Reason
		}
		if r.Excused {
			text += fmt.Sprintf(", as on release %d", r.Baseline.Release)
		}
		said = append(said, fmt.Sprintf("check %s: %s", r.Title(), text))
	}
	return said, all
}

func sameChecks(a, b []api.CheckResult) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}

// CheckJob is the name of a job that a command check runs as. No service's check has the name of an app's.
func CheckJob(owner, name string) string {
	if owner == "" {
		return "app-check-" + name
	}
	return "check-" + name
}
