package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/compose"
)

// promoteFlags are what `ikada promote` takes.
type promoteFlags struct {
	from, to string
	release  uint64
	files    []string
	profiles []string
	moves    moveFlags
	message  string
	dryRun   bool
	waiting  waiting
}

func (s *shell) promoteCommand() *cobra.Command {
	var f promoteFlags
	cmd := &cobra.Command{
		Use:     "promote [APP]",
		Short:   "Bring the images of one environment's release to another",
		GroupID: groupDeploy,
		Long: `Bring the very images of one environment's release to another environment. Nothing is built.

Everything but the images stays as it is in the environment that is promoted to: configuration, secrets, routes,
replicas. Services that only the source has come with its configuration. An environment without a release begins with
the Compose file of the working directory, or of -f, and its part for that environment; without a file, with the
source's configuration. Secrets that it lacks are named.`,
		Example: "  ikada promote --from staging --to production\n  ikada promote --from staging --release 4 --to production --dry-run",
		Args:    between(0, 1),
		RunE: s.run(func(ctx context.Context, args []string) error {
			if len(args) == 1 {
				s.app = args[0]
			}
			return s.promote(ctx, f)
		}),
		ValidArgsFunction: s.completeApps,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "environment whose images are taken")
	flags.StringVar(&f.to, "to", "", "environment that gets them (default: that of --env, else "+api.DefaultEnv+")")
	flags.Uint64Var(&f.release, "release", 0, "release of --from (default: the committed one)")
	flags.StringArrayVarP(&f.files, "file", "f", nil, "Compose file for an environment that has no release yet")
	flags.StringArrayVar(&f.profiles, "profile", nil, "active profile, with a Compose file")
	f.moves.add(flags)
	flags.StringVarP(&f.message, "message", "m", "", "note kept with the release")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only tell what would change")
	f.waiting.add(cmd)
	return s.reading(cmd)
}

func (s *shell) promote(ctx context.Context, f promoteFlags) error {
	if f.from == "" {
		return usagef("ikada promote needs --from: the environment whose images are taken")
	}
	if err := f.waiting.check(); err != nil {
		return err
	}
	moves, err := f.moves.parse()
	if err != nil {
		return err
	}
	if f.to != "" {
		s.env = f.to
	}
	c, ref, err := s.target(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	request := api.PromoteRequest{From: f.from, Release: f.release, Moves: moves, Message: f.message, DryRun: f.dryRun}
	if request.Spec, err = s.firstSpec(ctx, c, ref, f); err != nil {
		return err
	}
	response, err := c.Promote(ctx, ref, request)
	if err != nil {
		return err
	}
	if !s.json {
		s.printChanges(response.Changes)
	}
	if f.dryRun {
		for _, w := range response.Warnings {
			s.warn("%s", w)
		}
		if s.json {
			return s.printJSON(response)
		}
		if len(response.Changes) == 0 {
			s.say("Nothing would change: %s runs what %s has.", ref, response.From)
		}
		return nil
	}
	if s.json && (f.waiting.detach || response.Unchanged) {
		return s.printJSON(response)
	}
	return s.accepted(ctx, c, ref, response.DeployResponse, f.waiting)
}

// firstSpec gives the spec that an environment without a release begins with, nil when it has one or there is no file.
func (s *shell) firstSpec(ctx context.Context, c *client.Client, ref api.EnvRef, f promoteFlags) (*api.AppSpec, error) {
	status, err := c.Environment(ctx, ref)
	switch {
	case err != nil && !api.IsKind(err, api.NotFound):
		return nil, err
	case err == nil && status.Release != 0:
		if len(f.files) > 0 {
			return nil, usagef("-f: %s has release %d already, whose configuration it keeps; `ikada deploy` changes it", ref, status.Release)
		}
		return nil, nil
	}
	options := compose.Options{Dir: s.Dir, Files: f.files, Env: ref.Env, Profiles: f.profiles, Environ: s.environ}
	if len(f.files) == 0 && nameOf(options) != ref.App {
		return nil, nil // the directory is none of the app's
	}
	options.Name = ref.App
	project, err := s.load(ctx, options)
	if err != nil {
		return nil, err
	}
	return &project.Spec, nil
}

// moveFlags are --route and --port of what copies services to another environment.
type moveFlags struct{ hosts, ports []string }

type flagSet interface {
	StringArrayVar(p *[]string, name string, value []string, usage string)
}

func (m *moveFlags) add(flags flagSet) {
	flags.StringArrayVar(&m.hosts, "route", nil, "OLD=NEW: host of a route in place of the source's; * is a route without a host")
	flags.StringArrayVar(&m.ports, "port", nil, "OLD=NEW: published port in place of the source's; OLD=none publishes it no more")
}

func (m *moveFlags) parse() (api.Moves, error) {
	out := api.Moves{}
	for _, given := range m.hosts {
		old, host, ok := strings.Cut(given, "=")
		if !ok || old == "" || host == "" {
			return out, usagef("--route %q: expected OLD=NEW, such as shop.example.com=staging.example.com", given)
		}
		if out.Hosts == nil {
			out.Hosts = map[string]string{}
		}
		out.Hosts[old] = host
	}
	for _, given := range m.ports {
		old, port, ok := strings.Cut(given, "=")
		n, err := strconv.ParseUint(port, 10, 16)
		if port == "none" {
			n, err = 0, nil
		} else if n == 0 {
			ok = false
		}
		if _, bad := strconv.ParseUint(old, 10, 16); !ok || err != nil || bad != nil {
			return out, usagef("--port %q: expected OLD=NEW, such as 8080=18080, or OLD=none", given)
		}
		if out.Ports == nil {
			out.Ports = map[string]uint16{}
		}
		out.Ports[old] = uint16(n)
	}
	return out, nil
}
