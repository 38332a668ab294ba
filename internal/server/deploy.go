package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// GenerationLabel marks a service whose tasks were to be replaced although nothing else changed. It is part of what
// a task's hash covers; later releases keep it, so that the next ordinary deploy does not replace them once more.
const GenerationLabel = "ikada.generation"

type deployInput struct {
	EnvPath
	Body api.DeployRequest
}

type restartInput struct {
	EnvPath
	Body *api.RestartRequest
}

type rollbackInput struct {
	EnvPath
	Body *api.RollbackRequest
}

// deploy makes a release of the request's spec, unless it is what runs already, and queues the deployment to it.
func (s *Server) deploy(ctx context.Context, in *deployInput) (resp api.DeployResponse, err error) {
	if err := checkBuilds(in.Body.Builds); err != nil {
		return api.DeployResponse{}, err
	}
	p, err := s.prepare(ctx, in.ref(), in.Body.Spec)
	if err != nil {
		return api.DeployResponse{}, err
	}
	err = s.updateSealed(ctx, func(tx store.Tx) (err error) {
		resp, err = s.deployIn(ctx, tx, in, &p)
		return err
	})
	return resp, err
}

// deployIn is deploy within its transaction.
func (s *Server) deployIn(ctx context.Context, tx store.Tx, in *deployInput, p *prepared) (resp api.DeployResponse, err error) {
	ref := in.ref()
	env, err := s.findOrMake(ctx, tx, ref)
	if err != nil {
		return resp, err
	}
	newest, err := store.Find[api.Release](tx, store.ReleaseKey(ref, env.LastRelease))
	if err != nil {
		return resp, err
	}
	settings, err := settingsOf(tx, ref)
	if err != nil {
		return resp, err
	}
	spec, sealed, err := s.seal(tx, ref, p, newest)
	if err != nil {
		return resp, err
	}
	if spec, err = withSettings(settings, spec); err != nil {
		return resp, err
	}
	if resp.Warnings, err = scaleWarnings(tx, env, &spec); err != nil {
		return resp, err
	}
	if err := s.renew(ctx, tx, env, in.Body.TTL); err != nil {
		return resp, err
	}
	release := api.Release{EnvRef: ref, Commit: in.Body.Commit, Message: in.Body.Message, CreatedBy: callerOf(ctx).Name}
	release.Spec = withGeneration(spec, newest)
	if in.Body.Force {
		release.Spec = forced(release.Spec, env.LastRelease+1, nil)
	}
	release.Hash = api.HashSpec(release.Spec)
	same, err := s.unchanged(tx, env, newest, release.Hash)
	if err != nil {
		return resp, err
	}
	if same {
		resp.Unchanged, resp.Release = true, newest.Number
		return resp, nil
	}
	if err := s.refusePrivileges(ctx, tx, ref, &release.Spec); err != nil {
		return resp, err
	}
	if err := storeSecrets(tx, ref, &release.Spec, sealed); err != nil {
		return resp, err
	}
	if err := s.commitRelease(tx, env, release, &resp); err != nil || len(in.Body.Builds) == 0 {
		return resp, err
	}
	resp.Deployment.Builds = in.Body.Builds
	return resp, store.Put(tx, store.DeploymentKey(ref, resp.Deployment.Number), resp.Deployment)
}

// restart makes a release that differs from the committed one only in that the chosen services' tasks are new.
func (s *Server) restart(ctx context.Context, in *restartInput) (api.DeployResponse, error) {
	ref, by := in.ref(), callerOf(ctx).Name
	var services []string
	if in.Body != nil {
		services = in.Body.Services
	}
	var resp api.DeployResponse
	_, err := s.store.Update(ctx, func(tx store.Tx) error {
		env, err := s.changeable(ctx, tx, ref)
		if err != nil {
			return err
		}
		if env.Release == 0 {
			return api.Errorf(api.Conflict, "environment %s has no committed release to restart; deploy one first", ref)
		}
		committed, err := store.Get[api.Release](tx, store.ReleaseKey(ref, env.Release))
		if err != nil {
			return err
		}
		for i, name := range services {
			if _, ok := committed.Spec.Services[name]; !ok {
				return unknownService(fmt.Sprintf("services[%d]", i), name, &committed.Spec)
			}
		}
		resp = api.DeployResponse{}
		release := api.Release{EnvRef: ref, Commit: committed.Commit, CreatedBy: by}
		release.Message = fmt.Sprintf("restart of release %d", committed.Number)
		if len(services) > 0 {
			release.Message += ": " + strings.Join(services, ", ")
		}
		release.Spec = forced(committed.Spec, env.LastRelease+1, services)
		release.Hash = api.HashSpec(release.Spec)
		if err := s.commitRelease(tx, env, release, &resp); err != nil {
			return err
		}
		resp.Deployment.Restart = true
		return store.Put(tx, store.DeploymentKey(ref, resp.Deployment.Number), resp.Deployment)
	})
	return resp, err
}

// rollback queues the deployment to a release that is kept. Nothing is resolved or built again.
func (s *Server) rollback(ctx context.Context, in *rollbackInput) (resp api.DeployResponse, err error) {
	_, err = s.store.Update(ctx, func(tx store.Tx) (err error) {
		resp, err = s.rollbackIn(ctx, tx, in)
		return err
	})
	return resp, err
}

// rollbackIn is rollback within its transaction.
func (s *Server) rollbackIn(ctx context.Context, tx store.Tx, in *rollbackInput) (resp api.DeployResponse, err error) {
	var to uint64
	if in.Body != nil {
		to = in.Body.Release
	}
	env, err := s.changeable(ctx, tx, in.ref())
	if err != nil {
		return resp, err
	}
	if to == 0 {
		if err := refuseAmidst(tx, env); err != nil {
			return resp, err
		}
	}
	target, err := rollbackTarget(tx, env, to)
	if err != nil {
		return resp, err
	}
	if err := refuseClaimed(tx, &target.Spec); err != nil {
		return resp, err
	}
	resp = api.DeployResponse{Release: target.Number, Warnings: keptScale(env, nil, &target.Spec)}
	changed, err := settingsWarnings(tx, target)
	if err != nil {
		return resp, err
	}
	resp.Warnings = append(resp.Warnings, changed...)
	resp.Deployment, err = s.enqueue(tx, env, api.KindRollback, target.Number, callerOf(ctx).Name)
	return resp, err
}

// refuseAmidst refuses a rollback to the release before while a deployment is on its way. Who asks for it wants that one
// undone; it would wait for its end instead, and then go behind the release that served before.
func refuseAmidst(tx store.Tx, env *api.Environment) error {
	open, err := unfinished(tx, env.EnvRef)
	if err != nil || env.Release == 0 {
		return err
	}
	for _, d := range open {
		if d.Kind == api.KindDeploy && !d.Backwards && !d.Cancel {
			return api.Errorf(api.Conflict, "deployment %d to release %d of %s has not ended: cancel it to go back to release %d; "+
				"to go further back, say to which release", d.Number, d.To, env.EnvRef, env.Release)
		}
	}
	return nil
}

// rollbackTarget chooses the release to return to: the one asked for, or for 0 the one that the committed one replaced,
// else the last before it that a deployment brought to success.
func rollbackTarget(tx store.Tx, env *api.Environment, number uint64) (*api.Release, error) {
	kept, err := store.List[api.Release](tx, store.ReleasesOf(env.EnvRef))
	if err != nil {
		return nil, err
	}
	find := func(n uint64) *api.Release {
		if i := slices.IndexFunc(kept, func(r *api.Release) bool { return r.Number == n }); i >= 0 {
			return kept[i]
		}
		return nil
	}
	switch {
	case number != 0 && number == env.Release:
		return nil, api.Errorf(api.Conflict, "release %d is the committed one of %s already; to give up a deployment that runs, cancel it", number, env.EnvRef)
	case number != 0:
		if r := find(number); r != nil {
			return r, nil
		}
		numbers := make([]string, 0, len(kept))
		for _, r := range kept {
			numbers = append(numbers, strconv.FormatUint(r.Number, 10))
		}
		return nil, &api.Error{Kind: api.NotFound, Field: "release", Value: strconv.FormatUint(number, 10),
			Expected: "a kept release of " + env.EnvRef.String() + ": " + strings.Join(numbers, ", ")}
	}
	if r := find(env.Previous); r != nil {
		return r, nil
	}
	past, err := store.List[api.Deployment](tx, store.DeploymentsOf(env.EnvRef))
	if err != nil {
		return nil, err
	}
	var best *api.Release
	for _, d := range past {
		if d.State != api.DeploySucceeded || d.To >= env.Release {
			continue
		}
		if r := find(d.To); r != nil && (best == nil || r.Number > best.Number) {
			best = r
		}
	}
	if best == nil {
		return nil, api.Errorf(api.Conflict, "%s has no release before release %d that succeeded and is still kept", env.EnvRef, env.Release)
	}
	return best, nil
}

// findOrMake gives the environment, a new one when there is none.
func (s *Server) findOrMake(ctx context.Context, tx store.Tx, ref api.EnvRef) (*api.Environment, error) {
	env, err := s.changeable(ctx, tx, ref)
	if api.IsKind(err, api.NotFound) {
		return &api.Environment{EnvRef: ref, CreatedAt: s.now()}, nil
	}
	return env, err
}

// unchanged tells whether the newest release has the hash and is what runs, with no deployment under way.
func (s *Server) unchanged(tx store.Tx, env *api.Environment, newest *api.Release, hash string) (bool, error) {
	if newest == nil || newest.Hash != hash || env.Release != newest.Number || env.Stopped {
		return false, nil
	}
	open, err := unfinished(tx, env.EnvRef)
	return len(open) == 0, err
}

// commitRelease numbers a release, writes it and queues the deployment to it. What it is made of is a kept release of the
// environment, or has passed refusePrivileges.
func (s *Server) commitRelease(tx store.Tx, env *api.Environment, r api.Release, resp *api.DeployResponse) error {
	if err := refuseClaimed(tx, &r.Spec); err != nil {
		return err
	}
	env.LastRelease++
	r.Number, r.CreatedAt = env.LastRelease, s.now()
	if err := store.Put(tx, store.ReleaseKey(r.EnvRef, r.Number), r); err != nil {
		return err
	}
	d, err := s.enqueue(tx, env, api.KindDeploy, r.Number, r.CreatedBy)
	resp.Release, resp.Deployment = r.Number, d
	return err
}

// withGeneration gives each service the mark that it has in the newest release.
func withGeneration(spec api.AppSpec, newest *api.Release) api.AppSpec {
	if newest == nil {
		return spec
	}
	marks := map[string]string{}
	for name := range spec.Services {
		if mark, ok := newest.Spec.Services[name].Labels[GenerationLabel]; ok {
			marks[name] = mark
		}
	}
	return marked(spec, marks)
}

// forced gives the services a mark that they never had; with none named, all of them.
func forced(spec api.AppSpec, release uint64, services []string) api.AppSpec {
	marks := map[string]string{}
	for name := range spec.Services {
		if len(services) == 0 || slices.Contains(services, name) {
			marks[name] = strconv.FormatUint(release, 10)
		}
	}
	return marked(spec, marks)
}

// marked gives a copy of spec with marks on services.
func marked(spec api.AppSpec, marks map[string]string) api.AppSpec {
	spec.Services = maps.Clone(spec.Services)
	for name, mark := range marks {
		svc := spec.Services[name]
		svc.Labels = maps.Clone(svc.Labels)
		if svc.Labels == nil {
			svc.Labels = map[string]string{}
		}
		svc.Labels[GenerationLabel] = mark
		spec.Services[name] = svc
	}
	return spec
}

// scaleWarnings tells what becomes of replicas that were set by hand when a new release is deployed: they go where it
// changes the number of the committed one.
func scaleWarnings(tx store.Tx, env *api.Environment, spec *api.AppSpec) ([]string, error) {
	if len(env.Scale) == 0 {
		return nil, nil
	}
	committed, err := committedSpec(tx, env.EnvRef)
	return keptScale(env, committed, spec), err
}

// keptScale is scaleWarnings with the committed release's spec; nil where numbers set by hand stay whatever it has.
func keptScale(env *api.Environment, committed, spec *api.AppSpec) []string {
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(env.Scale)) {
		svc, ok := spec.Services[name]
		switch n := env.Scale[name]; {
		case !ok || n == svc.Replicas:
		case committed != nil && env.Release != 0 && committed.Services[name].Replicas != svc.Replicas:
			warnings = append(warnings, fmt.Sprintf("service %s gets the file's %d replicas, which are new, in place of the %d that were set by hand", name, svc.Replicas, n))
		default:
			warnings = append(warnings, fmt.Sprintf("service %s keeps the %d replicas that were set by hand; the file's %d count again after `ikada scale %s=auto`", name, n, svc.Replicas, name))
		}
	}
	return warnings
}

func unknownService(field, name string, spec *api.AppSpec) error {
	return api.FieldError(field, name, "a service of the app: "+strings.Join(slices.Sorted(maps.Keys(spec.Services)), ", "))
}
