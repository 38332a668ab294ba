package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) tokenCommand() *cobra.Command {
	return s.group("token", "Manage who may call the server over TCP", groupNode,
		s.tokenCreate(), s.tokenList(), s.tokenRotate(), s.tokenRemove())
}

func (s *shell) tokenCreate() *cobra.Command {
	var expires given
	var request api.TokenRequest
	var role string
	var scopes, grants []string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and print it, this once",
		Long: `Make a token and print it, this once.

Without a role it may do everything. Roles are view, deploy and admin; a scope is APP/ENV, where either may be * or end
in *, or * alone for every environment and the cluster itself.`,
		Example: "  ikada token create ci --role deploy --scope shop/staging --expires 90d\n  ikada token create ann-laptop --user ann --grant 'view:shop/*' --grant deploy:shop/staging",
		Args:    between(1, 1),
		RunE: s.connected(func(ctx context.Context, c *client.Client, args []string) error {
			var err error
			if request.Grants, err = grantsOf(role, scopes, grants); err != nil {
				return err
			}
			request.Name, request.ExpiresIn = args[0], api.Duration(expires.span)
			token, err := c.CreateToken(ctx, request)
			if err != nil {
				return err
			}
			return s.printSecret(token)
		}),
	}
	flags := cmd.Flags()
	flags.Var(&expires, "expires", "how long it lets in, such as 12h or 90d (default: for ever)")
	flags.StringVar(&request.User, "user", "", "whose it is (default: a user of the token's name)")
	flags.StringVar(&role, "role", "", "what it may do: view, deploy or admin (default: everything)")
	flags.StringArrayVar(&scopes, "scope", nil, "where it has --role, such as shop/staging or shop/* (default: everywhere)")
	flags.StringArrayVar(&grants, "grant", nil, "ROLE:SCOPE: a further role in a scope")
	return s.reading(cmd)
}

// grantsOf reads what a token may do; none is everything.
func grantsOf(role string, scopes, more []string) (api.Grants, error) {
	var out api.Grants
	if role == "" && len(scopes) > 0 {
		return nil, usagef("--scope %s: say --role too", scopes[0])
	}
	if role != "" && len(scopes) == 0 {
		scopes = []string{api.Everywhere}
	}
	for _, scope := range scopes {
		out = append(out, api.Grant{Role: api.Role(role), Scope: scope})
	}
	for _, text := range more {
		role, scope, ok := strings.Cut(text, ":")
		if !ok {
			return nil, usagef("--grant %q: expected ROLE:SCOPE, such as view:shop/*", text)
		}
		out = append(out, api.Grant{Role: api.Role(role), Scope: scope})
	}
	for _, g := range out {
		if err := g.Validate(); err != nil {
			return nil, usagef("%v", err)
		}
	}
	return out, nil
}

// printSecret prints a token at the only moment at which its secret is known.
func (s *shell) printSecret(token api.NewToken) error {
	if s.json {
		return s.printJSON(token)
	}
	_, err := fmt.Fprintln(s.Stdout, token.Secret)
	return err
}

func (s *shell) tokenRotate() *cobra.Command {
	var expires given
	grace := span(api.DefaultGrace)
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give a token a new secret and print it, this once; the old one lets in a while longer",
		Args:  between(1, 1),
		RunE: s.connected(func(ctx context.Context, c *client.Client, args []string) error {
			wait := api.Duration(grace)
			token, err := c.RotateToken(ctx, args[0], api.RotateRequest{Grace: &wait, ExpiresIn: api.Duration(expires.span)})
			if err != nil {
				return err
			}
			return s.printSecret(token)
		}),
	}
	cmd.Flags().Var(&grace, "grace", "how long the old secret lets in besides, up to 30d; 0 is not at all")
	cmd.Flags().Var(&expires, "expires", "how long the token lets in from now (default: as long as at first)")
	return s.reading(cmd)
}

func (s *shell) tokenList() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List tokens",
		Args:    between(0, 0),
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := c.Tokens(ctx)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("NAME", "USER", "MAY", "AGE", "EXPIRES")
			for _, token := range list {
				expires := "never"
				if !token.ExpiresAt.IsZero() {
					expires = token.ExpiresAt.Local().Format(time.DateTime)
					if !token.ExpiresAt.After(s.Now()) {
						expires = s.out.paint(red, "expired "+expires)
					}
				}
				if !token.OldUntil.IsZero() {
					expires += ", old secret " + token.OldUntil.Local().Format(time.DateTime)
				}
				t.row(token.Name, token.User, token.Grants.String(), s.age(token.CreatedAt), expires)
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
		RunE: s.connected(func(ctx context.Context, c *client.Client, args []string) error {
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
