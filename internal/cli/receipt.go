package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
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

// runningDeployment gives the deployment that an argument names, else the one that runs, else the newest.
func (s *shell) runningDeployment(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) (api.Deployment, error) {
	if len(args) == 0 {
		list, err := c.Deployments(ctx, ref)
		if err != nil {
			return api.Deployment{}, err
		}
		for _, d := range list {
			if d.State == api.DeployRunning {
				return d, nil
			}
		}
	}
	return s.deploymentNamed(ctx, c, ref, args)
}
