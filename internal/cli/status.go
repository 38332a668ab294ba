package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

func (s *shell) statusCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:        "status",
		SuggestFor: []string{"ls", "list", "inspect", "describe", "info", "apps", "services", "health"},
		Short:      "Show how an app does, or all of them",
		GroupID:    groupLook,
		Args:       between(0, 0),
		RunE: s.run(func(ctx context.Context, _ []string) error {
			if all {
				return s.statusOfAll(ctx)
			}
			c, ref, err := s.target(ctx)
			if e, ok := errors.AsType[*exitError](err); ok && e.code == ExitUsage {
				return s.statusOfAll(ctx) // several apps and none named
			}
			if err != nil {
				return err
			}
			defer c.Close()
			e, err := c.Environment(ctx, ref)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(e)
			}
			s.printStatus(e)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "every app and environment")
	return s.reading(cmd)
}

func (s *shell) statusOfAll(ctx context.Context) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	list, err := c.Environments(ctx)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(list)
	}
	t := s.table("APP", "ENVIRONMENT", "STATE", "RELEASE", "READY", "DEPLOYMENT", "")
	for _, e := range list {
		want, ready, problem := 0, 0, ""
		for _, svc := range e.Services {
			if svc.State != api.HealthCompleted { // its tasks have run to their end
				want, ready = want+svc.Want, ready+svc.Ready
			}
			if problem == "" && svc.Problem != "" {
				problem = svc.Service + ": " + printable(svc.Problem)
			}
		}
		if problem == "" && e.Lock != nil {
			problem = "locked by " + e.Lock.Holder
		}
		deployment := ""
		if d := e.Deployment; d != nil {
			deployment = fmt.Sprintf("%d %s", d.Number, d.State)
			if problem == "" && e.Release == 0 {
				problem = printable(d.Reason) // why nothing runs
			}
		}
		t.row(e.App, e.Env, s.out.paint(stateStyle(e.State), e.State), releaseName(e.Release), fmt.Sprintf("%d/%d", ready, want), deployment, problem)
	}
	t.print("No app is deployed yet.")
	if len(list) > 0 {
		s.printProblems(list[0].Problems) // they are the nodes', and the same for all
	}
	return nil
}

// printProblems says what ails nodes.
func (s *shell) printProblems(problems []string) {
	for _, p := range problems {
		fmt.Fprintln(s.out, s.out.paint(yellow, "Node "+printable(p)))
	}
}

func (s *shell) printStatus(e api.EnvironmentStatus) {
	t := s.out
	head := fmt.Sprintf("%s %s", t.paint(bold, e.EnvRef.String()), t.paint(stateStyle(e.State), e.State))
	if e.Release > 0 {
		head += fmt.Sprintf(", release %d", e.Release)
	}
	if left := s.timeLeft(&e.Environment); left != "" {
		head += ", goes " + left
	}
	fmt.Fprintln(t, head)
	if d := e.Deployment; d != nil {
		line := fmt.Sprintf("Deployment %d to release %d: %s", d.Number, d.To, t.paint(stateStyle(string(d.State)), string(d.State)))
		if when := d.EndedAt; !when.IsZero() {
			line += ", " + s.age(when) + " ago"
		}
		if d.Reason != "" {
			line += ": " + printable(d.Reason)
		}
		fmt.Fprintln(t, line)
		for _, r := range d.Rollouts { // what a running one waits for, and with which command it goes on
			if !d.State.Final() && r.State != api.RolloutDone {
				fmt.Fprintf(t, "  %s: %s\n", r.Service, describe(*d, r))
			}
		}
		for i := range d.Checks {
			if r := &d.Checks[i]; d.State == api.DeployRunning || d.Trial == api.TrialOn {
				fmt.Fprintln(t, "Check "+t.paint(checkStyle(r.Result), printable(checkLine(r))))
			}
		}
	}
	if e.Lock != nil {
		fmt.Fprintln(t, t.paint(yellow, s.lockLine(e.Lock)))
	}
	s.printProblems(e.Problems)
	fmt.Fprintln(t)
	rows := s.table("SERVICE", "STATE", "READY", "IMAGE", "REACHED BY", "PROBLEM")
	for _, svc := range e.Services {
		ready := fmt.Sprintf("%d/%d", svc.Ready, svc.Want)
		if scaled, ok := e.Scale[svc.Service]; ok && scaled == svc.Want {
			ready += " by hand"
		}
		rows.row(svc.Service, t.paint(stateStyle(svc.State), svc.State), ready, imageName(svc.Image), reachedBy(svc), printable(svc.Problem))
	}
	rows.print("It has no services.")
}

func releaseName(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
