package cli

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/compose"
)

// connect makes the client of the chosen server.
func (s *shell) connect() (*client.Client, error) {
	c, err := client.Open(s.server(), client.Options{Token: s.environ["IKADA_TOKEN"],
		Fingerprint: cmp.Or(s.pin, s.environ["IKADA_FINGERPRINT"]), CAFile: cmp.Or(s.ca, s.environ["IKADA_CA_FILE"])})
	if err == nil {
		c.Under(s.environ["IKADA_LOCK"])
	}
	return c, err
}

// appName gives the app that --app or IKADA_APP names: "shop", or "shop/staging" with its environment.
func (s *shell) appName() (app, env string) {
	app, env, _ = strings.Cut(cmp.Or(s.app, s.environ["IKADA_APP"]), "/")
	return app, env
}

// wantedEnv gives the environment that is asked for, "" for none in particular.
func (s *shell) wantedEnv() string {
	_, env := s.appName()
	return cmp.Or(s.env, env, s.environ["IKADA_ENV"])
}

// envName gives the environment that is asked for, or the default.
func (s *shell) envName() string { return cmp.Or(s.wantedEnv(), api.DefaultEnv) }

// target connects and finds the environment that a command is about: what the flags name, else the app of the working
// directory, else the only one there is.
func (s *shell) target(ctx context.Context) (*client.Client, api.EnvRef, error) {
	c, err := s.connect()
	if err != nil {
		return nil, api.EnvRef{}, err
	}
	ref, err := s.find(ctx, c)
	return c, ref, err
}

// connected makes the function of a command about the cluster.
func (s *shell) connected(fn func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return s.run(func(ctx context.Context, args []string) error {
		c, err := s.connect()
		if err != nil {
			return err
		}
		defer c.Close()
		return fn(ctx, c, args)
	})
}

// onTarget makes the function of a command about one environment.
func (s *shell) onTarget(fn func(ctx context.Context, c *client.Client, ref api.EnvRef, args []string) error) func(*cobra.Command, []string) error {
	return s.run(func(ctx context.Context, args []string) error {
		c, ref, err := s.target(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		return fn(ctx, c, ref, args)
	})
}

func (s *shell) find(ctx context.Context, c *client.Client) (api.EnvRef, error) {
	app, _ := s.appName()
	if app == "" {
		app = nameOf(compose.Options{Dir: s.Dir, Environ: s.environ, Env: s.envName()})
	}
	if app != "" {
		return api.EnvRef{App: app, Env: s.envName()}, nil
	}
	list, err := c.Environments(ctx)
	if err != nil {
		return api.EnvRef{}, err
	}
	wanted := s.wantedEnv()
	found := map[string]api.EnvRef{}
	for _, e := range list {
		if wanted == "" || e.Env == wanted {
			found[e.EnvRef.String()] = e.EnvRef
		}
	}
	names := slices.Sorted(maps.Keys(found))
	switch len(names) {
	case 0:
		return api.EnvRef{}, api.Errorf(api.NotFound, "no app is deployed yet; run `ikada deploy` in a directory with a Compose file or a Dockerfile")
	case 1:
		return found[names[0]], nil
	}
	if ref, ok := onlyApp(found); ok {
		return api.EnvRef{App: ref, Env: s.envName()}, nil
	}
	return api.EnvRef{}, usagef("which app? name one with --app: %s", strings.Join(names, ", "))
}

// onlyApp gives the app when all environments are of one.
func onlyApp(found map[string]api.EnvRef) (string, bool) {
	app := ""
	for _, ref := range found {
		if app != "" && app != ref.App {
			return "", false
		}
		app = ref.App
	}
	return app, app != ""
}
