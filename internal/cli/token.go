package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

func (s *shell) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "token",
		Short:   "Manage who may call the server over TCP",
		GroupID: groupNode,
		Args:    between(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(s.tokenCreate(), s.tokenList(), s.tokenRemove())
	return cmd
}

func (s *shell) tokenCreate() *cobra.Command {
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and print it, this once",
		Args:  between(1, 1),
		RunE: s.run(func(ctx context.Context, args []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			token, err := c.CreateToken(ctx, api.TokenRequest{Name: args[0], ExpiresIn: api.Duration(expires)})
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(token)
			}
			_, err = fmt.Fprintln(s.Stdout, token.Secret)
			return err
		}),
	}
	cmd.Flags().DurationVar(&expires, "expires", 0, "how long it lets in, such as 720h; 0 is for ever")
	return s.reading(cmd)
}

func (s *shell) tokenList() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List tokens",
		Args:    between(0, 0),
		RunE: s.run(func(ctx context.Context, _ []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.Tokens(ctx)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("NAME", "AGE", "EXPIRES")
			for _, token := range list {
				expires := "never"
				if !token.ExpiresAt.IsZero() {
					expires = token.ExpiresAt.Local().Format(time.DateTime)
				}
				t.row(token.Name, s.age(token.CreatedAt), expires)
			}
			t.print("There is no token.")
			return nil
		}),
	})
}

func (s *shell) tokenRemove() *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"remove"},
		Short:   "Take tokens' access away",
		Args:    between(1, -1),
		RunE: s.run(func(ctx context.Context, args []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			for _, name := range args {
				if err := c.DeleteToken(ctx, name); err != nil {
					return err
				}
				s.say("%s lets nobody in any more.", name)
			}
			return nil
		}),
	}
}
