package cli

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) auditCommand() *cobra.Command {
	var since string
	q := api.AuditQuery{}
	cmd := &cobra.Command{
		Use:     "audit",
		Short:   "Show who called what on the server",
		GroupID: groupNode,
		Args:    between(0, 0),
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			var err error
			if q.Since, err = s.moment(since); err != nil {
				return err
			}
			if q.Limit < 0 {
				return usagef("--limit %d: expected 0 or more", q.Limit)
			}
			list, err := c.Audit(ctx, q)
			if err != nil {
				return err
			}
			t := s.table("TIME", "USER", "TOKEN", "FROM", "OPERATION", "ABOUT", "RESULT")
			for _, r := range list {
				if s.json {
					if err := s.printLine(r); err != nil {
						return err
					}
					continue
				}
				result := r.Result
				if result != "ok" {
					result = s.out.paint(red, result)
				}
				t.row(r.Time.Local().Format(time.DateTime), r.User, cmp.Or(r.Token, "-"), r.Remote, r.Operation, printable(r.Object), result)
			}
			if !s.json {
				t.print("Nothing was called.")
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&since, "since", "", "only what was called after this time, or in this last while: 2026-01-02T15:04:05Z, 24h")
	cmd.Flags().IntVarP(&q.Limit, "limit", "n", 100, "only the last so many; 0 is all")
	return s.reading(cmd)
}
