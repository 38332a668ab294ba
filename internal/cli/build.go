package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/build/session"
	"github.com/ikada/ikada/internal/compose"
)

// maxBuilds bounds builds at once: the node builds in a capped cgroup, so that more would only wait for each other.
const maxBuilds = 3

// built is one build that is done.
type built struct {
	api.Build
	began time.Time
}

// buildAll builds every image of the app, puts it into the spec, and tells how long each build took. Services with equal
// build sections share one build.
func (s *shell) buildAll(ctx context.Context, c *client.Client, p *compose.Project, noCache bool) ([]built, error) {
	if len(p.Builds) == 0 {
		return nil, nil
	}
	groups := map[string][]string{} // build section → services
	for _, name := range slices.Sorted(maps.Keys(p.Builds)) {
		key, err := json.Marshal(p.Builds[name])
		if err != nil {
			return nil, api.Errorf(api.Internal, "encode build of %s: %w", name, err)
		}
		groups[string(key)] = append(groups[string(key)], name)
	}
	progress := s.newBuildProgress()
	defer progress.close()
	done := make(chan built, len(groups))
	work, workCtx := errgroup.WithContext(ctx)
	work.SetLimit(maxBuilds)
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		services := groups[key]
		spec := p.Builds[services[0]]
		spec.NoCache = spec.NoCache || noCache
		work.Go(func() error {
			began := s.Now()
			image, err := s.build(workCtx, c, refOf(p.Spec), services[0], spec, progress)
			if err != nil {
				return err
			}
			done <- built{api.Build{Services: services, Image: image, Took: api.Duration(s.Now().Sub(began))}, began}
			return nil
		})
	}
	err := work.Wait()
	close(done)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	var all []built
	for b := range done {
		for _, name := range b.Services {
			service := p.Spec.Services[name]
			service.Image = b.Image
			p.Spec.Services[name] = service
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b built) int { return a.began.Compare(b.began) })
	return all, nil
}

// buildTimes tells the server of builds: how long ago they began, for clocks differ.
func (s *shell) buildTimes(all []built) []api.Build {
	var out []api.Build
	for _, b := range all {
		b.Ago = max(api.Duration(s.Now().Sub(b.began)), b.Took)
		out = append(out, b.Build)
	}
	return out
}

// build builds one image. The session serves the files for as long as the build runs.
func (s *shell) build(ctx context.Context, c *client.Client, ref api.EnvRef, service string, spec api.BuildSpec, progress *buildProgress) (string, error) {
	progress.start(service)
	dial := func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
		return c.DialSession(ctx, proto, meta)
	}
	files, err := session.Open(ctx, dial, session.FromSpec(spec, ""))
	if err != nil {
		progress.failed(service)
		return "", buildError(service, err)
	}
	defer func() { _ = files.Close() }() // the build has ended: nothing is left to lose
	request := api.BuildRequest{EnvRef: ref, Service: service, Session: files.ID(), Spec: spec}
	image, err := c.Build(ctx, request, func(e api.BuildEvent) { progress.event(service, e) })
	if err != nil {
		progress.failed(service)
		return "", buildError(service, err)
	}
	progress.done(service, image)
	return image, nil
}

// buildError keeps the kind of a build's error and says whose build it was.
func buildError(service string, err error) error {
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return err // no build failed: there is no server
	}
	if e, ok := errors.AsType[*api.Error](err); ok {
		if e.Kind == api.Conflict || e.Kind == api.Forbidden || e.Kind == api.Unauthorized && e.Field == "" {
			return err // it is about the environment, or the caller
		}
		if e.Field == "" && strings.HasPrefix(e.Message, "build "+service) {
			return err
		}
		return &api.Error{Kind: e.Kind, Field: "services." + service + ".build", Message: strings.TrimPrefix(e.Error(), "build: ")}
	}
	return fmt.Errorf("build %s: %w", service, err)
}
