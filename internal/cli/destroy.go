package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

const destroyPoll = 250 * time.Millisecond

// destroyFlags are what the removal of an environment takes.
type destroyFlags struct{ volumes, yes bool }

func (f *destroyFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.volumes, "volumes", false, "the data in its named volumes too")
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
}

func (s *shell) destroyCommand() *cobra.Command {
	var f destroyFlags
	cmd := &cobra.Command{
		Use:        "destroy",
		SuggestFor: []string{"rm", "remove", "delete", "undeploy", "uninstall"},
		Short:      "Remove an environment of an app with its tasks and releases",
		GroupID:    groupRun,
		Args:       between(0, 0),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, _ []string) error {
			return s.destroy(ctx, c, ref, f)
		}),
	}
	f.add(cmd)
	return cmd
}

// destroy removes an environment and waits until it is gone.
func (s *shell) destroy(ctx context.Context, c *client.Client, ref api.EnvRef, f destroyFlags) error {
	if _, err := c.Environment(ctx, ref); err != nil {
		return err
	}
	what := ref.String() + " with its tasks and releases"
	if f.volumes {
		what += " and the data in its volumes"
	}
	if err := s.confirm(ctx, f.yes, "remove "+what, ref.String()); err != nil {
		return err
	}
	if _, err := c.Destroy(ctx, ref, f.volumes); err != nil {
		return err
	}
	if err := untilGone(ctx, c, ref); err != nil {
		return err
	}
	s.say("%s is gone.", ref)
	return nil
}

// untilGone waits until an environment's last task has ended.
func untilGone(ctx context.Context, c *client.Client, ref api.EnvRef) error {
	ticker := time.NewTicker(destroyPoll)
	defer ticker.Stop()
	for {
		_, err := c.Environment(ctx, ref)
		if api.IsKind(err, api.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return &exitError{ExitError, fmt.Errorf("%s is still being removed, and that goes on", ref)}
		case <-ticker.C:
		}
	}
}
