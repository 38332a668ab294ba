package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/rehearse"
	"github.com/ikada/ikada/internal/store"
)

// Rehearsals plays deployments that nobody has asked for yet, over a copy of what the mirror holds. It writes nothing.
// Safe for concurrent use.
type Rehearsals struct {
	mirror *store.Mirror
	lease  time.Duration // of nodes
	now    func() time.Time
}

// NewRehearsals makes them; lease is how long a node counts as alive that does not answer.
func NewRehearsals(mirror *store.Mirror, lease time.Duration) *Rehearsals {
	return &Rehearsals{mirror: mirror, lease: lease, now: time.Now}
}

// Rehearse plays a queued deployment to a release, in an environment as it would be then, and what goes wrong with it.
// What stands in the store up to the revision rev is taken into account. An error names what of whatIf there is not.
func (r *Rehearsals) Rehearse(ctx context.Context, rev int64, env api.Environment, release *api.Release, d *api.Deployment, whatIf []api.Hazard) (api.PlanResponse, error) {
	var out api.PlanResponse
	if err := r.mirror.Wait(ctx, rev); err != nil {
		return out, err
	}
	s := r.setting(env, release, d)
	for i, h := range whatIf {
		if err := rehearse.Check(s, field(i), h); err != nil {
			return out, err
		}
	}
	out.Rehearsal = rehearse.Run(s, nil)
	out.Notes = rehearse.Notes(s)
	for i, h := range whatIf {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		a, err := rehearse.WhatIf(s, out.Rehearsal, field(i), h)
		if err != nil {
			return out, err
		}
		out.WhatIf = append(out.WhatIf, a)
	}
	return out, nil
}

func field(i int) string { return fmt.Sprintf("whatIf[%d]", i) }

// setting copies the world. What is queued gives way to the deployment, as it will.
func (r *Rehearsals) setting(env api.Environment, release *api.Release, d *api.Deployment) rehearse.Setting {
	out := rehearse.Setting{Now: r.now().UTC().Round(0), Env: env, Deployment: d.Number, Releases: map[uint64]*api.Release{},
		Lease: r.lease, Statuses: map[string]*api.TaskStatus{}, Pressure: map[string]string{}}
	r.mirror.Read(func(s *store.State) {
		ref := env.EnvRef
		for _, was := range s.DeploymentsOf(ref) {
			if was.State == api.DeployRunning || was.Trial == api.TrialOn {
				out.Deployments = append(out.Deployments, was)
			}
		}
		for _, x := range s.ReleasesOf(ref) {
			out.Releases[x.Number] = x
		}
		out.Tasks = slices.Clone(s.TasksOf(ref))
		for _, t := range out.Tasks {
			if st := s.Statuses[t.ID]; st != nil {
				out.Statuses[t.ID] = st
			}
		}
		out.Jobs = slices.Clone(s.JobsOf(ref))
		out.Nodes = placeNodes(s, ref)
		maps.Copy(out.Pressure, pressure(s))
	})
	out.Releases[release.Number] = release
	out.Deployments = append(out.Deployments, d)
	return out
}
