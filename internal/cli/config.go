package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

func (s *shell) configCommand() *cobra.Command {
	return s.group("config", "Manage the variables of an environment", groupRun,
		s.configSet(), s.configUnset(), s.configList())
}

func (s *shell) configSet() *cobra.Command {
	var f settingsFlags
	var service string
	cmd := &cobra.Command{
		Use:   "set NAME=VALUE...",
		Short: "Set variables, and deploy with them",
		Long: `Set variables of an environment. Its services get them over those of the Compose file, and a service's own ones over those
of all. What runs is deployed anew with them; only services whose variables change get new tasks. They can be read by
whoever may view the environment: for what may not, see ikada secret.`,
		Example: "  ikada config set LOG_LEVEL=debug -e staging\n  ikada config set --service web WORKERS=4",
		Args:    between(1, -1),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			variables := map[string]string{}
			for _, arg := range args {
				name, value, ok := strings.Cut(arg, "=")
				if !ok || name == "" {
					return usagef("%q: expected NAME=VALUE", arg)
				}
				variables[name] = value
			}
			request := api.ConfigRequest{Set: map[string]map[string]string{service: variables}, NoDeploy: f.noDeploy}
			return s.changeConfig(ctx, c, ref, request, f)
		}),
	}
	cmd.Flags().StringVar(&service, "service", "", "only for this service (default: for all of them)")
	f.add(cmd)
	return s.reading(cmd)
}

func (s *shell) configUnset() *cobra.Command {
	var f settingsFlags
	var service string
	cmd := &cobra.Command{
		Use:   "unset NAME...",
		Short: "Take variables away, so that those of the Compose file count again, and deploy",
		Args:  between(1, -1),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error {
			request := api.ConfigRequest{Unset: map[string][]string{service: args}, NoDeploy: f.noDeploy}
			return s.changeConfig(ctx, c, ref, request, f)
		}),
	}
	cmd.Flags().StringVar(&service, "service", "", "that of this service (default: that of all of them)")
	f.add(cmd)
	return s.reading(cmd)
}

func (s *shell) changeConfig(ctx context.Context, c *client.Client, ref api.EnvRef, request api.ConfigRequest, f settingsFlags) error {
	response, err := c.ChangeConfig(ctx, ref, request)
	if err != nil {
		return err
	}
	return s.settled(ctx, c, ref, response, "config", f)
}

func (s *shell) configList() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List variables",
		Args:    between(0, 0),
		RunE: s.onTarget(func(ctx context.Context, c *client.Client, ref api.EnvRef, _ []string) error {
			list, err := c.Config(ctx, ref)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("SERVICE", "NAME", "VALUE", "")
			for _, v := range list {
				note := ""
				if v.Pending {
					note = s.out.paint(yellow, "counts from the next release on")
				}
				t.row(v.Service, v.Name, printable(v.Value), note)
			}
			t.print(ref.String() + " has no variables of its own.")
			return nil
		}),
	})
}
