package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

func (s *shell) rollbackCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:        "rollback [RELEASE]",
		SuggestFor: []string{"undo", "revert"},
		Short:      "Go back to a kept release, the one before by default; nothing is rebuilt",
		Long: `Go back to a kept release, the one before by default; nothing is rebuilt.

A deployment that has not ended is taken back by ikada cancel; meanwhile a rollback must say to which release.
A rollback is a person's own choice, and is not judged: it has no trial to wait for.`,
		GroupID:           groupDeploy,
		Args:              between(0, 1),
		ValidArgsFunction: s.completeReleases,
		RunE: s.run(func(ctx context.Context, args []string) error {
			if err := w.check(); err != nil {
				return err
			}
			var request api.RollbackRequest
			if len(args) == 1 {
				n, err := strconv.ParseUint(args[0], 10, 64)
				if err != nil || n == 0 {
					return usagef("release %q: expected a number, as `ikada releases` shows them", args[0])
				}
				request.Release = n
			}
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			response, err := c.Rollback(ctx, ref, request)
			if err != nil {
				return err
			}
			return s.accepted(ctx, c, ref, response, w)
		}),
	}
	w.add(cmd)
	return s.reading(cmd)
}
