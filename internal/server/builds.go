package server

import (
	"context"
	"net/http"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type buildInput struct {
	Body api.BuildRequest
}

// build runs a build and sends its progress; the last event has the image or the error.
func (s *Server) build(ctx context.Context, in *buildInput) (sendFunc, error) {
	if s.deps.Builder == nil {
		return nil, missing("builder")
	}
	req := in.Body
	for _, f := range []struct{ field, value string }{
		{"app", req.App}, {"env", req.Env}, {"service", req.Service}, {"session", req.Session},
	} {
		if f.value == "" || len(f.value) > api.MaxName*2 {
			return nil, api.FieldError(f.field, f.value, "a name")
		}
	}
	about(ctx, req.App+"/"+req.Env+" service "+req.Service)
	ref := api.EnvRef{App: req.App, Env: req.Env}
	if err := allow(ctx, api.RoleDeploy, ref); err != nil {
		return nil, err
	}
	// A tag is a push by another way.
	for i, tag := range req.Spec.Tags {
		if app, own := s.deps.Builder.App(tag); own && !callerOf(ctx).Grants.AllowApp(api.RoleDeploy, app) {
			return nil, api.Errorf(api.Forbidden, "spec.tags[%d]: %s: %w", i, tag, forbidden(callerOf(ctx), api.RoleDeploy, app+"/*"))
		}
	}
	// What is built for an environment that another has locked could not be deployed: it would only fill the disk.
	if _, err := s.store.View(ctx, func(tx store.Tx) error { return s.passLock(ctx, tx, ref) }); err != nil {
		return nil, err
	}
	return func(ctx context.Context, send func(string, any) error) error {
		image, err := s.deps.Builder.Build(ctx, req, func(e api.BuildEvent) {
			_ = send("", e) // when it fails ctx ends, and so does the build
		})
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			return send("", api.BuildEvent{Error: errorOf(err)})
		}
		return send("", api.BuildEvent{Image: image})
	}, nil
}

// session hands the connection to the builder.
func (s *Server) session(context.Context, *none) (http.HandlerFunc, error) {
	if s.deps.Builder == nil {
		return nil, missing("builder")
	}
	return func(w http.ResponseWriter, r *http.Request) {
		// A connection that was taken over does not end with the server by itself.
		ctx, cancel := s.guard(r)
		defer cancel()
		s.deps.Builder.Session(w, r.WithContext(ctx))
	}, nil
}
