package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) restartCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:               "restart [SERVICE...]",
		Short:             "Replace tasks by fresh ones of the same release, with the same care as a deploy",
		GroupID:           groupRun,
		ValidArgsFunction: s.completeServices,
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			response, err := c.Restart(ctx, ref, api.RestartRequest{Services: args})
			if err != nil {
				return err
			}
			return s.accepted(ctx, c, ref, response, w)
		}),
	}
	w.add(cmd)
	return s.reading(cmd)
}
