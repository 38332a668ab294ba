package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/compose"
)

// planFlags are what `ikada plan` takes.
type planFlags struct {
	deploy  deployFlags
	from    string
	release uint64
	keep    bool
	whatIf  []string
}

func (s *shell) planCommand() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:        "plan [DIR]",
		SuggestFor: []string{"preview", "simulate", "dry-run"},
		Short:      "Show what a deploy would do, step by step; nothing is changed",
		GroupID:    groupDeploy,
		Long: `Show what "ikada deploy" would do, step by step, before it does it. Nothing is built and nothing is changed.

The server rehearses the deployment on a copy of what there is now, by the rules by which it deploys: which task starts
on which node, when requests move, when old tasks leave, what stops it. How long things take is what was measured of
the tasks before, or assumed, and then that is said. A service with "build:" is taken to get a new image.

--what-if asks what would become of it if something went wrong; it may be given again, and each is answered by itself:
  lose=NODE            the node dies, after each step in turn: the worst case is shown
  lose=NODE@STEP       the node dies right after that step
  lose=NODE@DURATION   the node dies so long after the beginning
  fail=SERVICE         new tasks of the service never become ready
  crash=SERVICE[@DURATION]   new tasks of the service exit at once, or so long after they were ready

The exit code is 0 when the deployment would succeed and 3 when it would not; --what-if changes nothing about that.`,
		Example: "  ikada plan\n  ikada plan ./shop --env staging --what-if fail=web\n  ikada plan --what-if lose=n1@3 --json\n  ikada plan --promote-from staging\n  ikada plan rollback 4",
		Args:    between(0, 1),
		RunE: s.run(func(ctx context.Context, args []string) error {
			dir := s.Dir
			if len(args) == 1 {
				dir = args[0]
			}
			return s.planDeploy(ctx, dir, f)
		}),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.deploy.files, "file", "f", nil, "Compose file; later ones change earlier ones")
	flags.StringArrayVar(&f.deploy.profiles, "profile", nil, "active profile")
	flags.StringArrayVar(&f.deploy.images, "image", nil, "SERVICE=REF: the image that the service would get")
	flags.StringVar(&f.deploy.project, "project", "", "name of the app (default: the file's name:, else the directory's)")
	flags.BoolVar(&f.deploy.force, "force", false, "replace every task even when nothing changed")
	flags.BoolVar(&f.keep, "keep-images", false, "take it that builds give the images that run now")
	flags.StringVar(&f.from, "promote-from", "", "plan a promotion of this environment's images, not a deploy of a directory")
	flags.Uint64Var(&f.release, "release", 0, "release of --promote-from (default: the committed one)")
	flags.StringArrayVar(&f.whatIf, "what-if", nil, "lose=NODE[@STEP|@DURATION], fail=SERVICE or crash=SERVICE[@DURATION]")
	cmd.AddCommand(s.planRollbackCommand())
	return s.reading(cmd)
}

func (s *shell) planRollbackCommand() *cobra.Command {
	var whatIf []string
	cmd := &cobra.Command{
		Use:               "rollback [RELEASE]",
		Short:             "Show what a rollback would do, step by step; nothing is changed",
		Args:              between(0, 1),
		ValidArgsFunction: s.completeReleases,
		RunE: s.run(func(ctx context.Context, args []string) error {
			request := api.PlanRequest{Rollback: &api.RollbackRequest{}}
			if len(args) == 1 {
				n, err := strconv.ParseUint(args[0], 10, 64)
				if err != nil || n == 0 {
					return usagef("release %q: expected a number, as `ikada releases` shows them", args[0])
				}
				request.Rollback.Release = n
			}
			var err error
			if request.WhatIf, err = parseHazards(whatIf); err != nil {
				return err
			}
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			return s.plan(ctx, c, ref, request)
		}),
	}
	cmd.Flags().StringArrayVar(&whatIf, "what-if", nil, "as of ikada plan")
	return s.reading(cmd)
}

func (s *shell) planDeploy(ctx context.Context, dir string, f planFlags) error {
	hazards, err := parseHazards(f.whatIf)
	if err != nil {
		return err
	}
	if f.from != "" {
		c, ref, err := s.target(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		promote := api.PromoteRequest{From: f.from, Release: f.release}
		if promote.Spec, err = s.firstSpec(ctx, c, ref, promoteFlags{files: f.deploy.files, profiles: f.deploy.profiles}); err != nil {
			return err
		}
		return s.plan(ctx, c, ref, api.PlanRequest{Promote: &promote, WhatIf: hazards})
	}
	if f.release != 0 {
		return usagef("--release %d: expected with --promote-from; `ikada plan rollback %d` plans the way back to a release", f.release, f.release)
	}
	app, _ := s.appName()
	project, err := s.load(ctx, compose.Options{
		Dir: dir, Files: f.deploy.files, Env: s.envName(), Profiles: f.deploy.profiles, Name: cmp.Or(f.deploy.project, app), Environ: s.environ,
	})
	if err != nil {
		return err
	}
	if err := giveImages(project, f.deploy.images); err != nil {
		return err
	}
	for name := range project.Builds {
		service := project.Spec.Services[name]
		service.Image = ""
		project.Spec.Services[name] = service
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	return s.plan(ctx, c, refOf(project.Spec), api.PlanRequest{WhatIf: hazards, KeepImages: f.keep,
		Deploy: &api.DeployRequest{Spec: project.Spec, Commit: commitOf(project.Dir), Force: f.deploy.force}})
}

// parseHazards reads --what-if.
func parseHazards(given []string) ([]api.Hazard, error) {
	var out []api.Hazard
	for _, text := range given {
		h, ok := parseHazard(text)
		if !ok {
			return nil, usagef("--what-if %q: expected lose=NODE[@STEP|@DURATION], fail=SERVICE or crash=SERVICE[@DURATION]", text)
		}
		out = append(out, h)
	}
	return out, nil
}

func parseHazard(text string) (api.Hazard, bool) {
	kind, name, _ := strings.Cut(text, "=")
	name, when, dated := strings.Cut(name, "@")
	h := api.Hazard{Kind: kind, Name: name}
	if !slices.Contains([]string{api.HazardLose, api.HazardFail, api.HazardCrash}, kind) || name == "" || dated && kind == api.HazardFail {
		return h, false
	}
	if !dated {
		return h, true
	}
	if n, err := strconv.Atoi(when); err == nil && kind == api.HazardLose {
		h.Step = n
		return h, n > 0
	}
	d, ok := parseSpan(when)
	at := api.Duration(d)
	h.At = &at
	return h, ok
}

// plan has a deployment rehearsed and prints it.
func (s *shell) plan(ctx context.Context, c *client.Client, ref api.EnvRef, request api.PlanRequest) error {
	p, err := c.Plan(ctx, ref, request)
	if err != nil {
		return err
	}
	for _, w := range p.Warnings {
		s.warn("%s", w)
	}
	if s.json {
		if err := s.printJSON(p); err != nil {
			return err
		}
	} else {
		s.printPlan(ref, &p)
	}
	if !p.Succeeds() {
		return &exitError{code: ExitRolledBack}
	}
	return nil
}

func (s *shell) printPlan(ref api.EnvRef, p *api.PlanResponse) {
	if p.Unchanged {
		s.say("Nothing would change: %s runs release %d already.", ref, p.Release)
		s.printNotes(p.Notes)
		return
	}
	what := "release " + fmt.Sprint(p.Release)
	if d := p.Deployment; d != nil {
		from := "the first"
		if d.From != 0 {
			from = fmt.Sprintf("in place of release %d", d.From)
		}
		what = fmt.Sprintf("%s %d would bring release %d, %s", deploymentNoun(d), d.Number, d.To, from)
	}
	s.say("%s", s.out.paint(bold, fmt.Sprintf("%s: %s. Nothing was changed.", ref, what)))
	if len(p.Changes) > 0 && p.Deployment != nil && p.Deployment.From != 0 { // else all is new
		s.say("\n%s", s.out.paint(bold, "What differs"))
		s.printChanges(p.Changes)
	}
	s.say("\n%s", s.out.paint(bold, "What would happen"))
	s.printSteps(p.Steps, func(api.PlanStep) bool { return true }, p.Took)
	if p.Cut {
		s.say("There is more to come than is shown.")
	}
	s.say("\n%s", s.verdictOf(&p.Rehearsal))
	for _, g := range p.Gaps {
		s.say("%s", s.out.paint(yellow, gapText(g)))
	}
	for i := range p.WhatIf {
		s.printAnswer(&p.WhatIf[i])
	}
	s.printNotes(p.Notes)
}

func deploymentNoun(d *api.Deployment) string {
	if d.Kind == api.KindRollback {
		return "rollback"
	}
	return "deployment"
}

// printSteps writes the steps that are chosen, those of one moment under one number, and marks where the deployment has
// ended.
func (s *shell) printSteps(steps []api.PlanStep, chosen func(api.PlanStep) bool, end api.Duration) {
	width := 0
	for _, step := range steps {
		width = max(width, len(moment(step.At)))
	}
	last, after := 0, false
	for _, step := range steps {
		if !chosen(step) {
			continue
		}
		if !after && step.At > end {
			after = true
			s.say("  %s", s.out.paint(dim, "and afterwards:"))
		}
		head := strings.Repeat(" ", width+7)
		if step.Number != last {
			head = fmt.Sprintf("%4d  %*s ", step.Number, width, moment(step.At))
			last = step.Number
		}
		s.say("%s %s", s.out.paint(dim, head), s.out.paint(stepStyle(step.Type), printable(step.Text)))
	}
}

// moment is a time since the beginning: "+1.5s".
func moment(d api.Duration) string { return "+" + rounded(d) }

// rounded gives a duration to as much as a rehearsal can know.
func rounded(d api.Duration) string {
	unit := 100 * time.Millisecond
	switch {
	case d.Std() < time.Second:
		unit = time.Millisecond
	case d.Std() < time.Minute:
		unit = 10 * time.Millisecond
	}
	return d.Std().Round(unit).String()
}

func stepStyle(kind string) string {
	switch kind {
	case "deployment.succeeded":
		return green
	case "deployment.rejected", "deployment.rolled_back", "deployment.failed", "release.failed", "task.failed", "job.failed", "node.lost", api.PlanLose:
		return red
	case api.PlanWait, api.PlanResume, "deployment.ailing", "deployment.cancelled":
		return yellow
	}
	return ""
}

// verdictOf says how a rehearsal ended.
func (s *shell) verdictOf(r *api.Rehearsal) string {
	text := s.out.paint(red, fmt.Sprintf("It would be %s", r.State))
	switch r.State {
	case api.DeploySucceeded:
		return s.out.paint(green, fmt.Sprintf("It would succeed after %s.", rounded(r.Took)))
	case api.DeployQueued, api.DeployRunning:
		return s.out.paint(red, fmt.Sprintf("It would not end: after %s it is %s.", rounded(r.Took), r.State))
	case api.DeployFailed:
		text = s.out.paint(red, "It would fail")
	}
	text += fmt.Sprintf(" after %s: %s", rounded(r.Took), printable(r.Reason))
	if r.Committed != 0 {
		text += fmt.Sprintf("; release %d goes on", r.Committed)
	}
	return text + "."
}

func gapText(g api.Gap) string {
	if g.Open {
		return fmt.Sprintf("%s would have no task ready from %s on.", g.Service, moment(g.From))
	}
	return fmt.Sprintf("%s would have no task ready for %s, from %s on.", g.Service, rounded(g.For), moment(g.From))
}

// printAnswer writes what becomes of a deployment in which something goes wrong.
func (s *shell) printAnswer(a *api.Answer) {
	title := map[string]string{
		api.HazardLose:  "node %s died",
		api.HazardFail:  "new tasks of %s never became ready",
		api.HazardCrash: "new tasks of %s exited",
	}[a.Hazard.Kind]
	title = "What if " + fmt.Sprintf(title, a.Hazard.Name)
	worst := a.Cases[a.Worst]
	switch {
	case len(a.Cases) > 1:
		title += fmt.Sprintf("? Tried after each of %d steps", len(a.Cases))
	case worst.Step > 0:
		title += fmt.Sprintf(" right after step %d?", worst.Step)
	case a.Hazard.At != nil && a.Hazard.Kind == api.HazardLose:
		title += fmt.Sprintf(" at %s?", moment(*a.Hazard.At))
	case a.Hazard.At != nil:
		title += fmt.Sprintf(" %s after they were ready?", rounded(*a.Hazard.At))
	default:
		title += "?"
	}
	s.say("\n%s", s.out.paint(bold, title))
	if len(a.Cases) > 1 {
		for _, line := range summarize(a.Cases) {
			s.say("  %s", line)
		}
		s.say("  The worst is after step %d:", worst.Step)
	}
	from, lost := api.Duration(0), false
	for _, step := range a.Steps {
		if step.Type == api.PlanLose || step.Type == "task.failed" {
			from, lost = step.At, true
			break
		}
	}
	until := a.Took
	if from > until { // it comes after the deployment's end
		until = api.Duration(math.MaxInt64)
	}
	s.printSteps(a.Steps, func(step api.PlanStep) bool { return (!lost || step.At >= from) && step.At <= until }, until)
	s.say("%s", s.verdictOf(&a.Rehearsal))
	for _, g := range a.Gaps {
		s.say("%s", s.out.paint(yellow, gapText(g)))
	}
}

// endings says what becomes of a deployment.
var endings = map[api.DeploymentState]string{
	api.DeploySucceeded: "succeeds", api.DeployRolledBack: "is rolled back", api.DeployFailed: "fails", api.DeployCancelled: "is cancelled",
	api.DeploySuperseded: "is superseded", api.DeployRunning: "does not end", api.DeployQueued: "does not begin",
}

// summarize says how the cases end, and in which of them nobody answers.
func summarize(cases []api.Case) []string {
	ends, gone, longest, open := map[string][]string{}, map[string][]string{}, map[string]api.Duration{}, map[string]bool{}
	for i := range cases {
		c := &cases[i]
		step := strconv.Itoa(c.Step)
		end := endings[c.State]
		ends[end] = append(ends[end], step)
		for _, g := range c.Gaps {
			if !slices.Contains(gone[g.Service], step) {
				gone[g.Service] = append(gone[g.Service], step)
			}
			longest[g.Service], open[g.Service] = max(longest[g.Service], g.For), open[g.Service] || g.Open
		}
	}
	after := func(steps []string) string {
		if len(steps) == len(cases) {
			return "after every step"
		}
		return "after step " + strings.Join(steps, ", ")
	}
	var out []string
	for _, end := range slices.Sorted(maps.Keys(ends)) {
		out = append(out, fmt.Sprintf("%s: the deployment %s", after(ends[end]), end))
	}
	for _, service := range slices.Sorted(maps.Keys(gone)) {
		long := "for up to " + rounded(longest[service])
		if open[service] {
			long = "and in the end stays so"
		}
		out = append(out, fmt.Sprintf("%s: %s has no task ready, %s", after(gone[service]), service, long))
	}
	if len(gone) == 0 {
		out = append(out, "every service has a task ready all the time")
	}
	return out
}

func (s *shell) printNotes(notes []string) {
	if len(notes) == 0 {
		return
	}
	s.say("\n%s", s.out.paint(dim, "Taken for granted"))
	for _, n := range notes {
		s.say("%s", s.out.paint(dim, "  "+printable(n)))
	}
}
