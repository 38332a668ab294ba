package cli

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/compose"
)

// connect makes the client of the chosen server.
func (s *shell) connect() (*client.Client, error) {
	return client.New(s.server(), s.environ["IKADA_TOKEN"])
}

// envName gives the environment that is asked for.
func (s *shell) envName() string { return cmp.Or(s.env, s.environ["IKADA_ENV"], api.DefaultEnv) }

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

func (s *shell) find(ctx context.Context, c *client.Client) (api.EnvRef, error) {
	app := cmp.Or(s.app, s.environ["IKADA_APP"])
	if app == "" {
		app = compose.Name(compose.Options{Dir: s.Dir, Environ: s.environ, Env: s.envName()})
	}
	if app != "" {
		if name, env, ok := strings.Cut(app, "/"); ok && s.env == "" {
			return api.EnvRef{App: name, Env: env}, nil
		}
		return api.EnvRef{App: app, Env: s.envName()}, nil
	}
	list, err := c.Environments(ctx)
	if err != nil {
		return api.EnvRef{}, err
	}
	wanted := cmp.Or(s.env, s.environ["IKADA_ENV"])
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
