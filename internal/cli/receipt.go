package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) receiptCommand() *cobra.Command {
	var signed bool
	var verify, key string
	cmd := s.reading(&cobra.Command{
		Use:   "receipt [DEPLOYMENT]",
		Short: "Show what requests met during a deployment, the last one by default",
		Long: "Show what requests met during a deployment, the last one by default.\n\n" +
			"--signed gives it as a signed document (DSSE, Ed25519), which --verify checks: with the key that --key gives, in hex,\n" +
			"or else with the node's own.",
		GroupID:           groupLook,
		Args:              between(0, 1),
		ValidArgsFunction: s.completeDeployments,
		RunE: s.run(func(ctx context.Context, args []string) error {
			if verify != "" {
				return s.verifyReceipt(ctx, verify, key)
			}
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			d, err := s.deploymentNamed(ctx, c, ref, args)
			if err != nil {
				return err
			}
			switch {
			case signed:
				e, err := c.SignedReceipt(ctx, ref, d.Number)
				if err != nil {
					return err
				}
				return s.printJSON(e)
			case s.json:
				return s.printJSON(d)
			}
			s.printReceipt(d)
			return nil
		}),
	})
	cmd.Flags().BoolVar(&signed, "signed", false, "as a signed document")
	cmd.Flags().StringVar(&verify, "verify", "", "check the signed receipt in a `FILE`, and show it")
	cmd.Flags().StringVar(&key, "key", "", "the public key to check with, in `HEX`")
	return cmd
}

// verifyReceipt checks a signed receipt and prints it.
func (s *shell) verifyReceipt(ctx context.Context, file, key string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var e api.Envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return api.Errorf(api.Invalid, "read %s: %w", file, err)
	}
	public, err := hex.DecodeString(key)
	if err != nil {
		return usagef("key %q: expected hexadecimal digits", key)
	}
	if key == "" {
		c, err := s.connect()
		if err != nil {
			return err
		}
		defer c.Close()
		known, err := c.SigningKey(ctx)
		if err != nil {
			return err
		}
		public = known.Key
	}
	r, err := e.Receipt(public)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(r)
	}
	s.printReceipt(r.Deployment)
	s.say("Signed by key %s (%x) on %s.", api.KeyID(public), public, r.IssuedAt.Local().Format(time.DateTime))
	return nil
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
