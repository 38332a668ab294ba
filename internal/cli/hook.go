package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) hookCommand() *cobra.Command {
	return s.group("hook", "Manage web hooks, which are told of what happens", groupNode,
		s.hookAdd(), s.hookList(), s.hookTest(), s.hookRemove())
}

func (s *shell) hookAdd() *cobra.Command {
	var request api.HookRequest
	cmd := &cobra.Command{
		Use:     "add NAME URL",
		Short:   "Have an address told of what happens; prints the secret that signs the messages, this once",
		Example: "  ikada hook add chat https://hooks.slack.com/services/T0/B0/X --format slack --on rollback,failure\n  ikada hook add ci https://ci.example.com/ikada --scope 'shop/*'",
		Args:    between(2, 2),
		RunE: s.connected(func(ctx context.Context, c *client.Client, args []string) error {
			request.Name, request.URL = args[0], args[1]
			if _, err := request.Hook(); err != nil {
				return usagef("%v", err)
			}
			hook, err := c.CreateHook(ctx, request)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(hook)
			}
			_, err = fmt.Fprintln(s.Stdout, hook.Secret)
			return err
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&request.Format, "format", api.HookJSON, "what it is sent: "+strings.Join(api.HookFormats, " or ")+", which Mattermost takes too")
	flags.StringSliceVar(&request.On, "on", nil, "of what it is told: "+strings.Join(api.HookHappenings, ",")+" (default: all)")
	flags.StringVar(&request.Scope, "scope", "", "of which environments, such as shop/production or shop/* (default: all)")
	return s.reading(cmd)
}

func (s *shell) hookList() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List web hooks and how they do",
		Args:    between(0, 0),
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := c.Hooks(ctx)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("NAME", "TO", "FORMAT", "ON", "SCOPE", "SENT", "DROPPED", "PROBLEM")
			for _, h := range list {
				problem := printable(h.State.Problem)
				if h.State.Attempts > 0 {
					problem += fmt.Sprintf("; attempt %d in %s", h.State.Attempts+1, left(h.State.NextAt.Sub(s.Now())))
				}
				on := strings.Join(h.On, ",")
				if len(h.On) == len(api.HookHappenings) {
					on = "all"
				}
				t.row(h.Name, printable(h.Host), h.Format, on, h.Scope, number(h.State.Delivered), number(h.State.Dropped), problem)
			}
			t.print("There is no hook.")
			return nil
		}),
	})
}

func (s *shell) hookTest() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:   "test NAME",
		Short: "Send a test to a web hook, once",
		Args:  between(1, 1),
		RunE: s.connected(func(ctx context.Context, c *client.Client, args []string) error {
			result, err := c.TestHook(ctx, args[0])
			if err != nil {
				return err
			}
			if s.json {
				if err := s.printJSON(result); err != nil {
					return err
				}
			}
			if result.Problem != "" {
				return &exitError{ExitError, errors.New("hook " + args[0] + " did not take the test: " + printable(result.Problem))}
			}
			s.say("%s took the test: it answered %d after %s.", args[0], result.Status, precise(result.Took))
			return nil
		}),
	})
}

func (s *shell) hookRemove() *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"remove"},
		Short:   "Remove web hooks",
		Args:    between(1, -1),
		RunE: s.connected(func(ctx context.Context, c *client.Client, args []string) error {
			for _, name := range args {
				if err := c.DeleteHook(ctx, name); err != nil {
					return err
				}
				s.say("%s is not told any more.", name)
			}
			return nil
		}),
	}
}
