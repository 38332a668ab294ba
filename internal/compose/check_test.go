package compose

import (
	"reflect"
	"testing"

	"github.com/ikada/ikada/api"
)

func TestChecks(t *testing.T) {
	const file = `
services:
  web:
    image: a
    ports: ["80:8080"]
    x-ikada:
      checks:
        errors: {promql: 'rate(x{release="{{.Release}}"}[1m])', max: "0.5", prometheus: https://prom.example.com, token: prom}
        smoke: {command: ./smoke --fast, timeout: 30s, on_error: fail}
x-ikada:
  checks:
    - {name: page, http: https://shop.example.com/, failures: 2}
  environments:
    staging:
      services:
        web: {x-ikada: {checks: {errors: {max: 2}}}}
      checks:
        - {name: login, service: web, http: {path: /login, status: 200, contains: Login}, required: true, initial_delay: 5s}
    calm:
      checks: !override []
`
	half, two := 0.5, 2.0
	errors := api.ReleaseCheck{Name: "errors", PromQL: &api.PromQLCheck{Query: `rate(x{release="{{.Release}}"}[1m])`, Max: &half,
		Prometheus: "https://prom.example.com", Token: "prom"}}
	stagingErrors := errors
	q := *errors.PromQL
	q.Max = &two
	stagingErrors.PromQL = &q
	smoke := api.ReleaseCheck{Name: "smoke", Command: []string{"./smoke", "--fast"}, Timeout: api.Duration(30e9), OnError: api.OnErrorFail}
	page := api.ReleaseCheck{Name: "page", HTTP: &api.HTTPCheck{URL: "https://shop.example.com/"}, Failures: 2}
	login := api.ReleaseCheck{Name: "login", Service: "web", HTTP: &api.HTTPCheck{Path: "/login", Status: 200, Contains: "Login"},
		Required: true, InitialDelay: api.Duration(5e9)}
	for _, c := range []struct {
		env      string
		app, web []api.ReleaseCheck
	}{
		{"production", []api.ReleaseCheck{page}, []api.ReleaseCheck{errors, smoke}},
		{"staging", []api.ReleaseCheck{page, login}, []api.ReleaseCheck{stagingErrors, smoke}},
		{"calm", nil, []api.ReleaseCheck{errors, smoke}},
	} {
		dir := tree(t, "shop", map[string]string{"compose.yaml": file})
		p, err := Load(t.Context(), Options{Dir: dir, Env: c.env})
		if err != nil {
			t.Fatalf("%s: %v", c.env, err)
		}
		if !reflect.DeepEqual(p.Spec.Checks, c.app) || !reflect.DeepEqual(p.Spec.Services["web"].Checks, c.web) {
			t.Errorf("%s: the app has %+v, web has %+v", c.env, p.Spec.Checks, p.Spec.Services["web"].Checks)
		}
		if s := p.Spec.Secrets["prom"]; !s.External {
			t.Errorf("%s: the token is not taken for the environment's: %+v", c.env, p.Spec.Secrets)
		}
	}
}
