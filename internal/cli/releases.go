package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) releasesCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:        "releases",
		SuggestFor: []string{"history", "versions", "images"},
		Short:      "List kept releases, the newest first",
		GroupID:    groupLook,
		Args:       between(0, 0),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, _ []string) error {
			list, err := c.Releases(ctx, ref)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			status, err := c.Environment(ctx, ref)
			if err != nil {
				return err
			}
			t := s.table("RELEASE", "", "AGE", "BY", "FROM", "COMMIT", "MESSAGE")
			for _, r := range list {
				mark := ""
				if r.Number == status.Release {
					mark = s.out.paint(green, "committed")
				}
				from := ""
				if r.From != nil {
					from = r.From.String()
				}
				t.row(r.Number, mark, s.age(r.CreatedAt), printable(r.CreatedBy), from, r.Commit[:min(len(r.Commit), 10)], printable(r.Message))
			}
			t.print(ref.String() + " has no release.")
			return nil
		}),
	})
}
