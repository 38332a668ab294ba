package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) downCommand() *cobra.Command {
	return &cobra.Command{
		Use:        "down",
		SuggestFor: []string{"stop", "kill", "halt"},
		Short:      "Stop an app's tasks; releases and volumes stay",
		GroupID:    groupRun,
		Args:       between(0, 0),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, _ []string) error {
			if _, err := c.Down(ctx, ref); err != nil {
				return err
			}
			s.say("%s stops; `ikada start` or the next deploy brings it back.", ref)
			return nil
		}),
	}
}

func (s *shell) startCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "start",
		Short:   "Start again what down stopped",
		GroupID: groupRun,
		Args:    between(0, 0),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, _ []string) error {
			if _, err := c.Up(ctx, ref); err != nil {
				return err
			}
			s.say("%s starts.", ref)
			return nil
		}),
	}
}
