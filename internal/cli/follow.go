package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// follow shows a deployment until it has ended, prints its receipt, and gives its outcome as an error with the exit
// code. Interrupted, it leaves the deployment running and says how to come back. Where w says so it waits for the end of
// the release's trial too, and for that of the way back when that is what comes of it.
func (s *shell) follow(ctx context.Context, c *client.Client, ref api.EnvRef, d api.Deployment, w waiting) error {
	last, err := s.watch(ctx, c, ref, d, w)
	if err != nil {
		return err
	}
	if w.trial() && last.Trial == api.TrialFailed && last.Follow != 0 {
		back, err := s.watch(ctx, c, ref, api.Deployment{EnvRef: ref, Number: last.Follow, To: last.From, State: api.DeployQueued}, waiting{})
		switch {
		case err != nil:
			return err
		case back.State != api.DeploySucceeded:
			return &exitError{ExitError, fmt.Errorf("release %d failed on trial (%s), and deployment %d, which was to lead back, is %s: %s",
				last.To, last.Reason, back.Number, back.State, back.Reason)}
		}
	}
	if s.json {
		if err := s.printJSON(last); err != nil {
			return err
		}
	} else {
		summary := s.printSummary(last)
		if last.State == api.DeploySucceeded && last.Trial != api.TrialFailed {
			// An error here hides what `ikada status` shows; how the deployment came out is known.
			if now, err := c.Environment(ctx, ref); err == nil {
				summary.reached(now.Services)
			}
		}
	}
	if w.trial() {
		return verdict(last)
	}
	return outcome(last)
}

// watch shows a deployment until it has ended, or its trial has, and gives how it stands then.
func (s *shell) watch(ctx context.Context, c *client.Client, ref api.EnvRef, d api.Deployment, w waiting) (api.Deployment, error) {
	view := s.newRolloutProgress(d, w.trial())
	output := newCommandOutput(ctx, c, ref, view.line)
	watch := c.WatchDeployment
	if w.trial() {
		watch = c.WatchTrial
	}
	asked, ahead := false, ""
	last, err := watch(ctx, ref, d.Number, func(now api.Deployment) error {
		if now.State == api.DeployQueued {
			if !asked {
				asked, ahead = true, s.ahead(ctx, c, ref, now.Number)
			}
			now.Reason = cmp.Or(now.Reason, ahead)
		}
		d = now
		view.update(now)
		output.update(now)
		return nil
	})
	output.close()
	view.close()
	if err == nil {
		return last, nil
	}
	where := fmt.Sprintf("%d -a %s -e %s", d.Number, ref.App, ref.Env)
	text := fmt.Sprintf("deployment %d goes on: watch it with `ikada watch %s`, cancel it with `ikada cancel %s`", d.Number, where, where)
	if d.State.Final() {
		text = fmt.Sprintf("deployment %d has %s, and release %d stays on trial until %s: watch it with `ikada watch %s --wait trial`",
			d.Number, d.State, d.To, d.BakedAt.Local().Format(time.TimeOnly), where)
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded):
		return last, &exitError{ExitTimeout, fmt.Errorf("%w; %s", cause, text)}
	case cause != nil:
		fmt.Fprintf(s.Stderr, "%s.\n", strings.ToUpper(text[:1])+text[1:])
		return last, &exitError{code: ExitError}
	}
	return last, err
}

// ahead tells which deployment a queued one waits for; "" for none that is known.
func (s *shell) ahead(ctx context.Context, c *client.Client, ref api.EnvRef, number uint64) string {
	status, err := c.Environment(ctx, ref)
	if err != nil || status.Deployment == nil || status.Deployment.Number == number || status.Deployment.State != api.DeployRunning {
		return ""
	}
	d := status.Deployment
	text := fmt.Sprintf("deployment %d runs before it", d.Number)
	if d.Paused() || slices.ContainsFunc(d.Rollouts, func(r api.Rollout) bool { return r.State == api.RolloutPaused }) {
		text += fmt.Sprintf(", which is paused: `ikada resume %d` has it go on, `ikada cancel %d` takes it back", d.Number, d.Number)
	}
	return text
}

// verdict gives the error of a deployment whose release did not come well through its trial.
func verdict(d api.Deployment) error {
	switch err := outcome(d); {
	case err != nil:
		return err
	case d.Trial == api.TrialFailed:
		why := "no reason is known"
		for _, v := range d.Verdicts {
			if v.Result == api.VerdictFail {
				why = v.Service + ": " + v.Reason
			}
		}
		for _, r := range d.Checks {
			if r.InRow >= r.Limit {
				why = fmt.Sprintf("check %s: %s", r.Title(), r.Reason)
			}
		}
		return &exitError{ExitError, fmt.Errorf("release %d failed on trial, with no release to go back to: %s", d.To, why)}
	case d.Trial == api.TrialEnded:
		return &exitError{ExitCancelled, fmt.Errorf("the trial of release %d was ended by what came after it: it is not known how it would have gone", d.To)}
	}
	return nil
}

// outcome gives the error of a deployment that did not succeed.
func outcome(d api.Deployment) error {
	reason := d.Reason
	if reason == "" {
		reason = "no reason is known"
	}
	switch d.State {
	case api.DeploySucceeded:
		return nil
	case api.DeployRolledBack:
		return &exitError{ExitRolledBack, fmt.Errorf("release %d was taken back: %s", d.To, reason)}
	case api.DeployCancelled, api.DeploySuperseded:
		return &exitError{ExitCancelled, fmt.Errorf("deployment %d was %s: %s", d.Number, d.State, reason)}
	}
	return &exitError{ExitError, fmt.Errorf("deployment %d %s: %s", d.Number, d.State, reason)}
}

// waited says what a run was doing when --timeout ended it.
func waited(err error, doing string) error {
	if errors.Is(err, errWaited) {
		return &exitError{ExitTimeout, fmt.Errorf("%s: %w", doing, err)}
	}
	return err
}

// rolloutProgress shows a deployment. Safe for concurrent use.
type rolloutProgress struct {
	drawing
	s     *shell
	trial bool // it goes on until the trial has ended
	now   api.Deployment
	said  map[string]string // the last plain line of each service
}

func (s *shell) newRolloutProgress(d api.Deployment, trial bool) *rolloutProgress {
	p := &rolloutProgress{s: s, trial: trial, now: d, said: map[string]string{}}
	p.begin(s.errOut, p.lines)
	return p
}

func (p *rolloutProgress) update(d api.Deployment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = d
	if p.frame != nil {
		p.frame.draw(p.lines())
		return
	}
	p.plain("", p.headline())
	if p.tried() {
		for _, v := range d.Verdicts { // their numbers change all the time: a line where the result does
			if key := "verdict on " + v.Service; p.said[key] != v.Result {
				p.said[key] = v.Result
				fmt.Fprintln(p.s.Stderr, judged(v))
			}
		}
	} else {
		for _, a := range d.Ailing {
			p.plain(a.Service, printable(a.String()))
		}
		for _, r := range d.Rollouts {
			if d.Ailment(r.Service) == "" { // those come and go
				p.plain(r.Service, r.Service+": "+describe(d, r))
			}
		}
	}
	for i := range d.Checks {
		if r := &d.Checks[i]; r.Result != "" {
			p.plain("check "+r.Title(), "check "+printable(checkNews(r)))
		}
	}
}

// line prints a line of a command's output, above the live view where there is one.
func (p *rolloutProgress) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frame != nil {
		p.frame.clear()
	}
	fmt.Fprintln(p.s.Stderr, text)
	if p.frame != nil {
		p.frame.draw(p.lines())
	}
}

// plain prints a line once.
func (p *rolloutProgress) plain(key, line string) {
	if p.said[key] != line {
		p.said[key] = line
		fmt.Fprintln(p.s.Stderr, line)
	}
}

func (p *rolloutProgress) headline() string {
	d := p.now
	text := fmt.Sprintf("%s: deployment %d to release %d: %s", d.EnvRef, d.Number, d.To, d.State)
	switch {
	case p.tried() && d.Trial == api.TrialOn:
		text = fmt.Sprintf("%s: deployment %d has %s; release %d is on trial until %s", d.EnvRef, d.Number, d.State, d.To,
			d.BakedAt.Local().Format(time.TimeOnly))
	case p.tried():
		text = fmt.Sprintf("%s: the trial of release %d: %s", d.EnvRef, d.To, d.Trial)
	case d.Backwards && !d.State.Final():
		text = fmt.Sprintf("%s: deployment %d %s", d.EnvRef, d.Number, d.Back())
	}
	if d.Reason != "" && (d.Backwards || d.State == api.DeployQueued) {
		text += ": " + printable(d.Reason)
	}
	return text
}

// tried tells whether it is the release's trial that is shown.
func (p *rolloutProgress) tried() bool { return p.trial && p.now.State.Final() && p.now.Trial != "" }

// judged is a verdict in words.
func judged(v api.Verdict) string { return v.Service + ": " + v.Result + ": " + printable(v.Reason) }

// describe is a deployment's rollout in words, with what it waits for.
func describe(d api.Deployment, r api.Rollout) string {
	text := stage(d, r)
	if r.Reason != "" {
		text += ": " + printable(r.Reason)
	}
	return text
}

// stage tells how far a deployment's rollout is.
func stage(d api.Deployment, r api.Rollout) string {
	state := string(r.State)
	if d.Backwards && r.State == api.RolloutDone {
		state = "as before"
	}
	text := fmt.Sprintf("%s, %d of %d ready", state, r.Ready, r.Want)
	if starting := r.New - r.Ready; starting > 0 {
		text += fmt.Sprintf(", %d starting", starting)
	}
	if r.Old > 0 {
		text += fmt.Sprintf(", %d old", r.Old)
	}
	if r.Warm > 0 {
		text += fmt.Sprintf(", %d warm", r.Warm)
	}
	if r.Failed > 0 {
		text += fmt.Sprintf(", %d failed", r.Failed)
	}
	return text
}

const barWidth = 24

// lines renders the live view: a headline and a bar a service. Reasons are what one looks at it for, so they are broken
// into lines, not cut.
func (p *rolloutProgress) lines() []string {
	t := p.s.errOut
	columns, _ := t.size()
	columns--
	out := wrap(p.headline(), "  ", columns)
	for i := range out {
		out[i] = t.paint(bold, out[i])
	}
	last := &out[len(out)-1]
	if began := p.now.StartedAt; !began.IsZero() && !p.now.State.Final() {
		*last += t.paint(dim, " "+short(p.s.Now().Sub(began)))
	}
	if p.tried() && p.now.Trial == api.TrialOn {
		*last += t.paint(dim, fmt.Sprintf(" (%s left)", short(max(p.now.BakedAt.Sub(p.s.Now()), 0))))
	}
	if p.tried() {
		for _, v := range p.now.Verdicts {
			out = append(out, wrap("  "+judged(v), "    ", columns)...)
		}
		return p.checkLines(out, columns)
	}
	width := 0
	for _, r := range p.now.Rollouts {
		width = max(width, len(r.Service))
	}
	for _, r := range p.now.Rollouts {
		out = append(out, fmt.Sprintf("  %-*s %s %s", width, r.Service, p.bar(r), stage(p.now, r)))
		if r.Reason != "" {
			out = append(out, wrap("    "+printable(r.Reason), "    ", columns)...)
		}
	}
	return p.checkLines(out, columns)
}

// checkLines adds how the deployment's own checks stand.
func (p *rolloutProgress) checkLines(out []string, columns int) []string {
	for i := range p.now.Checks {
		r := &p.now.Checks[i]
		for _, line := range wrap("  check "+printable(checkLine(r)), "    ", columns) {
			out = append(out, p.s.errOut.paint(checkStyle(r.Result), line))
		}
	}
	return out
}

// bar draws ready, starting and old tasks in their shares.
func (p *rolloutProgress) bar(r api.Rollout) string {
	total := max(r.Want, r.New+r.Old, 1)
	cells := func(n int) int { return n * barWidth / total }
	ready, starting, old := cells(r.Ready), cells(max(r.New-r.Ready, 0)), cells(r.Old)
	rest := max(barWidth-ready-starting-old, 0)
	t := p.s.errOut
	return t.paint(green, strings.Repeat("█", ready)) + t.paint(yellow, strings.Repeat("▓", starting)) +
		t.paint(cyan, strings.Repeat("▒", old)) + t.paint(dim, strings.Repeat("·", rest))
}
