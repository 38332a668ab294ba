package compose

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ikada/ikada/api"
)

const environmentsFile = `
x-base: &base
  image: shop:1
services:
  web:
    <<: *base
    environment: {MODE: prod, LEVEL: info}
    secrets: [key]
    ports: ["8080:80"]
    x-ikada: {route: [shop.example.com]}
  db:
    image: db:1
secrets:
  key: {file: prod.txt}
x-ikada:
  environments:
    production:
      services:
        web:
          environment: {HOME_URL: "${PRODUCTION_URL:?is needed}"}
    staging:
      services:
        web:
          <<: *base
          environment: {MODE: stage}
          ports: !override ["18080:80"]
          deploy: {replicas: 2}
          x-ikada: {route: !override [staging.example.com]}
        db: !reset null
        mail:
          image: mail:1
      secrets:
        key: {file: stage.txt}
    empty:
`

// TestEnvironments lays what a file says of an environment over it by Compose's rules, and leaves the others alone.
func TestEnvironments(t *testing.T) {
	load := func(env string, files map[string]string, given ...string) (*Project, error) {
		dir := tree(t, "shop", files)
		return Load(t.Context(), Options{Dir: dir, Env: env, Files: given})
	}
	one := map[string]string{"compose.yaml": environmentsFile, "prod.txt": "prod", "stage.txt": "stage"}
	p, err := load("staging", one)
	if err != nil {
		t.Fatal(err)
	}
	web := p.Spec.Services["web"]
	if web.Env["MODE"] != "stage" || web.Env["LEVEL"] != "info" || web.Replicas != 2 || len(web.Ports) != 1 || web.Ports[0].Published != 18080 {
		t.Errorf("web %+v", web)
	}
	if len(web.Routes) != 1 || web.Routes[0].Host != "staging.example.com" {
		t.Errorf("routes %+v", web.Routes)
	}
	if _, there := p.Spec.Services["db"]; there || p.Spec.Services["mail"].Image != "mail:1" {
		t.Errorf("services %v", p.Spec.Services)
	}
	if string(p.Spec.Secrets["key"].Value) != "stage" {
		t.Errorf("secret %q", p.Spec.Secrets["key"].Value)
	}
	if len(p.Warnings) > 0 {
		t.Errorf("warnings %q", p.Warnings)
	}
	for _, env := range []string{"empty", "other"} {
		if p, err = load(env, one); err != nil || p.Spec.Services["web"].Env["MODE"] != "prod" || len(p.Spec.Services) != 2 || p.Spec.Services["web"].Image != "shop:1" {
			t.Errorf("%s: %+v, %v", env, p, err)
		}
	}
	if _, err = load("production", one); err == nil || !strings.Contains(err.Error(), "PRODUCTION_URL") {
		t.Errorf("production: %v", err)
	}

	// A file of the environment is found beside the others; several files each have their say.
	several := map[string]string{
		"compose.yaml":          "services: {web: {image: a, environment: {A: base, B: base, C: base, D: base}}}\nx-ikada: {environments: {staging: {services: {web: {environment: {D: block}}}}}}\n",
		"compose.override.yaml": "services: {web: {environment: {B: override, C: override, D: override}}}\n",
		"compose.staging.yaml":  "services: {web: {environment: {C: staging, D: staging}}}\n",
	}
	for env, want := range map[string]string{
		"staging":    `{"A":"base","B":"override","C":"staging","D":"block"}`,
		"production": `{"A":"base","B":"override","C":"override","D":"override"}`,
		"override":   `{"A":"base","B":"override","C":"override","D":"override"}`,
		"../staging": "",
	} {
		p, err := load(env, several)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "env") {
				t.Errorf("%s: %v", env, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", env, err)
			continue
		}
		if got, _ := json.Marshal(p.Spec.Services["web"].Env); string(got) != want {
			t.Errorf("%s: %s", env, got)
		}
	}
	if p, err = load("staging", several, "compose.yaml"); err != nil || p.Spec.Services["web"].Env["C"] != "base" || p.Spec.Services["web"].Env["D"] != "block" {
		t.Errorf("with -f: %v", err)
	}
}

// TestEnvironmentsRefused names what an environment cannot mean, where it stands.
func TestEnvironmentsRefused(t *testing.T) {
	const base = "services: {web: {image: a, ports: [\"1:2\"]}}\nx-ikada:\n  environments:\n"
	for _, c := range []struct{ text, field, part string }{
		{"x-ikada: {environments: []}", "x-ikada.environments", "a mapping"},
		{"x-ikada: {environments: {Stage: {}}}", "x-ikada.environments.Stage", "lowercase"},
		{"x-ikada: {environments: {other: 1}}", "x-ikada.environments.other", "services, networks"},
		{"x-ikada: {environments: {other: {name: x}}}", "x-ikada.environments.other.name", "share"},
		{"x-ikada: {environments: {other: {include: [x]}}}", "x-ikada.environments.other.include", "for all environments"},
		{"x-ikada: {environments: {other: {x-ikada: {}}}}", "x-ikada.environments.other.x-ikada", "do not nest"},
		{"x-ikada: {environments: {other: {service: {}}}}", "x-ikada.environments.other.service", "unknown key"},
		{"x-ikada: {environment: {}}", "x-ikada.environment", "unknown key"},
		{base + "    staging: {services: {web: {imagee: b}}}", "x-ikada.environments.staging.services.web.imagee", "did you mean image"},
		{base + "    staging: {services: {web: {ports: {a: b}}}}", "services.web.ports", ""},
		{base + "    staging: {services: {web: {x-ikada: {exclusive: maybe}}}}", "x-ikada.environments.staging.services.web.x-ikada.exclusive", "true or false"},
		{base + "    staging: {services: {web: {devices: [\"/dev/a\"]}}}", "x-ikada.environments.staging.services.web.devices", "not given to tasks"},
		{base + "    staging: {services: {web: {stop_signal: \"!\"}}}", "x-ikada.environments.staging.services.web.stop_signal", "signal"},
		{base + "    staging: {services: {mail: {command: run}}}", "services.mail", "neither image nor build"},
	} {
		text := c.text
		if !strings.Contains(text, "services: {web: {image") {
			text = "services: {web: {image: a}}\n" + text
		}
		_, err := Load(t.Context(), Options{Dir: tree(t, "shop", map[string]string{"compose.yaml": text + "\n"}), Env: "staging"})
		if !api.IsKind(err, api.Invalid) || !strings.Contains(err.Error(), c.field) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s\n%v", c.text, err)
		}
	}
	bomb := "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
	for i, name := range []string{"b", "c", "d", "e", "f", "g"} {
		prev := string("abcdef"[i])
		bomb += name + ": &" + name + " [" + strings.TrimSuffix(strings.Repeat("*"+prev+",", 10), ",") + "]\n"
	}
	_, err := Load(t.Context(), Options{Env: "staging", Dir: tree(t, "shop", map[string]string{
		"compose.yaml": "services: {web: {image: a}}\nx-ikada: {environments: {staging: {}}}\nx-bomb:\n  " + strings.ReplaceAll(bomb, "\n", "\n  ")})})
	if !api.IsKind(err, api.Invalid) {
		t.Errorf("bomb: %v", err)
	}
}

// TestSecretsOfTheEnvironment are named in the file and kept elsewhere.
func TestSecretsOfTheEnvironment(t *testing.T) {
	p := mustLoad(t, Options{Dir: tree(t, "shop", map[string]string{"key": "from the file", "compose.yaml": `
services:
  web:
    image: a
    secrets: [tls]
    x-ikada:
      secrets: {DATABASE_URL: db-url, KEY: key}
  job:
    image: a
    x-ikada: {secrets: [TOKEN]}
secrets:
  tls: {external: true, name: tls-2026}
  key: {file: key}
`})})
	got, err := json.Marshal(p.Spec.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"TOKEN":{"external":true},"db-url":{"external":true},"key":{"value":"ZnJvbSB0aGUgZmlsZQ=="},"tls":{"external":true,"name":"tls-2026"}}`
	if string(got) != want {
		t.Errorf("secrets %s", got)
	}
	if env := p.Spec.Services["web"].SecretEnv; env["DATABASE_URL"] != "db-url" || env["KEY"] != "key" || p.Spec.Services["job"].SecretEnv["TOKEN"] != "TOKEN" {
		t.Errorf("variables %v", p.Spec.Services)
	}
	if len(p.Warnings) > 0 {
		t.Errorf("warnings %q", p.Warnings)
	}
	p = mustLoad(t, Options{Dir: tree(t, "shop", map[string]string{"key": "x", "compose.yaml": "services: {web: {image: a, secrets: [k]}}\nsecrets: {k: {file: key, name: other}}\n"})})
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "secrets.k.name has no effect") {
		t.Errorf("warnings %q", p.Warnings)
	}
}
