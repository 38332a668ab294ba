package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) watchCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:               "watch [DEPLOYMENT]",
		SuggestFor:        []string{"wait", "follow"},
		Short:             "Follow a deployment to its end, the newest by default; exits as deploy does",
		GroupID:           groupDeploy,
		Args:              between(0, 1),
		ValidArgsFunction: s.completeDeployments,
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			d, err := s.deploymentNamed(ctx, c, ref, args)
			if err != nil {
				return err
			}
			return s.follow(ctx, c, ref, d, w)
		}),
	}
	w.addUntil(cmd)
	return s.reading(cmd)
}
