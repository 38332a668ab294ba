package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/compose"
)

func (s *shell) envCommand() *cobra.Command {
	return s.group("env", "Manage the environments of an app", groupRun,
		s.envList(), s.envCreate(), s.envTTL(), s.envRemove())
}

func (s *shell) envList() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the environments of an app, or of all",
		Args:    between(0, 0),
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			app, _ := s.appName()
			if app == "" && !all {
				app = nameOf(compose.Options{Dir: s.Dir, Environ: s.environ, Env: s.envName()})
			}
			found, err := c.Environments(ctx)
			if err != nil {
				return err
			}
			list := make([]api.EnvironmentStatus, 0, len(found))
			for _, e := range found {
				if app == "" || all || e.App == app {
					list = append(list, e)
				}
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("APP", "ENVIRONMENT", "STATE", "RELEASE", "AGE", "GOES")
			for _, e := range list {
				t.row(e.App, e.Env, s.out.paint(stateStyle(e.State), e.State), releaseName(e.Release), s.age(e.CreatedAt), s.timeLeft(&e.Environment))
			}
			if app != "" {
				t.print(app + " has no environment.")
				return nil
			}
			t.print("No app is deployed yet.")
			return nil
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "of every app")
	return s.reading(cmd)
}

// timeLeft tells when an environment goes, "" when it stays.
func (s *shell) timeLeft(e *api.Environment) string {
	switch {
	case e.Destroying:
		return "now"
	case e.ExpiresAt.IsZero():
		return ""
	}
	return "in " + left(e.ExpiresAt.Sub(s.Now()))
}

// envFlags are what `ikada env create` takes.
type envFlags struct {
	from    string
	release uint64
	moves   moveFlags
	scale   []string
	secrets []string
	ttl     string
	message string
	detach  bool
}

func (s *shell) envCreate() *cobra.Command {
	var f envFlags
	cmd := &cobra.Command{
		Use:   "create ENV",
		Short: "Make an environment, empty or as a copy of another",
		Long: `Make an environment: an empty one, whose secrets and configuration can be set before its first deploy, or with --from a
complete copy of another one, deployed at once: the same images, configuration and secrets, with volumes of its own.

What only one environment can have is given anew: hosts of routes with --route, published ports with --port. Secrets are
copied, sealed anew, or given with --secret.`,
		Example: "  ikada env create staging --from production --route shop.example.com=staging.example.com --port 8080=none --scale web=1\n  ikada env create pr-12 --from staging --route staging.example.com=pr-12.example.com --ttl 3d",
		Args:    between(1, 1),
		RunE: s.run(func(ctx context.Context, args []string) error {
			return s.createEnv(ctx, args[0], f)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "environment to copy")
	flags.Uint64Var(&f.release, "release", 0, "release of --from (default: the committed one)")
	f.moves.add(flags)
	flags.StringArrayVar(&f.scale, "scale", nil, "SERVICE=N: replicas in place of the source's")
	flags.StringArrayVar(&f.secrets, "secret", nil, "NAME=FILE: value of a secret in place of the source's")
	flags.StringVar(&f.ttl, "ttl", "", "destroy it with its volumes after this time, such as 12h or 3d")
	flags.StringVarP(&f.message, "message", "m", "", "note kept with the release")
	flags.BoolVarP(&f.detach, "detach", "d", false, "do not wait for the deployment")
	return s.reading(cmd)
}

func (s *shell) createEnv(ctx context.Context, name string, f envFlags) error {
	request := api.CreateEnvironmentRequest{From: f.from, Release: f.release, Message: f.message}
	var err error
	if request.TTL, err = parseTTL("--ttl", f.ttl); err != nil {
		return err
	}
	if request.Moves, err = f.moves.parse(); err != nil {
		return err
	}
	if len(f.scale) > 0 {
		if request.Scale, err = scaleRequest(f.scale); err != nil {
			return err
		}
	}
	if request.Secrets, err = s.secretFiles(f.secrets); err != nil {
		return err
	}
	s.env = f.from // an app that is deployed is found by an environment that it has
	c, ref, err := s.target(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ref.Env = name
	response, err := c.CreateEnvironment(ctx, ref, request)
	if err != nil {
		return err
	}
	if response.Deployment == nil {
		if s.json {
			return s.printJSON(response)
		}
		s.say("%s is there; deploy to it with `ikada deploy -e %s`.", ref, ref.Env)
		return nil
	}
	if s.json && f.detach {
		return s.printJSON(response)
	}
	s.say("%s is a copy of %s.", ref, response.From)
	return s.accepted(ctx, c, ref, *response.Deployment, waiting{detach: f.detach})
}

// secretFiles reads NAME=FILE; "-" is standard input.
func (s *shell) secretFiles(given []string) (map[string][]byte, error) {
	if len(given) == 0 {
		return nil, nil
	}
	out := map[string][]byte{}
	for _, g := range given {
		name, file, ok := strings.Cut(g, "=")
		if !ok || name == "" || file == "" {
			return nil, usagef("--secret: expected NAME=FILE") // what was given may be the secret itself
		}
		value, err := s.readSecret(file)
		if err != nil {
			return nil, fmt.Errorf("--secret %s: %w", name, err)
		}
		out[name] = value
	}
	return out, nil
}

// readSecret reads a secret's value from a file, or for "-" from standard input, as it is.
func (s *shell) readSecret(file string) ([]byte, error) {
	if file == "-" {
		return readBounded(s.Stdin, "standard input")
	}
	path := file
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.Dir, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, api.FieldError("file", file, "a file that can be read")
	}
	defer func() { _ = f.Close() }()
	return readBounded(f, file)
}

func (s *shell) envTTL() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ttl ENV TTL|never",
		Short:   "Say for how long an environment stays, from now on",
		Example: "  ikada env ttl pr-12 3d\n  ikada env ttl pr-12 never",
		Args:    between(2, 2),
		RunE: s.run(func(ctx context.Context, args []string) error {
			ttl := api.Duration(0)
			if args[1] != "never" {
				var err error
				if ttl, err = parseTTL("TTL", args[1]); err != nil {
					return err
				}
				if ttl == 0 {
					return usagef("TTL %q: expected a time such as 12h or 3d, or never", args[1])
				}
			}
			return s.onEnv(ctx, args[0], func(c *client.Client, ref api.EnvRef) error {
				env, err := c.SetTTL(ctx, ref, ttl)
				if err != nil {
					return err
				}
				if s.json {
					return s.printJSON(env)
				}
				if env.ExpiresAt.IsZero() {
					s.say("%s stays.", ref)
					return nil
				}
				s.say("%s goes %s.", ref, s.timeLeft(&env))
				return nil
			})
		}),
		ValidArgsFunction: s.completeEnvNames,
	}
	return s.reading(cmd)
}

func (s *shell) envRemove() *cobra.Command {
	var f destroyFlags
	cmd := &cobra.Command{
		Use:     "rm ENV",
		Aliases: []string{"remove", "destroy"},
		Short:   "Remove an environment with its tasks and releases, as ikada destroy",
		Args:    between(1, 1),
		RunE: s.run(func(ctx context.Context, args []string) error {
			return s.onEnv(ctx, args[0], func(c *client.Client, ref api.EnvRef) error { return s.destroy(ctx, c, ref, f) })
		}),
		ValidArgsFunction: s.completeEnvNames,
	}
	f.add(cmd)
	return cmd
}

// onEnv runs fn on an environment that an argument names: "staging", or "shop/staging" with its app.
func (s *shell) onEnv(ctx context.Context, name string, fn func(*client.Client, api.EnvRef) error) error {
	if app, env, both := strings.Cut(name, "/"); both {
		s.app, name = app, env
	}
	s.env = name
	c, ref, err := s.target(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return fn(c, ref)
}

// completeEnvNames gives the environments of the app.
func (s *shell) completeEnvNames(_ *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.completeEnvironments(begun, func(e api.EnvironmentStatus) string {
		if s.app != "" && e.App != s.app {
			return ""
		}
		return e.Env
	})
}
