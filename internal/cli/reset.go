package cli

import (
	"context"
	"errors"
	"io/fs"

	"github.com/spf13/cobra"
)

func (s *shell) resetCommand() *cobra.Command {
	var dataDir string
	var yes bool
	cmd := &cobra.Command{
		Use:     "reset",
		Short:   "Remove everything that ikada made on this machine, data of apps included",
		GroupID: groupNode,
		Args:    between(0, 0),
		RunE: s.run(func(ctx context.Context, _ []string) error {
			if s.Daemon.Reset == nil {
				return absent("reset")
			}
			if err := s.confirm(ctx, yes, "stop the node and remove "+dataDir+" with all apps and their data", "reset"); err != nil {
				return err
			}
			switch err := s.shutdown(ctx, dataDir); {
			case err != nil && ctx.Err() != nil:
				return err
			case err != nil && !errors.Is(err, fs.ErrNotExist):
				// Damaged state must not keep anybody from getting rid of it.
				s.warn("the node could not be shut down in order, what it runs is killed: %v", err)
			}
			if err := s.Daemon.Reset(ctx, dataDir); err != nil {
				return err
			}
			s.say("Nothing of ikada is left in %s.", dataDir)
			return nil
		}),
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", s.dataDir(), "directory of the node's state")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
