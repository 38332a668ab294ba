package round

import (
	"strings"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/deploy"
	"github.com/ikada/ikada/internal/plan/job"
)

// checkJobs gives the jobs of the commands that a plan asks, and the deployment whose checks have a say.
func checkJobs(p *deploy.Plan, w deploy.World) (list []job.Check, judged uint64) {
	if p.Deployment != nil && w.Deployment != nil {
		w.Deployment = p.Deployment
		if p.Deployment.State.Final() {
			w.Deployment = nil
		}
		if p.Deployment.Trial == api.TrialOn {
			w.Bake = p.Deployment
		}
	} else if p.Bake != nil && p.Bake.Trial != api.TrialOn {
		w.Bake = nil
	}
	d := w.Judging()
	if d == nil {
		return nil, 0
	}
	for _, q := range p.Ask {
		if q.Check.Kind() != api.CheckCommand {
			continue
		}
		var targets []string
		for _, t := range q.Targets {
			targets = append(targets, t.Address)
		}
		values := q.Check.Values(w.Env.EnvRef, q.Release)
		list = append(list, job.Check{Service: q.Check.Service, Name: deploy.CheckJob(q.Owner, q.Name), Release: q.Release,
			Deployment: q.Deployment, Timeout: q.Check.Timeout, Hosts: q.Hosts, Command: api.Command{Command: q.Check.Command, Env: map[string]string{
				"IKADA_CHECK": q.Name, "IKADA_APP": values["App"], "IKADA_ENVIRONMENT": values["Environment"],
				"IKADA_SERVICE": values["Service"], "IKADA_RELEASE": values["Release"], "IKADA_TARGETS": strings.Join(targets, ","),
			}}})
	}
	return list, d.Number
}
