package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// page writes a receipt: named lines, then tables.
type page struct {
	s *shell
	d *api.Deployment
}

func (p *page) line(name, value string) {
	if value != "" {
		fmt.Fprintf(p.s.out, "  %s %s\n", p.s.out.paint(dim, fmt.Sprintf("%-13s", name)), value)
	}
}

// printReceipt prints a deployment's proof.
func (s *shell) printReceipt(d api.Deployment) {
	p := s.printSummary(d)
	if d.State.Final() {
		p.releases()
	}
	p.steps()
	p.images()
}

// printSummary prints of it what matters to one who has waited for the deployment.
func (s *shell) printSummary(d api.Deployment) *page {
	p := &page{s, &d}
	fmt.Fprintf(s.out, "%s deployment %d: %s\n", s.out.paint(bold, d.EnvRef.String()), d.Number, s.out.paint(stateStyle(string(d.State)), string(d.State)))
	p.what()
	if !d.State.Final() {
		for _, r := range d.Rollouts {
			p.line(r.Service, describe(d, r))
		}
		p.verdicts()
		return p
	}
	p.requests()
	if r := d.Receipt; r.Swap > 0 {
		p.line("swapped in", precise(r.Swap))
	}
	if took := d.Receipt.Took; took > 0 {
		p.line("took", precise(took))
	}
	p.verdicts()
	p.trial()
	p.line("way back", p.wayBack())
	return p
}

// what tells what was shipped, by whom, and how it came out.
func (p *page) what() {
	d := p.d
	switch {
	case d.State == api.DeployRolledBack && d.From == 0:
		p.line("release", fmt.Sprintf("%d, taken back", d.To))
	case d.From == 0:
		p.line("release", fmt.Sprint(d.To))
	case d.State == api.DeployRolledBack:
		p.line("release", fmt.Sprintf("%d, taken back to %d", d.To, d.From))
	default:
		p.line("release", fmt.Sprintf("%d → %d", d.From, d.To))
	}
	p.line("reason", printable(d.Reason))
	for _, a := range d.Ailing {
		p.line("ailing", printable(a.String()))
	}
	if d.Follow != 0 {
		p.line("taken back by", fmt.Sprintf("deployment %d", d.Follow))
	}
	if t := d.Target; t != nil {
		p.line("commit", printable(t.Commit))
		if t.From != nil {
			p.line("promoted from", printable(t.From.String()))
		}
		p.line("note", printable(t.Message))
	}
	if !d.CreatedAt.IsZero() {
		text := d.CreatedAt.Local().Format(time.DateTime)
		if d.CreatedBy != "" {
			text = printable(d.CreatedBy) + ", " + text
		}
		p.line("asked by", text)
	}
}

func (p *page) requests() {
	r := p.d.Receipt
	requests := number(r.Requests)
	if r.Partial != "" {
		requests += " (" + printable(r.Partial) + ")"
	}
	p.line("requests", requests)
	p.line("failed", p.bad(r.Failed))
	if r.LongestWait > 0 {
		p.line("longest wait", precise(r.LongestWait))
	}
	if r.Held > 0 {
		p.line("held", number(r.Held)+" waited for a task to be ready")
	}
	if r.Retried > 0 {
		p.line("retried", number(r.Retried))
	}
}

func (p *page) bad(n uint64) string {
	if n == 0 {
		return "0"
	}
	return p.s.out.paint(red, number(n))
}

func (p *page) verdicts() {
	for _, v := range p.d.Verdicts {
		p.line("verdict", judged(v))
	}
	for i := range p.d.Checks {
		p.line("check", printable(checkLine(&p.d.Checks[i])))
	}
}

func (p *page) trial() {
	switch d := p.d; d.Trial {
	case "":
	case api.TrialOn:
		p.line("on trial", fmt.Sprintf("until %s: goes back by itself if it turns out bad", d.BakedAt.Local().Format(time.TimeOnly)))
	default:
		p.line("trial", string(d.Trial))
	}
}

// reached tells where to find what was shipped, as `ikada status` does.
func (p *page) reached(services []api.ServiceStatus) {
	for _, svc := range services {
		if by := reachedBy(svc); by != "" {
			p.line("reached by", svc.Service+": "+by)
		}
	}
}

// reachedBy lists the ports and routes that lead to a service from outside.
func reachedBy(svc api.ServiceStatus) string {
	return strings.Join(slices.Concat(svc.Ports, svc.Routes), ", ")
}

// wayBack tells how a rollback would go now: warm tasks may have ended meanwhile.
func (p *page) wayBack() string {
	w := p.d.Receipt.WayBack
	if w == nil || w.Warm == 0 {
		return printable(p.d.Receipt.Rollback)
	}
	about := ""
	if w.Starts > 0 {
		about = ", about " + precise(w.Starts)
	}
	text := fmt.Sprintf("release %d is kept", w.Release)
	switch {
	case !w.Until.After(p.s.Now()):
		return text + "; its warm tasks have ended: others have to start"
	case len(w.Cold) > 0:
		return fmt.Sprintf("%s, %s warm until %s; %s would have to start%s", text, plural(w.Warm, "task"), w.Until.Local().Format(time.TimeOnly),
			strings.Join(w.Cold, ", "), about)
	}
	return fmt.Sprintf("%s, %s warm until %s: at once", text, plural(w.Warm, "task"), w.Until.Local().Format(time.TimeOnly))
}

// releases breaks the requests down where more than one release answered them.
func (p *page) releases() {
	if len(p.d.Receipt.Releases) < 2 {
		return
	}
	t := p.s.table("ANSWERED BY", "REQUESTS", "FAILED", "LONGEST WAIT", "HELD", "RETRIED")
	for _, r := range p.d.Receipt.Releases {
		name := fmt.Sprintf("release %d", r.Release)
		if r.Release == 0 {
			name = "no task"
		}
		t.row(name, number(r.Requests), p.bad(r.Failed), precise(r.LongestWait), number(r.Held), number(r.Retried))
	}
	p.print(t)
}

// steps prints the way, counted from the deployment's start.
func (p *page) steps() {
	if len(p.d.Steps) == 0 {
		return
	}
	t := p.s.table("STEP", "SERVICE", "AT", "TOOK", "")
	for _, s := range p.d.Steps {
		name := s.Name
		switch {
		case s.Weight == 100:
			name = "all requests"
		case s.Name == api.StepShare:
			name = fmt.Sprintf("%d %% of the requests", s.Weight)
		}
		took := precise(s.Took)
		switch {
		case !s.Ended:
			took = "goes on"
		case s.Name == api.StepShare && s.Took == 0:
			took = ""
		}
		t.row(name, printable(s.Service), offset(s.At.Sub(p.d.StartedAt)), took, printable(s.Note))
	}
	p.print(t)
}

// offset gives a time before or after the deployment's start.
func offset(d time.Duration) string {
	if d < 0 {
		return "-" + precise(api.Duration(-d))
	}
	return "+" + precise(api.Duration(d))
}

// images tells which images were shipped, and what they replaced.
func (p *page) images() {
	if p.d.Target == nil {
		return
	}
	was := map[string]string{}
	if p.d.Replaced != nil {
		was = p.d.Replaced.Images
	}
	t := p.s.table("IMAGE OF", "RELEASE "+fmt.Sprint(p.d.To), cmp.Or(p.replaced(), "BEFORE"))
	names := maps.Clone(p.d.Target.Images)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, was)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old := imageName(was[name])
		if was[name] == p.d.Target.Images[name] {
			old = "the same"
		}
		t.row(name, printable(imageName(p.d.Target.Images[name])), printable(old))
	}
	p.print(t)
}

func (p *page) replaced() string {
	if p.d.Replaced == nil {
		return ""
	}
	return fmt.Sprintf("RELEASE %d, REPLACED", p.d.Replaced.Release)
}

// print prints a table apart from what stands above, under the named lines.
func (p *page) print(t *table) {
	if len(t.rows) == 1 {
		return
	}
	fmt.Fprintln(p.s.out)
	for _, l := range t.lines() {
		fmt.Fprintf(p.s.out, "  %s\n", l)
	}
}
