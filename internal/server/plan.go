package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

type planInput struct {
	EnvPath
	Body api.PlanRequest
}

// plan makes the deployment that is asked for in a transaction which is given up, and has it rehearsed: so what is
// rehearsed is what would be made, and what would be refused is refused.
func (s *Server) plan(ctx context.Context, in *planInput) (resp api.PlanResponse, err error) {
	if s.deps.Rehearser == nil {
		return resp, missing("way to rehearse")
	}
	if n := len(in.Body.WhatIf); n > api.MaxHazards {
		return resp, api.FieldError("whatIf", fmt.Sprint(n), fmt.Sprintf("at most %d", api.MaxHazards))
	}
	d, err := s.draft(ctx, in)
	if err != nil {
		return resp, err
	}
	rev, err := s.store.View(ctx, func(store.Tx) error { return nil })
	if err != nil {
		return resp, err
	}
	err = s.updateSealed(ctx, func(tx store.Tx) error {
		if err := d.make(tx, in.ref()); err != nil {
			return err
		}
		return errDry
	})
	if !errors.Is(err, errDry) {
		return resp, err
	}
	if !d.resp.Unchanged {
		resp, err = s.deps.Rehearser.Rehearse(ctx, rev, *d.env, d.release, d.resp.Deployment, in.Body.WhatIf)
		if err != nil {
			return resp, err
		}
	} else {
		resp.State, resp.Committed, resp.Steps = api.DeploySucceeded, d.resp.Release, []api.PlanStep{}
	}
	resp.DeployResponse, resp.Changes = d.resp, d.changes()
	resp.Notes = append(d.images.notes(), resp.Notes...)
	return resp, nil
}

// draft is a deployment that is never queued.
type draft struct {
	images  *unbuilt
	queue   func(tx store.Tx) (api.DeployResponse, error) // makes it
	resp    api.DeployResponse
	env     *api.Environment
	release *api.Release
	before  api.AppSpec // of the committed release
}

// draft prepares what the request asks for.
func (s *Server) draft(ctx context.Context, in *planInput) (*draft, error) {
	d := &draft{images: &unbuilt{Images: s.deps.Images}}
	asked := 0
	if r := in.Body.Deploy; r != nil {
		asked++
		spec, err := s.withUnbuilt(ctx, in.ref(), r.Spec, in.Body.KeepImages, d.images)
		if err != nil {
			return nil, err
		}
		p, err := s.prepareWith(ctx, d.images, in.ref(), spec)
		if err != nil {
			return nil, err
		}
		made := &deployInput{EnvPath: in.EnvPath, Body: *r}
		d.queue = func(tx store.Tx) (api.DeployResponse, error) { return s.deployIn(ctx, tx, made, &p) }
	}
	if r := in.Body.Promote; r != nil {
		asked++
		made := &promoteInput{EnvPath: in.EnvPath, Body: *r}
		made.Body.DryRun = false
		what, err := s.promoted(ctx, made)
		if err != nil {
			return nil, err
		}
		d.queue = func(tx store.Tx) (api.DeployResponse, error) {
			resp, err := s.promoteIn(ctx, tx, made, what)
			return resp.DeployResponse, err
		}
	}
	if r := in.Body.Rollback; r != nil {
		asked++
		made := &rollbackInput{EnvPath: in.EnvPath, Body: r}
		d.queue = func(tx store.Tx) (api.DeployResponse, error) { return s.rollbackIn(ctx, tx, made) }
	}
	if asked != 1 {
		return nil, api.FieldError("deploy", "", "exactly one of deploy, promote and rollback")
	}
	return d, nil
}

// make makes the deployment and reads what was written for it.
func (d *draft) make(tx store.Tx, ref api.EnvRef) (err error) {
	committed, err := committedOf(tx, ref)
	if err != nil {
		return err
	}
	d.before = api.AppSpec{App: ref.App, Env: ref.Env}
	if committed != nil {
		d.before = committed.Spec
	}
	if d.resp, err = d.queue(tx); err != nil {
		return err
	}
	if d.release, err = store.Get[api.Release](tx, store.ReleaseKey(ref, d.resp.Release)); err != nil {
		return err
	}
	d.env, err = loadEnvironment(tx, ref)
	return err
}

// committedOf gives the committed release of an environment, nil when there is none.
func committedOf(tx store.Tx, ref api.EnvRef) (*api.Release, error) {
	env, err := store.Find[api.Environment](tx, store.EnvironmentKey(ref))
	if err != nil || env == nil || env.Release == 0 {
		return nil, err
	}
	return store.Find[api.Release](tx, store.ReleaseKey(ref, env.Release))
}

// changes lists what differs from the committed release. Images that are to be built stand there in words.
func (d *draft) changes() []api.Change {
	changes := Compare(d.before, d.release.Spec)
	for i := range changes {
		if d.images.made[changes[i].To] != "" {
			changes[i].To = "a new image, not built yet"
		}
	}
	return changes
}

// unbuilt has images that are yet to be built besides those that there are.
type unbuilt struct {
	Images
	made map[string]string // reference → service
	like map[string]string // reference → what the service runs now, "" for nothing
	kept []string          // services whose image is taken to stay
}

// Resolve implements [Images].
func (u *unbuilt) Resolve(ctx context.Context, ref, policy string) (string, error) {
	if u.made[ref] != "" {
		return ref, nil
	}
	if u.Images == nil {
		return "", missing("way to look up images")
	}
	return u.Images.Resolve(ctx, ref, policy)
}

// Config implements [Images]. What is built is taken to be run as what runs now. Where nothing does, a route needs a
// port to lead to: any will do, for nobody will call it.
func (u *unbuilt) Config(ctx context.Context, ref string) (api.ImageConfig, error) {
	if u.made[ref] == "" {
		return u.Images.Config(ctx, ref)
	}
	if was := u.like[ref]; was != "" {
		if c, err := u.Images.Config(ctx, was); err == nil {
			return c, nil
		}
	}
	return api.ImageConfig{Expose: []uint16{80}}, nil
}

func (u *unbuilt) notes() []string {
	var out []string
	for _, ref := range slices.SortedFunc(maps.Keys(u.made), func(a, b string) int { return cmp.Compare(u.made[a], u.made[b]) }) {
		text := u.made[ref] + ": nothing was built; a new image is taken for granted"
		if u.like[ref] != "" {
			text += ", with the port and the check of the one that runs"
		}
		out = append(out, text)
	}
	for _, name := range u.kept {
		out = append(out, name+": nothing was built; the image that runs is taken to stay")
	}
	return out
}

// withUnbuilt gives a spec in which services without an image have one that stands for what is to be built: the one that
// runs if that is to be kept, else one that there is not.
func (s *Server) withUnbuilt(ctx context.Context, ref api.EnvRef, spec api.AppSpec, keep bool, u *unbuilt) (api.AppSpec, error) {
	var committed *api.Release
	_, err := s.store.View(ctx, func(tx store.Tx) (err error) {
		committed, err = committedOf(tx, ref)
		return err
	})
	if err != nil {
		return spec, err
	}
	spec.Services = maps.Clone(spec.Services)
	u.made, u.like = map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(spec.Services)) {
		svc := spec.Services[name]
		if svc.Image != "" {
			continue
		}
		was := ""
		if committed != nil {
			was = committed.Spec.Services[name].Image
		}
		if keep && was != "" {
			svc.Image = was
			u.kept = append(u.kept, name)
		} else {
			svc.Image = fmt.Sprintf("unbuilt.invalid/%s@sha256:%x", strings.ToLower(name), sha256.Sum256([]byte(name+" after "+was)))
			u.made[svc.Image], u.like[svc.Image] = name, was
		}
		spec.Services[name] = svc
	}
	return spec, nil
}
