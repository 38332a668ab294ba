package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) cancelCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:               "cancel [DEPLOYMENT]",
		SuggestFor:        []string{"abort"},
		Short:             "Cancel a deployment, the newest by default: it goes back to the release it came from",
		GroupID:           groupDeploy,
		Args:              between(0, 1),
		ValidArgsFunction: s.completeDeployments,
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			d, err := s.deploymentNamed(ctx, c, ref, args)
			if err != nil {
				return err
			}
			if d, err = c.CancelDeployment(ctx, ref, d.Number); err != nil {
				return err
			}
			if s.json {
				return s.printJSON(d)
			}
			if d.State.Final() {
				s.say("Deployment %d of %s is %s.", d.Number, ref, d.State)
			} else {
				s.say("Deployment %d of %s %s.", d.Number, ref, d.Back())
			}
			return nil
		}),
	})
}
