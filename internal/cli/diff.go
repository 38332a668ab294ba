package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) diffCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "diff FROM [TO]",
		Short:   "List what differs between two releases or environments",
		GroupID: groupLook,
		Long: `List what differs between two releases of an app, field by field.

FROM and TO are each a release's number, an environment for its committed release, or ENVIRONMENT@RELEASE. Without TO,
FROM is compared with the committed release. Between environments the versions of secrets are not compared.`,
		Example: "  ikada diff 4 7\n  ikada diff staging production\n  ikada diff staging@3 production",
		Args:    between(1, 2),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			from, err := parseOrigin(args[0], ref.Env)
			if err != nil {
				return err
			}
			to := api.Origin{Env: ref.Env}
			if len(args) == 2 {
				if to, err = parseOrigin(args[1], ref.Env); err != nil {
					return err
				}
			}
			d, err := c.Diff(ctx, ref.App, from, to)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(d)
			}
			if len(d.Changes) == 0 {
				s.say("%s and %s do not differ.", d.From, d.To)
			}
			s.printChanges(d.Changes)
			return nil
		}),
	})
}

// parseOrigin reads "4", "staging" or "staging@4"; a number alone is a release of env.
func parseOrigin(text, env string) (api.Origin, error) {
	name, number, at := strings.Cut(text, "@")
	if !at {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > 0 {
			return api.Origin{Env: env, Release: n}, nil
		}
		if text == "" {
			return api.Origin{}, usagef("release %q: expected a number, an environment, or ENVIRONMENT@RELEASE", text)
		}
		return api.Origin{Env: text}, nil
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n == 0 || name == "" {
		return api.Origin{}, usagef("release %q: expected a number, an environment, or ENVIRONMENT@RELEASE", text)
	}
	return api.Origin{Env: name, Release: n}, nil
}

// printChanges writes a line for each field, to standard output unless JSON is to stand there.
func (s *shell) printChanges(changes []api.Change) {
	for _, c := range changes {
		line := c.Field + ": "
		switch {
		case c.From == "":
			line = s.out.paint(green, "+ "+line+printable(c.To))
		case c.To == "":
			line = s.out.paint(red, "- "+line+printable(c.From))
		default:
			line = s.out.paint(yellow, "~ ") + line + printable(c.From) + " → " + printable(c.To)
		}
		fmt.Fprintln(s.Stdout, line)
	}
}
