package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

func (s *shell) restartCommand() *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use:               "restart [SERVICE...]",
		Short:             "Replace tasks by fresh ones of the same release, with the same care as a deploy",
		GroupID:           groupRun,
		ValidArgsFunction: s.completeServices,
		RunE: s.run(func(ctx context.Context, args []string) error {
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
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
