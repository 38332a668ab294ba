package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) pauseCommand() *cobra.Command {
	return s.steerCommand("pause", "Have a deployment stay where it is, the one that runs by default", s.runningDeployment, func(ctx context.Context, c *client.Client, d api.Deployment) (api.Deployment, string, error) {
		now, err := c.PauseDeployment(ctx, d.EnvRef, d.Number)
		return now, "stays where it is; `ikada resume` has it go on, `ikada cancel` takes it back", err
	})
}

func (s *shell) resumeCommand() *cobra.Command {
	return s.steerCommand("resume", "Have a deployment go on that is paused, or stands at a step that holds", s.runningDeployment, func(ctx context.Context, c *client.Client, d api.Deployment) (api.Deployment, string, error) {
		now, err := c.ResumeDeployment(ctx, d.EnvRef, d.Number)
		if err == nil && now.ResumedAt.Equal(d.ResumedAt) {
			return now, "is neither paused nor at a step that holds: nothing has changed", nil
		}
		return now, "goes on", err
	})
}

// steerCommand makes a command that changes a deployment which has not ended: the one that find gives of the arguments;
// change gives it as it is then, and what to say.
func (s *shell) steerCommand(name, short string, find func(context.Context, *client.Client, api.EnvRef, []string) (api.Deployment, error),
	change func(context.Context, *client.Client, api.Deployment) (api.Deployment, string, error)) *cobra.Command {
	return s.reading(&cobra.Command{
		Use:               name + " [DEPLOYMENT]",
		Short:             short,
		GroupID:           groupDeploy,
		Args:              between(0, 1),
		ValidArgsFunction: s.completeDeployments,
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			d, err := find(ctx, c, ref, args)
			if err != nil {
				return err
			}
			d, said, err := change(ctx, c, d)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(d)
			}
			s.say("Deployment %d of %s %s.", d.Number, ref, said)
			return nil
		}),
	})
}
