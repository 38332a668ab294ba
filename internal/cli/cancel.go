package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) cancelCommand() *cobra.Command {
	cmd := s.steerCommand("cancel", "Cancel a deployment, the newest by default: it goes back to the release it came from", s.deploymentNamed,
		func(ctx context.Context, c *client.Client, d api.Deployment) (api.Deployment, string, error) {
			now, err := c.CancelDeployment(ctx, d.EnvRef, d.Number)
			if now.State.Final() {
				return now, "is " + string(now.State), err
			}
			return now, now.Back(), err
		})
	cmd.SuggestFor = []string{"abort"}
	return cmd
}
