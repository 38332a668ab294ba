package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) shutdownCommand() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:     "shutdown",
		Short:   "Stop everything on this machine's node, tasks included",
		GroupID: groupNode,
		Args:    between(0, 0),
		RunE: s.run(func(ctx context.Context, _ []string) error {
			if err := s.shutdown(ctx, dataDir); err != nil {
				return err
			}
			s.say("The node is down.")
			return nil
		}),
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", s.dataDir(), "directory of the node's state")
	return cmd
}

// shutdown asks the running ikada to stop everything, or stops what one left behind that does not run any more.
func (s *shell) shutdown(ctx context.Context, dataDir string) error {
	socket := filepath.Join(dataDir, "ikada.sock")
	c, err := client.New("unix://"+socket, "")
	if err != nil {
		return err
	}
	defer c.Close()
	switch err := c.Shutdown(ctx); {
	case err == nil:
		if err := untilClosed(ctx, c, socket); err != nil {
			return err
		}
	case !api.IsKind(err, api.Unavailable):
		return err
	}
	if s.Daemon.Shutdown == nil {
		return nil
	}
	return s.Daemon.Shutdown(ctx, dataDir)
}

// untilClosed waits until the server's socket is gone or nobody answers there.
func untilClosed(ctx context.Context, c *client.Client, socket string) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := os.Stat(socket); os.IsNotExist(err) {
			return nil
		}
		if _, err := c.Health(ctx); api.IsKind(err, api.Unavailable) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the node to stop: %w", context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
