package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) pruneCommand() *cobra.Command {
	var request api.PruneRequest
	var unusedFor time.Duration
	cmd := &cobra.Command{
		Use:     "prune",
		Short:   "Remove what no kept release and no running task needs",
		GroupID: groupNode,
		Args:    between(0, 0),
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("unused-for") {
				if unusedFor < 0 {
					return usagef("--unused-for %s: expected a duration such as 10m", unusedFor)
				}
				request.UnusedFor = (*api.Duration)(&unusedFor)
			}
			return nil
		},
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			report, err := c.Prune(ctx, request)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(report)
			}
			t := s.table("KIND", "NAME", "SIZE")
			for _, item := range report.Items {
				freed := ""
				if item.Bytes > 0 {
					freed = size(item.Bytes)
				}
				t.row(item.Kind, imageName(item.Name), freed)
			}
			t.print("There is nothing to remove.")
			switch {
			case len(report.Items) == 0:
			case !request.DryRun:
				s.say("Freed %s.", size(report.Bytes))
			case report.Bytes > 0: // what images share is known once they are gone
				s.say("Would free at least %s.", size(report.Bytes))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "only tell")
	cmd.Flags().BoolVar(&request.All, "all", false, "the build cache too, whatever its age")
	cmd.Flags().DurationVar(&unusedFor, "unused-for", 0, "spare images that were built, pulled or asked for within this time (default 1h, with --all 10m)")
	return s.reading(cmd)
}
