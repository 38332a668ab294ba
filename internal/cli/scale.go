package cli

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
)

func (s *shell) scaleCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "scale SERVICE=N...",
		Short:   "Set how many tasks a service has; SERVICE=auto gives it back to its release",
		GroupID: groupRun,
		Example: "  ikada scale web=5 worker=2",
		Args:    between(1, -1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			names, directive := s.completeServices(cmd, args, begun)
			for i := range names {
				names[i] += "="
			}
			return names, directive | cobra.ShellCompDirectiveNoSpace
		},
		RunE: s.run(func(ctx context.Context, args []string) error {
			request, err := scaleRequest(args)
			if err != nil {
				return err
			}
			c, ref, err := s.target(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Scale(ctx, ref, request); err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(request)) {
				if n := request[name]; n < 0 {
					s.say("%s has as many tasks as its release says.", name)
				} else {
					s.say("%s is to have %s.", name, plural(n, "task"))
				}
			}
			return nil
		}),
	}
}

// scaleRequest reads SERVICE=N arguments.
func scaleRequest(args []string) (api.ScaleRequest, error) {
	request := api.ScaleRequest{}
	for _, arg := range args {
		name, text, _ := strings.Cut(arg, "=")
		n, err := strconv.ParseUint(text, 10, 31)
		if name == "" || text != "auto" && (err != nil || n > api.MaxReplicas) {
			return nil, usagef("%q: expected SERVICE=N with N from 0 to %d, or SERVICE=auto", arg, api.MaxReplicas)
		}
		if request[name] = int(n); text == "auto" {
			request[name] = -1
		}
	}
	return request, nil
}
