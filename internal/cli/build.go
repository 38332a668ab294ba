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

	"golang.org/x/sync/errgroup"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/build/session"
	"github.com/ikada/ikada/internal/compose"
)

// maxBuilds bounds builds at once: the node builds in a capped cgroup, so that more would only wait for each other.
const maxBuilds = 3

// buildAll builds every image of the app and puts it into the spec. Services with equal build sections share one
// build.
func (s *shell) buildAll(ctx context.Context, c *client.Client, p *compose.Project, noCache bool) error {
	if len(p.Builds) == 0 {
		return nil
	}
	groups := map[string][]string{} // build section → services
	for _, name := range slices.Sorted(maps.Keys(p.Builds)) {
		key, err := json.Marshal(p.Builds[name])
		if err != nil {
			return api.Errorf(api.Internal, "encode build of %s: %w", name, err)
		}
		groups[string(key)] = append(groups[string(key)], name)
	}
	progress := s.newBuildProgress()
	defer progress.close()
	images := make(chan [2]string, len(p.Builds))
	work, workCtx := errgroup.WithContext(ctx)
	work.SetLimit(maxBuilds)
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		services := groups[key]
		spec := p.Builds[services[0]]
		spec.NoCache = spec.NoCache || noCache
		work.Go(func() error {
			image, err := s.build(workCtx, c, refOf(p.Spec), services[0], spec, progress)
			if err != nil {
				return err
			}
			for _, name := range services {
				images <- [2]string{name, image}
			}
			return nil
		})
	}
	err := work.Wait()
	close(images)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	for built := range images {
		service := p.Spec.Services[built[0]]
		service.Image = built[1]
		p.Spec.Services[built[0]] = service
	}
	return nil
}

// build builds one image. The session serves the files for as long as the build runs.
func (s *shell) build(ctx context.Context, c *client.Client, ref api.EnvRef, service string, spec api.BuildSpec, progress *buildProgress) (string, error) {
	progress.start(service)
	dial := func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
		return c.DialSession(ctx, proto, meta)
	}
	files, err := session.Open(ctx, dial, session.FromSpec(spec, ""))
	if err != nil {
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
	if e, ok := errors.AsType[*api.Error](err); ok {
		if e.Field == "" && strings.HasPrefix(e.Message, "build "+service) {
			return err
		}
		return &api.Error{Kind: e.Kind, Field: "services." + service + ".build", Message: e.Error()}
	}
	return fmt.Errorf("build %s: %w", service, err)
}
