package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (s *shell) watchCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:               "watch [DEPLOYMENT]",
		Short:             "Follow a deployment to its end, the newest by default; exits as deploy does",
		GroupID:           groupDeploy,
		Args:              between(0, 1),
		ValidArgsFunction: s.completeDeployments,
		RunE: s.run(func(ctx context.Context, args []string) error {
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			d, err := s.deploymentNamed(ctx, c, ref, args)
			if err != nil {
				return err
			}
			return s.follow(ctx, c, ref, d)
		}),
	})
}
