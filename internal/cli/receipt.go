package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) receiptCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:               "receipt [DEPLOYMENT]",
		Short:             "Show what requests met during a deployment, the last one by default",
		GroupID:           groupLook,
		Args:              between(0, 1),
		ValidArgsFunction: s.completeDeployments,
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			d, err := s.deploymentNamed(ctx, c, ref, args)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(d)
			}
			s.printReceipt(d)
			return nil
		}),
	})
}

// deploymentNamed gives the deployment of an argument, or the newest.
func (s *shell) deploymentNamed(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) (api.Deployment, error) {
	if len(args) == 1 {
		n, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return api.Deployment{}, usagef("deployment %q: expected a number", args[0])
		}
		return c.Deployment(ctx, ref, n)
	}
	list, err := c.Deployments(ctx, ref)
	if err != nil {
		return api.Deployment{}, err
	}
	if len(list) == 0 {
		return api.Deployment{}, api.Errorf(api.NotFound, "%s has no deployment", ref)
	}
	return list[0], nil
}

// printReceipt prints a deployment's proof.
func (s *shell) printReceipt(d api.Deployment) {
	t := s.out
	fmt.Fprintf(t, "%s deployment %d: %s\n", t.paint(bold, d.EnvRef.String()), d.Number, t.paint(stateStyle(string(d.State)), string(d.State)))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "  %s %s\n", t.paint(dim, fmt.Sprintf("%-13s", name)), value)
		}
	}
	switch {
	case d.State == api.DeployRolledBack && d.From == 0:
		line("release", fmt.Sprintf("%d, taken back", d.To))
	case d.From == 0:
		line("release", fmt.Sprint(d.To))
	case d.State == api.DeployRolledBack:
		line("release", fmt.Sprintf("%d, taken back to %d", d.To, d.From))
	default:
		line("release", fmt.Sprintf("%d → %d", d.From, d.To))
	}
	line("reason", printable(d.Reason))
	if !d.State.Final() {
		for _, r := range d.Rollouts {
			line(r.Service, describe(r))
		}
		return
	}
	r := d.Receipt
	requests := number(r.Requests)
	if r.Partial != "" {
		requests += " (" + printable(r.Partial) + ")"
	}
	line("requests", requests)
	failed := number(r.Failed)
	if r.Failed > 0 {
		failed = t.paint(red, failed)
	}
	line("failed", failed)
	if r.LongestWait > 0 {
		line("longest wait", precise(r.LongestWait))
	}
	if r.Swap > 0 {
		line("swapped in", precise(r.Swap))
	}
	if r.Took > 0 {
		line("took", precise(r.Took))
	}
	for _, v := range d.Verdicts {
		line("verdict", fmt.Sprintf("%s: %s: %s", v.Service, v.Result, printable(v.Reason)))
	}
	switch d.Trial {
	case "":
	case api.TrialOn:
		line("on trial", fmt.Sprintf("until %s: goes back by itself if it turns out bad", d.BakedAt.Local().Format(time.TimeOnly)))
	default:
		line("trial", string(d.Trial))
	}
	line("way back", printable(r.Rollback))
}
