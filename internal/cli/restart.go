package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) restartCommand() *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use:               "restart [SERVICE...]",
		Short:             "Replace tasks by fresh ones of the same release, with the same care as a deploy",
		GroupID:           groupRun,
		ValidArgsFunction: s.completeServices,
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			response, err := c.Restart(ctx, ref, api.RestartRequest{Services: args})
			if err != nil {
				return err
			}
			return s.accepted(ctx, c, ref, response, detach)
		}),
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "do not wait for the deployment")
	return s.reading(cmd)
}
