package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/client"
)

func (s *shell) whoamiCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "whoami",
		Short:   "Show whom the server takes you for, and what you may do",
		GroupID: groupLook,
		Args:    between(0, 0),
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			who, err := c.WhoAmI(ctx)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(who)
			}
			line := who.User
			switch {
			case who.Local:
				line += ", on the node's socket"
			case who.Token != who.User:
				line += ", by the token " + who.Token
			}
			fmt.Fprintf(s.Stdout, "%s: %s\n", line, who.Grants)
			if !who.ExpiresAt.IsZero() {
				what := "The token"
				if who.Outdated {
					what = "The token was rotated: its old secret"
				}
				fmt.Fprintf(s.Stdout, "%s lets in until %s.\n", what, who.ExpiresAt.Local().Format(time.DateTime))
			}
			return nil
		}),
	})
}
