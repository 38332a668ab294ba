package deploy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// posed is what was asked in one deployment and its trial.
type posed struct {
	asking, answers map[CheckKey]reply // under way, and the last ones
}

// reply is an answer with when it comes.
type reply struct {
	Answer
	due time.Time
	job bool // it is a command's, which goes on and is kept whoever leads
}

// forget drops what only the leader knows that asked: questions under way, and answers.
func (p *posed) forget() (lost bool) {
	for _, m := range []map[CheckKey]reply{p.asking, p.answers} {
		for key, r := range m {
			if !r.job {
				delete(m, key)
				lost = true
			}
		}
	}
	return lost
}

// recall puts into a world what was asked and answered. As in the control loop a question goes with its deployment, and a
// command is stopped whose release is judged no more, or not now.
func (s *sim) recall(w *World) {
	d := w.Judging()
	for number, p := range s.posed {
		if d == nil || d.Number != number {
			clear(p.asking)
			p.forget()
		}
	}
	if d == nil || s.posed[d.Number] == nil {
		return
	}
	w.Asking, w.Answers = map[CheckKey]bool{}, map[CheckKey]Answer{}
	for key := range s.posed[d.Number].asking {
		w.Asking[key] = true
	}
	for key, r := range s.posed[d.Number].answers {
		w.Answers[key] = r.Answer
	}
}

// pose asks what a plan wants to know, and has the images of the asked releases answer; it tells whether one did at once.
func (s *sim) pose(questions []Question) (answered bool) {
	for _, q := range questions {
		p := s.posed[q.Deployment]
		if p == nil {
			p = &posed{map[CheckKey]reply{}, map[CheckKey]reply{}}
			s.posed[q.Deployment] = p
		}
		spec, service := s.releases[q.Release].Spec, cmp.Or(q.Check.Service, "web")
		if _, ok := spec.Services[service]; !ok {
			service = sortedServices(s.releases[q.Release])[0]
		}
		s.asked++
		r := reply{Answer{At: s.now.Add(time.Duration(s.asked)), Result: api.VerdictPass, Reason: "fine"}, s.now, q.Check.Kind() == api.CheckCommand}
		if s.wonder != nil && s.wonder.IntN(2) == 0 {
			r.due = s.now.Add(time.Duration(s.wonder.IntN(2500)) * time.Millisecond)
		}
		switch s.checks[spec.Services[service].Image+"/"+q.Name] {
		case "fail":
			n := api.Number(0.83)
			r.Result, r.Value, r.Reason = api.VerdictFail, &n, "0.83 > 0.5"
		case "none":
			r.Result, r.Reason = api.VerdictInsufficient, "the query has no value"
		case "slow":
			r.Result, r.Reason, r.due = api.VerdictFail, "no answer in time", s.now.Add(q.Check.Timeout.Std())
			if q.Check.PromQL != nil {
				r.Result = api.VerdictInsufficient
			}
		}
		s.meet("asked: " + q.Check.Kind())
		if q.Release != s.deps[q.Deployment-1].To {
			s.meet("asked: the release before")
		}
		if r.due.After(s.now) {
			p.asking[q.CheckKey] = r
			continue
		}
		p.answers[q.CheckKey], answered = r, true
	}
	return answered
}

// listen takes the answers that have come.
func (s *sim) listen() {
	for _, p := range s.posed {
		for key, r := range p.asking {
			if !s.now.Before(r.due) {
				p.answers[key], s.dirty = r, true
				delete(p.asking, key)
			}
		}
	}
}

// judging is a plan with the deployment whose release is judged, before it and after it.
type judging struct {
	w             *World
	p             *Plan
	before, after *api.Deployment
	target, from  *api.Release
}

// checkQuestions holds what users are promised of their own checks, whatever the world: who is asked and when, that each
// answer counts once, what comes of it, and that it goes on.
func checkQuestions(w *World, p *Plan) error {
	d := w.Judging()
	if d == nil {
		if len(p.Ask) > 0 {
			return fmt.Errorf("check %s is asked, and no release is judged", p.Ask[0].Name)
		}
		return nil
	}
	c := judging{w: w, p: p, before: d, after: d}
	for _, now := range []*api.Deployment{p.Deployment, p.Bake} {
		if now != nil && now.Number == d.Number {
			c.after = now
		}
	}
	c.target, c.from = w.Releases[c.after.To], w.Releases[c.after.From]
	if c.target == nil {
		return nil
	}
	return errors.Join(c.questions(), c.results(), c.decision(), c.goesOn())
}

// goes tells whether the release is judged on.
func (c *judging) goes() bool {
	return !c.after.Backwards && (!c.after.State.Final() || c.after.Trial == api.TrialOn)
}

// find gives a check of the target and how it has done.
func (c *judging) find(d *api.Deployment, owner, name string) (api.OwnedCheck, api.CheckResult, bool) {
	all := c.target.Spec.AllChecks()
	i := slices.IndexFunc(all, func(o api.OwnedCheck) bool { return o.Owner == owner && o.Name == name })
	if i < 0 {
		return api.OwnedCheck{}, api.CheckResult{}, false
	}
	for _, r := range d.Checks {
		if r.Owner == owner && r.Name == name {
			return all[i], r, true
		}
	}
	return all[i], api.CheckResult{}, true
}

// asks tells whether a question goes to a release in this plan, or has gone before.
func (c *judging) asks(key CheckKey) bool {
	return c.w.Asking[key] || slices.ContainsFunc(c.p.Ask, func(q Question) bool { return q.CheckKey == key })
}

// ready gives the tasks of a release's service that can be asked: those that serve, or where it is left, also warm ones.
func (c *judging) ready(of *api.Release, service string) (out []*Task) {
	if of == nil {
		return nil
	}
	if _, ok := of.Spec.Services[service]; !ok {
		return nil
	}
	hash := c.w.Hashes.of(of, service)
	left := of != c.target && hash != c.w.Hashes.of(c.target, service)
	for i := range c.w.Tasks {
		t := &c.w.Tasks[i]
		if t.Job == nil && t.Service == service && t.Hash == hash && t.Status.State == api.TaskReady && !t.Lost && (t.running() || left && t.Desired.Runs()) {
			out = append(out, t)
		}
	}
	return out
}

// staying gives the ready tasks that this very plan does not end.
func (c *judging) staying(of *api.Release, service string) []*Task {
	return slices.DeleteFunc(c.ready(of, service), func(t *Task) bool {
		return slices.ContainsFunc(c.p.Update, func(u api.Task) bool { return u.ID == t.ID && !u.Desired.Runs() })
	})
}

// questions holds that only a release is asked that is there and judged, or the one before, each question once at a time, at
// its tasks, and not too soon.
func (c *judging) questions() error {
	seen := map[CheckKey]bool{}
	for i := range c.p.Ask {
		q := &c.p.Ask[i]
		check, r, ok := c.find(c.after, q.Owner, q.Name)
		of := c.w.Releases[q.Release]
		switch {
		case !ok:
			return fmt.Errorf("check %s is none of release %d", q.Name, c.after.To)
		case !c.goes():
			return fmt.Errorf("check %s is asked, and deployment %d is %s, its trial %q", r.Title(), c.after.Number, c.after.State, c.after.Trial)
		case q.Deployment != c.after.Number:
			return fmt.Errorf("check %s is asked for deployment %d, that is judged is %d", r.Title(), q.Deployment, c.after.Number)
		case of == nil || q.Release != c.after.To && q.Release != c.after.From:
			return fmt.Errorf("check %s is asked of release %d, which is not there or in nobody's way", r.Title(), q.Release)
		case seen[q.CheckKey] || c.w.Asking[q.CheckKey]:
			return fmt.Errorf("check %s is asked of release %d twice at a time", r.Title(), q.Release)
		}
		seen[q.CheckKey] = true
		due := r.Since.Add(check.InitialDelay.Std())
		if !r.At.IsZero() {
			due = r.At.Add(check.Interval.Std())
		}
		if q.Release == c.after.To && (r.Since.IsZero() || c.w.Now.Before(due)) {
			return fmt.Errorf("check %s is asked %s too soon", r.Title(), due.Sub(c.w.Now))
		}
		if check.Kind() == api.CheckPromQL || check.HTTP != nil && check.HTTP.URL != "" {
			continue
		}
		n, staying := len(c.ready(of, check.Service)), len(c.staying(of, check.Service))
		if asked := len(q.Targets); asked == 0 || asked != min(n, api.MaxCheckedTasks) && asked != min(staying, api.MaxCheckedTasks) {
			return fmt.Errorf("check %s asks %d tasks of release %d, %d are ready", r.Title(), len(q.Targets), q.Release, n)
		}
	}
	return nil
}

// results holds that each answer counts once, as what it is.
func (c *judging) results() error {
	for _, was := range c.before.Checks {
		if _, r, _ := c.find(c.after, was.Owner, was.Name); r.Name == "" {
			return fmt.Errorf("what check %s has said is forgotten", was.Title())
		}
	}
	for _, r := range c.after.Checks {
		check, want, _ := c.find(c.before, r.Owner, r.Name)
		if a, ok := c.w.Answers[CheckKey{r.Owner, r.Name, c.after.To}]; ok && a.At.After(want.At) && !a.At.Before(c.after.StartedAt) &&
			c.after.Trial != api.TrialEnded { // with a trial that something else ends nobody asks what was answered last
			want.At, want.Result = a.At, a.Result
			switch a.Result {
			case api.VerdictPass:
				want.Passed, want.InRow, want.Blind = want.Passed+1, 0, 0
			case api.VerdictFail:
				want.Failed, want.InRow, want.Blind = want.Failed+1, want.InRow+1, 0
			default:
				want.Unknown, want.Blind = want.Unknown+1, want.Blind+1
				if check.OnError == api.OnErrorFail {
					want.InRow++
				}
			}
		}
		if want.InRow >= r.Limit && r.InRow == 0 && r.Excused {
			if want.InRow = 0; r.Baseline == nil || r.Baseline.Result != api.VerdictFail {
				return fmt.Errorf("check %s is excused by %+v", r.Title(), r.Baseline)
			}
		}
		if r.Result != want.Result || !r.At.Equal(want.At) || r.Passed != want.Passed || r.Failed != want.Failed || r.Unknown != want.Unknown ||
			r.InRow != want.InRow || r.Blind != want.Blind {
			return fmt.Errorf("check %s has %+v, expected %+v", r.Title(), r, want)
		}
	}
	return nil
}

// decision holds that a release which fails a check that the one before passes is taken back, and no other; that nothing is
// made of what cannot be answered, unless its user says so; and that no deployment succeeds without what it requires.
func (c *judging) decision() error {
	turned := c.after.Backwards && !c.before.Backwards || c.after.Trial == api.TrialFailed && c.before.Trial == api.TrialOn
	if turned && strings.HasPrefix(c.after.Reason, "check ") {
		return c.accused()
	}
	for _, r := range c.after.Checks {
		if c.goes() && r.InRow >= r.Limit && !c.asks(CheckKey{r.Owner, r.Name, c.after.From}) {
			return fmt.Errorf("check %s has failed %d times in a row, and nothing comes of it", r.Title(), r.InRow)
		}
		if c.after.Trial == api.TrialVerified && r.Result != api.VerdictPass {
			return fmt.Errorf("release %d is verified, and check %s is %q", c.after.To, r.Title(), r.Result)
		}
	}
	if c.before.State.Final() || c.after.State != api.DeploySucceeded {
		return nil
	}
	for _, check := range c.target.Spec.AllChecks() {
		_, r, _ := c.find(c.after, check.Owner, check.Name)
		if check.Required && r.Name != "" && r.Result != api.VerdictPass && !r.Excused && c.wanted(check) {
			return fmt.Errorf("deployment %d succeeded, and check %s, which is required, is %q", c.after.Number, r.Title(), r.Result)
		}
	}
	return nil
}

// wanted tells whether a check's services are to have tasks.
func (c *judging) wanted(check api.OwnedCheck) bool {
	env := cmp.Or(c.p.Env, &c.w.Env)
	changed, asked := 0, 0
	for name, spec := range c.target.Spec.Services {
		if spec.Restart.RunsToEnd() {
			continue
		}
		if name == check.Service {
			asked += env.Replicas(name, spec)
		}
		if c.from != nil {
			if _, ok := c.from.Spec.Services[name]; ok && c.w.Hashes.of(c.from, name) == c.w.Hashes.of(c.target, name) {
				continue
			}
		}
		changed += env.Replicas(name, spec)
	}
	return changed > 0 && (asked > 0 || check.Service == "") && c.after.Ailment(check.Service) == ""
}

// accused holds that the check has failed which the release is taken back for.
func (c *judging) accused() error {
	for _, r := range c.after.Checks {
		check, _, _ := c.find(c.after, r.Owner, r.Name)
		switch {
		case strings.HasPrefix(c.after.Reason, "check "+r.Title()+" is required"):
			if !check.Required || r.Blind < r.Limit {
				return fmt.Errorf("check %s could be answered, or is not required: %+v", r.Title(), r)
			}
			return nil
		case !strings.HasPrefix(c.after.Reason, "check "+r.Title()+": "):
			continue
		case r.InRow < r.Limit || r.Result == api.VerdictInsufficient && check.OnError != api.OnErrorFail:
			return fmt.Errorf("check %s has not failed: %+v", r.Title(), r)
		case r.Baseline != nil && r.Baseline.Result == api.VerdictFail:
			return fmt.Errorf("check %s failed on release %d too: %+v", r.Title(), c.after.From, r)
		}
		asked := []string{check.Service}
		if check.Service == "" {
			asked = sortedServices(c.target)
		}
		for _, name := range asked {
			if len(c.staying(c.from, name)) == 0 || c.w.Hashes.of(c.from, name) == c.w.Hashes.of(c.target, name) {
				continue
			}
			if _, ok := c.target.Spec.Services[name]; ok && check.Apart() && (r.Baseline == nil || r.Baseline.At.Before(r.At)) {
				return fmt.Errorf("check %s fails release %d, and release %d, which serves, was not asked: %+v", r.Title(), c.after.To, c.after.From, r)
			}
		}
		return nil
	}
	return fmt.Errorf("there is no check for which the release is taken back: %s", c.after.Reason)
}

// goesOn holds that a service's checks are asked as long as there is somebody to ask.
func (c *judging) goesOn() error {
	for _, r := range c.after.Checks {
		check, _, _ := c.find(c.after, r.Owner, r.Name)
		leaves := slices.ContainsFunc(c.p.Update, func(t api.Task) bool { return t.Service == r.Owner && t.Desired != api.WantRunning })
		if !c.goes() || leaves || r.Owner == "" || r.InRow >= r.Limit || c.asks(CheckKey{r.Owner, r.Name, c.after.To}) || len(c.ready(c.target, r.Owner)) == 0 {
			continue
		}
		due := r.Since.Add(check.InitialDelay.Std())
		if !r.At.IsZero() {
			due = r.At.Add(check.Interval.Std())
		}
		if r.Since.IsZero() || !due.After(c.w.Now) || c.p.Wake.IsZero() || c.p.Wake.After(due) {
			return fmt.Errorf("check %s is to be asked at %s, it is %s, and the next look is at %s", r.Title(), due, c.w.Now, c.p.Wake)
		}
	}
	return nil
}

// meetAnswers counts what comes of checks in a plan.
func (s *sim) meetAnswers(w *World, p *Plan) {
	d := w.Judging()
	if d == nil {
		return
	}
	for _, now := range []*api.Deployment{p.Deployment, p.Bake} {
		if now == nil || now.Number != d.Number {
			continue
		}
		c := judging{w: w, p: p, before: d, after: now, target: w.Releases[now.To]}
		for _, r := range now.Checks {
			_, was, _ := c.find(d, r.Owner, r.Name)
			if r.At.After(was.At) {
				s.meet("check answered: " + r.Result)
			}
			if r.Excused && !was.Excused {
				s.meet("check fails as before")
			}
			if r.InRow >= r.Limit && now.Trial == api.TrialOn && c.asks(CheckKey{r.Owner, r.Name, now.From}) {
				s.meet("check that failed waits for the release before")
			}
		}
		if now.Trial == api.TrialFailed && strings.HasPrefix(now.Reason, "check ") {
			s.meet("failed on trial by a check")
		}
		if now.Trial == api.TrialVerified && len(now.Checks) > 0 {
			s.meet("verified, with checks")
		}
		for _, r := range now.Rollouts {
			if strings.HasPrefix(r.Reason, "waits for check") {
				s.meet("required check waited for")
			}
		}
	}
}

// randomChecks gives a service, or with "" the app, some checks, or none. Of a name that begins with an o the deployment
// hears only: nothing comes of it where it cannot be answered.
func (w *randomWorld) randomChecks(service string) []api.ReleaseCheck {
	r := w.wonder
	if r == nil || r.IntN(2) == 0 {
		return nil
	}
	most := 0.5
	var out []api.ReleaseCheck
	for i := range 1 + r.IntN(2) {
		c := api.ReleaseCheck{Name: fmt.Sprintf("c%d", i), Interval: api.Duration(time.Duration(1000+r.IntN(4000)) * time.Millisecond),
			Timeout: api.Duration(3 * time.Second), Failures: 1 + r.IntN(3)}
		if r.IntN(3) == 0 {
			c.InitialDelay = api.Duration(time.Duration(r.IntN(3000)) * time.Millisecond)
		}
		if r.IntN(3) == 0 {
			c.Name = fmt.Sprintf("o%d", i)
		} else {
			c.Required = r.IntN(3) == 0
			c.OnError = []string{"", "", "", api.OnErrorIgnore, api.OnErrorFail}[r.IntN(5)]
		}
		kind := r.IntN(5)
		if service == "" {
			if kind > 2 || r.IntN(3) == 0 {
				c.Service = "s0" // which is always there
			}
		}
		switch kind {
		case 0:
			c.HTTP = &api.HTTPCheck{URL: "https://shop.example.com/smoke"}
		case 1:
			c.PromQL = &api.PromQLCheck{Query: `errors{release="{{.Release}}"}`, Max: &most}
		case 2:
			c.PromQL = &api.PromQLCheck{Query: "errors", Max: &most}
		case 3:
			c.HTTP = &api.HTTPCheck{Path: "/smoke"}
		case 4:
			c.Command = []string{"smoke"}
		}
		out = append(out, c)
	}
	return out
}

// misanswer has a check of an image fail, or not be answered, or late, or well again from now on.
func (w *randomWorld) misanswer() {
	r := w.wonder
	if r == nil || r.IntN(3) > 0 {
		return
	}
	name, how := []string{"o0", "o1", "c0", "c1"}, []string{"", "none", "slow", "fail", "fail"}
	if w.calm {
		name, how = name[:2], how[:2]
	}
	w.checks[w.imageOnItsWay()+"/"+name[r.IntN(len(name))]] = how[r.IntN(len(how))]
	w.run(time.Duration(r.IntN(6000)) * time.Millisecond)
}
