package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) deploymentsCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "deployments",
		Short:   "List deployments, the newest first",
		GroupID: groupLook,
		Args:    between(0, 0),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, _ []string) error {
			list, err := c.Deployments(ctx, ref)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("DEPLOYMENT", "KIND", "RELEASE", "STATE", "AGE", "TOOK", "REQUESTS", "FAILED", "REASON")
			for _, d := range list {
				requests, failed, took := "", "", ""
				if d.State.Final() {
					requests, failed, took = number(d.Receipt.Requests), number(d.Receipt.Failed), precise(d.Receipt.Took)
				}
				t.row(d.Number, d.Kind, fmt.Sprintf("%s → %d", releaseName(d.From), d.To),
					s.out.paint(stateStyle(string(d.State)), string(d.State)), s.age(d.CreatedAt), took, requests, failed, printable(d.Reason))
			}
			t.print(ref.String() + " has no deployment.")
			return nil
		}),
	})
}
