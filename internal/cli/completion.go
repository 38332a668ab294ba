package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// completionWait bounds what a Tab waits for the server.
const completionWait = time.Second

// names asks the server for words to complete; errors give none.
func (s *shell) names(ask func(ctx context.Context, c *client.Client) []string, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completionWait)
	defer cancel()
	c, err := s.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	var out []string
	for _, name := range ask(ctx, c) {
		if strings.HasPrefix(name, begun) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeServices gives the services of the target.
func (s *shell) completeServices(_ *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	return s.names(func(ctx context.Context, c *client.Client) []string {
		ref, err := s.find(ctx, c)
		if err != nil {
			return nil
		}
		e, err := c.Environment(ctx, ref)
		if err != nil {
			return nil
		}
		var out []string
		for _, svc := range e.Services {
			if !slices.Contains(given, svc.Service) {
				out = append(out, svc.Service)
			}
		}
		return out
	}, begun)
}

// completeReleases gives the kept releases with their messages.
func (s *shell) completeReleases(_ *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	return completeOne(s, given, begun, (*client.Client).Releases, func(r api.Release) string {
		return fmt.Sprintf("%d\t%s ago %s", r.Number, s.age(r.CreatedAt), printable(r.Message))
	})
}

// completeDeployments gives the deployments with their states.
func (s *shell) completeDeployments(_ *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	return completeOne(s, given, begun, (*client.Client).Deployments, func(d api.Deployment) string {
		return fmt.Sprintf("%d\t%s", d.Number, d.State)
	})
}

// completeOne gives the lines for everything of a kind in the target, to a command that takes one of it.
func completeOne[T any](s *shell, given []string, begun string,
	list func(*client.Client, context.Context, api.EnvRef) ([]T, error), line func(T) string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.names(func(ctx context.Context, c *client.Client) []string {
		ref, err := s.find(ctx, c)
		if err != nil {
			return nil
		}
		all, err := list(c, ctx, ref)
		if err != nil {
			return nil
		}
		out := make([]string, 0, len(all))
		for _, v := range all {
			out = append(out, line(v))
		}
		return out
	}, begun)
}

// completeEnvironments gives what pick takes of each environment.
func (s *shell) completeEnvironments(begun string, pick func(api.EnvironmentStatus) string) ([]string, cobra.ShellCompDirective) {
	return s.names(func(ctx context.Context, c *client.Client) []string {
		list, err := c.Environments(ctx)
		if err != nil {
			return nil
		}
		var out []string
		for _, e := range list {
			if name := pick(e); name != "" {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}, begun)
}

// completeApps gives the apps to a command that takes one.
func (s *shell) completeApps(_ *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.completeEnvironments(begun, func(e api.EnvironmentStatus) string { return e.App })
}

// completeFlags completes --app and --env.
func (s *shell) completeFlags(root *cobra.Command) {
	each := func(pick func(api.EnvironmentStatus) string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return s.completeEnvironments(begun, pick)
		}
	}
	for flag, pick := range map[string]func(api.EnvironmentStatus) string{
		"app": func(e api.EnvironmentStatus) string { return e.App },
		"env": func(e api.EnvironmentStatus) string {
			if s.app != "" && e.App != s.app {
				return ""
			}
			return e.Env
		},
	} {
		if err := root.RegisterFlagCompletionFunc(flag, each(pick)); err != nil {
			panic("cli: complete flag: " + err.Error()) // the flag is declared just before
		}
	}
}
