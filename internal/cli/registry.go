package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) registryCommand() *cobra.Command {
	return s.group("registry", "Manage logins at registries that images come from", groupNode,
		s.registryLogin(), s.registryLogout(), s.registryList())
}

func (s *shell) registryLogin() *cobra.Command {
	var user string
	var stdin bool
	cmd := &cobra.Command{
		Use:     "login HOST",
		Short:   "Keep a login at a registry, sealed",
		Example: "  ikada registry login ghcr.io --username acme --password-stdin < token.txt",
		Args:    between(1, 1),
		RunE: s.connected(func(ctx context.Context, c *client.Client, args []string) error {
			if user == "" {
				return usagef("ikada registry login needs --username")
			}
			password, err := s.password(ctx, "Password", stdin)
			if err != nil {
				return err
			}
			kept, err := c.PutCredential(ctx, args[0], api.CredentialRequest{Username: user, Password: password})
			if err != nil {
				return err
			}
			s.say("The login of %s at %s is kept.", kept.Username, kept.Host)
			return nil
		}),
	}
	cmd.Flags().StringVarP(&user, "username", "u", "", "user name")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

func (s *shell) registryLogout() *cobra.Command {
	return &cobra.Command{
		Use:   "logout HOST",
		Short: "Forget a login",
		Args:  between(1, 1),
		RunE: s.connected(func(ctx context.Context, c *client.Client, args []string) error {
			if err := c.DeleteCredential(ctx, args[0]); err != nil {
				return err
			}
			s.say("The login at %s is forgotten.", args[0])
			return nil
		}),
	}
}

func (s *shell) registryList() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List logins",
		Args:    between(0, 0),
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := c.Credentials(ctx)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("REGISTRY", "USER", "AGE")
			for _, login := range list {
				t.row(login.Host, login.Username, s.age(login.UpdatedAt))
			}
			t.print("There is no login.")
			return nil
		}),
	})
}
