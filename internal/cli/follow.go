package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// follow shows a deployment until it has ended, prints its receipt, and gives its outcome as an error with the exit
// code. Interrupted, it leaves the deployment running and says how to come back.
func (s *shell) follow(ctx context.Context, c *client.Client, ref api.EnvRef, d api.Deployment) error {
	view := s.newRolloutProgress(d)
	output := newCommandOutput(ctx, c, ref, view.line)
	last, err := c.WatchDeployment(ctx, ref, d.Number, func(d api.Deployment) error {
		view.update(d)
		output.update(d)
		return nil
	})
	output.close()
	view.close()
	if err != nil {
		again := fmt.Sprintf("watch it with `ikada watch %d -a %s -e %s`, cancel it with `ikada cancel %d -a %s -e %s`",
			d.Number, ref.App, ref.Env, d.Number, ref.App, ref.Env)
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, context.DeadlineExceeded):
			return &exitError{ExitTimeout, fmt.Errorf("%w; deployment %d goes on: %s", cause, d.Number, again)}
		case cause != nil:
			fmt.Fprintf(s.Stderr, "Deployment %d goes on: %s.\n", d.Number, again)
			return &exitError{code: ExitError}
		}
		return err
	}
	if s.json {
		if err := s.printJSON(last); err != nil {
			return err
		}
	} else {
		s.printSummary(last)
	}
	return outcome(last)
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
	s    *shell
	now  api.Deployment
	said map[string]string // the last plain line of each service
}

func (s *shell) newRolloutProgress(d api.Deployment) *rolloutProgress {
	p := &rolloutProgress{s: s, now: d, said: map[string]string{}}
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
	for _, r := range d.Rollouts {
		p.plain(r.Service, r.Service+": "+describe(r))
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
	if d.Backwards && !d.State.Final() {
		text = fmt.Sprintf("%s: deployment %d goes back to release %d", d.EnvRef, d.Number, d.From)
	}
	if d.Reason != "" && (d.Backwards || d.State == api.DeployQueued) {
		text += ": " + printable(d.Reason)
	}
	return text
}

// describe is a rollout in words.
func describe(r api.Rollout) string {
	text := fmt.Sprintf("%s, %d of %d ready", r.State, r.Ready, r.Want)
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
	if r.Reason != "" {
		text += ": " + printable(r.Reason)
	}
	return text
}

const barWidth = 24

// lines renders the live view: a headline and a bar a service.
func (p *rolloutProgress) lines() []string {
	t := p.s.errOut
	head := p.headline()
	if began := p.now.StartedAt; !began.IsZero() && !p.now.State.Final() {
		head += t.paint(dim, " "+short(p.s.Now().Sub(began)))
	}
	out := []string{t.paint(bold, head)}
	width := 0
	for _, r := range p.now.Rollouts {
		width = max(width, len(r.Service))
	}
	for _, r := range p.now.Rollouts {
		out = append(out, fmt.Sprintf("  %-*s %s %s", width, r.Service, p.bar(r), describe(r)))
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
