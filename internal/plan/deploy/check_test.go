package deploy

import (
	"testing"

	"github.com/ikada/ikada/api"
)

// An app's check and a service's may run their commands in one service's image: no two checks have one job.
func TestCheckJobsAreToldApart(t *testing.T) {
	spec := api.AppSpec{Checks: []api.ReleaseCheck{{Name: "smoke", Service: "web"}, {Name: "check-smoke", Service: "web"}},
		Services: map[string]api.ServiceSpec{"web": {Checks: []api.ReleaseCheck{{Name: "smoke"}, {Name: "app-smoke"}, {Name: "app-check-smoke"}}}}}
	jobs := map[string]string{}
	for _, c := range spec.AllChecks() {
		name := CheckJob(c.Owner, c.Name)
		if other := jobs[name]; other != "" {
			t.Errorf("job %s is that of %s and of %s/%s", name, other, c.Owner, c.Name)
		}
		jobs[name] = c.Owner + "/" + c.Name
	}
}
