package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/compose"
)

// deployFlags are what `ikada deploy` takes.
type deployFlags struct {
	files    []string
	profiles []string
	images   []string
	args     []string
	project  string
	message  string
	ttl      string
	timeout  time.Duration
	waiting  waiting
	force    bool
	noCache  bool
}

func (s *shell) deployCommand() *cobra.Command {
	var f deployFlags
	cmd := &cobra.Command{
		Use:        "deploy [DIR]",
		SuggestFor: []string{"build", "push", "apply", "ship", "compose"},
		Short:      "Build and roll out the app of a directory",
		GroupID:    groupDeploy,
		Long: `Build and roll out the app of a directory that holds a Compose file or a Dockerfile.

Images are built, a release is made, and its tasks take the place of the old ones. A release that does not become
healthy is taken back by itself: the exit code is then 3. Ctrl-C leaves the deployment running.

A release is judged by its requests for a while after the deployment has ended. With --wait trial the command waits for
that too, and exits with 3 when the release is taken back then.`,
		Example: "  ikada deploy\n  ikada deploy ./shop --env staging\n  ikada deploy --image web=ghcr.io/acme/web:1.4\n  ikada deploy --wait trial",
		Args:    between(0, 1),
		RunE: s.run(func(ctx context.Context, args []string) error {
			dir := s.Dir
			if len(args) == 1 {
				dir = args[0]
			}
			return s.deploy(ctx, dir, f)
		}),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "file", "f", nil, "Compose file; later ones change earlier ones")
	flags.StringArrayVar(&f.profiles, "profile", nil, "active profile")
	flags.StringArrayVar(&f.images, "image", nil, "SERVICE=REF: take this image and do not build")
	flags.StringArrayVar(&f.args, "build-arg", nil, "NAME=VALUE for every build; wins over the file's")
	flags.StringVar(&f.project, "project", "", "name of the app (default: the file's name:, else the directory's)")
	flags.StringVarP(&f.message, "message", "m", "", "note kept with the release")
	flags.StringVar(&f.ttl, "ttl", "", "destroy the environment with its volumes after this time, such as 12h or 3d; each deploy that says it begins anew")
	flags.DurationVar(&f.timeout, "timeout", 0, "give up waiting after this long, with exit code 5; the deployment goes on")
	f.waiting.add(cmd)
	flags.BoolVar(&f.force, "force", false, "replace every task even when nothing changed")
	flags.BoolVar(&f.noCache, "no-cache", false, "build without cache")
	return s.reading(cmd)
}

func (s *shell) deploy(ctx context.Context, dir string, f deployFlags) error {
	if err := f.waiting.check(); err != nil {
		return err
	}
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.timeout, errWaited)
		defer cancel()
	}
	ttl, err := parseTTL("--ttl", f.ttl)
	if err != nil {
		return err
	}
	app, _ := s.appName()
	project, err := s.load(ctx, compose.Options{
		Dir: dir, Files: f.files, Env: s.envName(), Profiles: f.profiles, Name: cmp.Or(f.project, app), Environ: s.environ,
	})
	if err != nil {
		return err
	}
	if err := giveImages(project, f.images); err != nil {
		return err
	}
	if err := giveArgs(project, f.args); err != nil {
		return err
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	builds, err := s.buildAll(ctx, c, project, f.noCache)
	if err != nil {
		return waited(err, "building")
	}
	response, err := c.Deploy(ctx, api.DeployRequest{
		Spec: project.Spec, Commit: commitOf(project.Dir), Message: f.message, Force: f.force, TTL: ttl, Builds: s.buildTimes(builds),
	})
	if err != nil {
		return err
	}
	return s.accepted(ctx, c, refOf(project.Spec), response, f.waiting)
}

// load reads an app and prints what has no effect.
func (s *shell) load(ctx context.Context, o compose.Options) (*compose.Project, error) {
	// compose-go writes warnings to a logger of the whole process; what matters of them is among Warnings, but for
	// variables that .env and env_file use and that are not set: it tells of those nowhere else.
	logrus.SetOutput(io.Discard)
	unset := &unsetVariables{}
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{logrus.WarnLevel: {unset}})
	project, err := compose.Load(ctx, o)
	if err != nil {
		return nil, err
	}
	warnings := slices.Concat(project.Warnings, unset.warnings())
	slices.Sort(warnings)
	for _, w := range slices.Compact(warnings) {
		s.warn("%s", w)
	}
	return project, nil
}

// nameOf gives the name of a directory's app; what compose-go has to say of its .env is said by load.
func nameOf(o compose.Options) string {
	logrus.SetOutput(io.Discard)
	return compose.Name(o)
}

// unsetVariables is a hook of compose-go's logger that keeps the names of variables that are not set.
type unsetVariables struct {
	mu    sync.Mutex
	names []string
}

var unsetShape = regexp.MustCompile(`^The "(\w+)" variable is not set\.`)

// Levels implements logrus.Hook.
func (*unsetVariables) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

// Fire implements logrus.Hook.
func (u *unsetVariables) Fire(e *logrus.Entry) error {
	if m := unsetShape.FindStringSubmatch(e.Message); m != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.names = append(u.names, m[1])
	}
	return nil
}

func (u *unsetVariables) warnings() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []string
	for _, name := range u.names {
		out = append(out, compose.UnsetWarning(name))
	}
	return out
}

// accepted goes on after the server took a deployment or a rollback.
func (s *shell) accepted(ctx context.Context, c *client.Client, ref api.EnvRef, r api.DeployResponse, w waiting) error {
	for _, text := range r.Warnings {
		s.warn("%s", text)
	}
	switch {
	case r.Unchanged || r.Deployment == nil:
		if s.json {
			return s.printJSON(r)
		}
		s.say("Nothing to change: %s runs release %d already.", ref, r.Release)
		return nil
	case w.detach:
		if s.json {
			return s.printJSON(r)
		}
		s.say("Deployment %d of %s to release %d is under way; watch it with `ikada watch %d -a %s -e %s`.",
			r.Deployment.Number, ref, r.Release, r.Deployment.Number, ref.App, ref.Env)
		return nil
	}
	return s.follow(ctx, c, ref, *r.Deployment, w)
}

// refOf names the environment that a spec is for.
func refOf(spec api.AppSpec) api.EnvRef { return api.EnvRef{App: spec.App, Env: spec.Env} }

// giveImages puts the images of --image in the place of builds.
func giveImages(p *compose.Project, images []string) error {
	for _, given := range images {
		name, ref, ok := strings.Cut(given, "=")
		if !ok || name == "" || ref == "" {
			return usagef("--image %q: expected SERVICE=REF", given)
		}
		service, known := p.Spec.Services[name]
		if !known {
			return usagef("--image %q: there is no service %s; expected one of %s", given, name, strings.Join(serviceNames(p.Spec), ", "))
		}
		service.Image = ref
		p.Spec.Services[name] = service
		delete(p.Builds, name)
	}
	return nil
}

// giveArgs puts the arguments of --build-arg into every build.
func giveArgs(p *compose.Project, args []string) error {
	for _, given := range args {
		name, value, ok := strings.Cut(given, "=")
		if !ok || name == "" {
			return usagef("--build-arg %q: expected NAME=VALUE", given)
		}
		for service, spec := range p.Builds {
			spec.Args = maps.Clone(spec.Args)
			if spec.Args == nil {
				spec.Args = map[string]string{}
			}
			spec.Args[name] = value
			p.Builds[service] = spec
		}
	}
	return nil
}

func serviceNames(spec api.AppSpec) []string {
	names := make([]string, 0, len(spec.Services))
	for name := range spec.Services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// errWaited is the cause of a context that --timeout ended.
var errWaited = fmt.Errorf("the time given by --timeout is over: %w", context.DeadlineExceeded)
