package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

func (s *shell) pruneCommand() *cobra.Command {
	var request api.PruneRequest
	cmd := &cobra.Command{
		Use:     "prune",
		Short:   "Remove what no kept release and no running task needs",
		GroupID: groupNode,
		Args:    between(0, 0),
		RunE: s.run(func(ctx context.Context, _ []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			defer c.Close()
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
			if len(report.Items) > 0 {
				verb := "Freed"
				if request.DryRun {
					verb = "Would free"
				}
				s.say("%s %s.", verb, size(report.Bytes))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "only tell")
	cmd.Flags().BoolVar(&request.All, "all", false, "the build cache too, whatever its age")
	return s.reading(cmd)
}
