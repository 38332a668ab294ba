package server_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/server"
	"github.com/ikada/ikada/internal/store"
)

var staging = api.EnvRef{App: "shop", Env: "staging"}

const otherDigest = "@sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

// change alters the service web.
func change(fn func(*api.ServiceSpec)) func(*api.AppSpec) {
	return func(s *api.AppSpec) {
		web := s.Services["web"]
		fn(&web)
		s.Services["web"] = web
	}
}

func withSecret(value string) func(*api.AppSpec) {
	return func(s *api.AppSpec) {
		s.Secrets = map[string]api.SecretSpec{"db": {Value: []byte(value)}}
		web := s.Services["web"]
		web.Secrets = []api.FileJoin{{Source: "db", Target: "/run/secrets/db"}}
		s.Services["web"] = web
	}
}

// fields gives the changed fields.
func fields(changes []api.Change) []string {
	out := []string{}
	for _, c := range changes {
		out = append(out, c.Field+": "+c.From+" → "+c.To)
	}
	return out
}

// TestPromote ships a source's digests with the target's own configuration.
func TestPromote(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec(withSecret("production's"), change(func(s *api.ServiceSpec) {
		s.Env, s.Replicas = map[string]string{"MODE": "prod"}, 4
	}))})
	b.deployed(api.DeployRequest{Spec: spec(inEnv(staging, 18081), withSecret("staging's"), image("registry.test/web:2"+otherDigest), change(func(s *api.ServiceSpec) {
		s.Env, s.Replicas = map[string]string{"MODE": "stage"}, 1
	})), Commit: "c2"})
	before := b.dump()
	dry, err := b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"services.web.image: registry.test/web:1" + digest + " → registry.test/web:2" + otherDigest}
	if !slices.Equal(fields(dry.Changes), want) || dry.Deployment != nil || dry.From != (api.Origin{Env: "staging", Release: 1}) {
		t.Fatalf("dry run %+v", dry)
	}
	if b.dump() != before {
		t.Error("a dry run wrote something")
	}
	resp, err := b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging"})
	if err != nil || resp.Release != 2 || resp.Deployment == nil {
		t.Fatalf("%+v, %v", resp, err)
	}
	first, r := get[api.Release](b, store.ReleaseKey(shop, 1)), get[api.Release](b, store.ReleaseKey(shop, 2))
	web := r.Spec.Services["web"]
	if web.Image != "registry.test/web:2"+otherDigest || web.Env["MODE"] != "prod" || web.Replicas != 4 || r.Spec.Env != "production" {
		t.Errorf("release %+v", r)
	}
	if r.Spec.Secrets["db"].Version != first.Spec.Secrets["db"].Version {
		t.Error("the target's secret was not kept")
	}
	if r.From == nil || *r.From != (api.Origin{Env: "staging", Release: 1}) || r.Commit != "c2" || !strings.Contains(r.Message, "release 1 of staging") {
		t.Errorf("origin %+v, commit %q, message %q", r.From, r.Commit, r.Message)
	}
	b.finish(shop, resp.Deployment.Number, api.DeploySucceeded)
	if resp, err = b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging"}); err != nil || !resp.Unchanged || resp.Release != 2 {
		t.Errorf("again: %+v, %v", resp, err)
	}
	// An older release of the source, by its number.
	b.deployed(api.DeployRequest{Spec: spec(inEnv(staging, 18081), withSecret("staging's"), image("registry.test/web:3"+digest))})
	if resp, err = b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", Release: 1}); err != nil || !resp.Unchanged {
		t.Errorf("release 1 of the source: %+v, %v", resp, err)
	}
	d, err := b.client.Diff(b.ctx(), "shop", api.Origin{Env: "production", Release: 1}, api.Origin{Release: 2})
	if err != nil || !slices.Equal(fields(d.Changes), want) || d.From.Release != 1 || d.To != (api.Origin{Env: "production", Release: 2}) {
		t.Errorf("diff %+v, %v", d, err)
	}
}

// TestPromoteNewService brings a service that only the source has, under hosts and ports of the target's.
func TestPromoteNewService(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	b.deployed(api.DeployRequest{Spec: spec(inEnv(staging, 18081), func(s *api.AppSpec) {
		s.Secrets = map[string]api.SecretSpec{"key": {Value: []byte("v")}}
		s.Volumes = map[string]api.VolumeSpec{"data": {Name: "the-staging-data"}}
		s.Configs = map[string]api.ConfigSpec{"conf": {Content: []byte("c")}}
		s.Services["api"] = api.ServiceSpec{Image: "registry.test/api:1", Replicas: 1,
			Routes: []api.RouteSpec{{Host: "api.staging.test", Port: 80}}, SecretEnv: map[string]string{"KEY": "key"},
			Mounts:  []api.Mount{{Type: api.MountVolume, Source: "data", Target: "/data"}},
			Configs: []api.FileJoin{{Source: "conf", Target: "/conf"}}}
	})})
	promote := func(hosts map[string]string) (api.PromoteResponse, error) {
		return b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", Moves: api.Moves{Hosts: hosts}})
	}
	_, err := promote(nil)
	wantKind(t, err, api.Conflict, "shop/production lacks the secret key", "ikada secret set key -a shop -e production")
	sealed := b.key.SealSecret(shop, "key", []byte("own"), noon)
	b.put(store.SecretKey(shop, sealed.Version), sealed)
	b.put(store.SettingsKey(shop), api.Settings{EnvRef: shop, Secrets: map[string]api.SecretSetting{"key": {Version: sealed.Version}}})
	_, err = promote(nil)
	wantKind(t, err, api.Conflict, "route api.staging.test/ of service api is taken by service api of shop/staging", "--route api.staging.test=HOST")
	_, err = promote(map[string]string{"other.test": "x.test"})
	wantKind(t, err, api.Invalid, "hosts", `"other.test"`, "one of api.staging.test")
	resp, err := promote(map[string]string{"API.staging.test": "api.test"})
	if err != nil {
		t.Fatal(err)
	}
	r := get[api.Release](b, store.ReleaseKey(shop, resp.Release))
	svc := r.Spec.Services["api"]
	if svc.Routes[0].Host != "api.test" || r.Spec.Volumes["data"].Name != "" || string(r.Spec.Configs["conf"].Content) != "c" {
		t.Errorf("release %+v", r.Spec)
	}
	if s := r.Spec.Secrets["key"]; !s.External || s.Version != sealed.Version {
		t.Errorf("secret %+v", s)
	}
}

// TestPromoteToNothing begins an environment with a given spec, or with the source's.
// TestPromoteBringsTokensOfChecks: what a check sends is asked of the environment that it comes to, as any other secret.
func TestPromoteBringsTokensOfChecks(t *testing.T) {
	b := newBench(t)
	least := 0.1
	checked := func(s *api.AppSpec) {
		s.Secrets = map[string]api.SecretSpec{"token": {Value: []byte("t")}, "page": {Value: []byte("p")}}
		s.Checks = []api.ReleaseCheck{{Name: "page", HTTP: &api.HTTPCheck{URL: "https://shop.test/", Token: "page"}}}
		s.Services["api"] = api.ServiceSpec{Image: "registry.test/api:1", Replicas: 1, Checks: []api.ReleaseCheck{
			{Name: "orders", PromQL: &api.PromQLCheck{Query: "orders", Prometheus: "https://prometheus.test", Token: "token", Min: &least}}}}
	}
	b.deployed(api.DeployRequest{Spec: spec(inEnv(staging, 18081), checked)})
	moves := api.Moves{Ports: map[string]uint16{"18081": 18080}}
	_, err := b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", Moves: moves})
	wantKind(t, err, api.Conflict, "lacks the secrets page, token")
	b.deployed(api.DeployRequest{Spec: spec()})
	_, err = b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging"})
	wantKind(t, err, api.Conflict, "lacks the secret token;")
	if _, err := b.client.SetSecret(b.ctx(), shop, "token", api.SecretRequest{Value: []byte("own")}); err != nil {
		t.Fatal(err)
	}
	resp, err := b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	r := get[api.Release](b, store.ReleaseKey(shop, resp.Release))
	if s := r.Spec.Secrets["token"]; !s.External || s.Version == "" || len(r.Spec.Services["api"].Checks) != 1 {
		t.Errorf("release %+v", r.Spec)
	}
}

func TestPromoteToNothing(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec(inEnv(staging, 18081), withSecret("s"), image("registry.test/web:2"+otherDigest))})
	_, err := b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging"})
	wantKind(t, err, api.Conflict, "lacks the secret db")
	own := spec(withSecret("p"), image(""))
	own.Services["extra"] = api.ServiceSpec{Replicas: 1}
	_, err = b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", Spec: &own})
	wantKind(t, err, api.Invalid, "spec.services.extra.image", "nothing is built")
	delete(own.Services, "extra")
	_, err = b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", Spec: &own, Moves: api.Moves{Ports: map[string]uint16{"1": 2}}})
	wantKind(t, err, api.Invalid, "ports", "18080")
	resp, err := b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", Spec: &own, Moves: api.Moves{Ports: map[string]uint16{"18080": 18082}}})
	if err != nil {
		t.Fatal(err)
	}
	r := get[api.Release](b, store.ReleaseKey(shop, resp.Release))
	if web := r.Spec.Services["web"]; web.Image != "registry.test/web:2"+otherDigest || web.Ports[0].Published != 18082 {
		t.Errorf("release %+v", r.Spec)
	}
	if strings.Contains(b.dump(), "cA==\"") {
		t.Error("the secret stands in the clear")
	}
	b.finish(shop, resp.Deployment.Number, api.DeploySucceeded)
	_, err = b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", Spec: &own})
	wantKind(t, err, api.Invalid, "spec", "has release 1")
	for _, from := range []string{"", "production"} {
		_, err = b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: from})
		wantKind(t, err, api.Invalid, "from", "another environment")
	}
	_, err = b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "nowhere"})
	wantKind(t, err, api.NotFound, "shop/nowhere")
	_, err = b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", Release: 9})
	wantKind(t, err, api.NotFound, "release 9")
}

// TestCompare holds what a difference looks like, field by field.
func TestCompare(t *testing.T) {
	base := func(change ...func(*api.AppSpec)) api.AppSpec {
		s := spec(change...)
		s.Services["web"] = s.Services["web"].WithDefaults()
		return s
	}
	for _, c := range []struct {
		name string
		to   api.AppSpec
		want []string
	}{
		{"nothing", base(), []string{}},
		{"image", base(image("b")), []string{"services.web.image: registry.test/web:1 → b"}},
		{"variable", base(change(func(s *api.ServiceSpec) { s.Env = map[string]string{"A": "", "B": "x y", "C": "l\n"} })),
			[]string{`services.web.env.A:  → ""`, "services.web.env.B:  → x y", `services.web.env.C:  → "l\n"`}},
		{"command", base(change(func(s *api.ServiceSpec) { s.Command = []string{"run", "it"} })), []string{`services.web.command:  → ["run","it"]`}},
		{"port", base(change(func(s *api.ServiceSpec) { s.Ports[0].Published = 9 })), []string{"services.web.ports[8080].published: 18080 → 9"}},
		{"route before another", base(change(func(s *api.ServiceSpec) {
			s.Routes = []api.RouteSpec{{Path: "/a"}, {Host: "h", RoutePolicy: api.RoutePolicy{BasicAuth: map[string]string{"ann": "$2y$secret"}}}}
		})), []string{"services.web.routes[*/a]:  → declared", "services.web.routes[*/a].path:  → /a", "services.web.routes[h/]:  → declared",
			"services.web.routes[h/].basicAuth.ann:  → hash 5a5b5a33e434", "services.web.routes[h/].host:  → h"}},
		{"config", base(func(s *api.AppSpec) { s.Configs = map[string]api.ConfigSpec{"c": {Content: []byte("x")}} }), []string{"configs.c:  → 1 bytes, sha256 2d711642b726"}},
		{"secret", base(func(s *api.AppSpec) { s.Secrets = map[string]api.SecretSpec{"s": {Version: "v1"}} }), []string{"secrets.s:  → version v1"}},
		{"check of the app", base(func(s *api.AppSpec) {
			s.Checks = []api.ReleaseCheck{{Name: "page", HTTP: &api.HTTPCheck{URL: "https://shop.test/"}}}
		}),
			[]string{"checks[page]:  → declared", "checks[page].http.url:  → https://shop.test/", "checks[page].name:  → page"}},
		{"check of a service", base(change(func(s *api.ServiceSpec) { s.Checks = []api.ReleaseCheck{{Name: "smoke", Command: []string{"smoke"}}} })),
			[]string{"services.web.checks[smoke]:  → declared", `services.web.checks[smoke].command:  → ["smoke"]`, "services.web.checks[smoke].name:  → smoke"}},
		{"steps", base(change(func(s *api.ServiceSpec) { s.Update.Steps = []api.CanaryStep{{Weight: 5}, {Weight: 50}} })),
			[]string{"services.web.update.steps[1]:  → declared", "services.web.update.steps[1].weight:  → 5",
				"services.web.update.steps[2]:  → declared", "services.web.update.steps[2].weight:  → 50"}},
		{"service", base(func(s *api.AppSpec) { s.Services = map[string]api.ServiceSpec{} }), nil},
	} {
		got := fields(server.Compare(base(), c.to))
		if c.want == nil && (len(got) < 5 || !strings.HasSuffix(got[0], "→ ")) || c.want != nil && !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	// Elements keep their names when another one comes before them.
	one := base(change(func(s *api.ServiceSpec) { s.Routes = []api.RouteSpec{{Host: "b"}} }))
	two := base(change(func(s *api.ServiceSpec) { s.Routes = []api.RouteSpec{{Host: "a"}, {Host: "b"}} }))
	if got := fields(server.Compare(one, two)); len(got) != 2 || !strings.Contains(got[0], "routes[a/]") {
		t.Errorf("%q", got)
	}
	// Between environments neither versions of secrets nor marks of restarts count.
	far := base(inEnv(staging, 18080), func(s *api.AppSpec) { s.Secrets = map[string]api.SecretSpec{"s": {Version: "v2"}} },
		change(func(s *api.ServiceSpec) { s.Labels = map[string]string{server.GenerationLabel: "3"} }))
	near := base(func(s *api.AppSpec) { s.Secrets = map[string]api.SecretSpec{"s": {Version: "v1"}} })
	if got := fields(server.Compare(near, far)); len(got) != 0 {
		t.Errorf("between environments: %q", got)
	}
}

// TestCopyOfEnvironment makes a complete copy with secrets, settings and data of its own.
func TestCopyOfEnvironment(t *testing.T) {
	b := newBench(t)
	ext := b.key.SealSecret(shop, "token", []byte("tok"), noon)
	b.put(store.SecretKey(shop, ext.Version), ext)
	b.put(store.SettingsKey(shop), api.Settings{EnvRef: shop, Secrets: map[string]api.SecretSetting{"token": {Version: ext.Version}},
		Variables: map[string]map[string]string{"": {"LEVEL": "info"}}})
	b.deployed(api.DeployRequest{Spec: spec(withSecret("hunter2"), func(s *api.AppSpec) {
		s.Secrets["token"] = api.SecretSpec{External: true}
		s.Volumes = map[string]api.VolumeSpec{"own": {Name: "own-name"}, "out": {External: true, Name: "shared"}}
		web := s.Services["web"]
		web.SecretEnv = map[string]string{"TOKEN": "token"}
		web.Routes = []api.RouteSpec{{Host: "shop.test", Port: 8080, RoutePolicy: api.RoutePolicy{Redirect: &api.Redirect{Host: "shop.test", Path: "/x"}}}}
		web.Mounts = []api.Mount{{Type: api.MountVolume, Source: "own", Target: "/own"}, {Type: api.MountVolume, Source: "out", Target: "/out"}, {Type: api.MountBind, Source: "/srv", Target: "/srv"}}
		s.Services["web"] = web
	}), Commit: "c1"})
	create := func(req api.CreateEnvironmentRequest) (api.CreateEnvironmentResponse, error) {
		req.From = "production"
		return b.client.CreateEnvironment(b.ctx(), staging, req)
	}
	_, err := create(api.CreateEnvironmentRequest{})
	wantKind(t, err, api.Conflict, "port 18080 of service web is taken by service web of shop/production", "route shop.test/", "--port 18080=PORT", "--route shop.test=HOST")
	moves := api.Moves{Hosts: map[string]string{"shop.test": "staging.test"}, Ports: map[string]uint16{"18080": 0}}
	_, err = create(api.CreateEnvironmentRequest{Moves: moves, Scale: api.ScaleRequest{"nope": 1}})
	wantKind(t, err, api.Invalid, "scale", "nope")
	_, err = create(api.CreateEnvironmentRequest{Moves: moves, Secrets: map[string][]byte{"nope": []byte("x")}})
	wantKind(t, err, api.Invalid, "secrets", "nope", "db, token")
	_, err = create(api.CreateEnvironmentRequest{Moves: api.Moves{Ports: map[string]uint16{"1": 2}}})
	wantKind(t, err, api.Invalid, "ports", `"1"`, "one of 18080")
	_, err = create(api.CreateEnvironmentRequest{TTL: api.Duration(1)})
	wantKind(t, err, api.Invalid, "ttl")
	if get[api.Environment](b, store.EnvironmentKey(staging)) != nil {
		t.Fatal("a refused copy left something")
	}
	resp, err := create(api.CreateEnvironmentRequest{Moves: moves, Scale: api.ScaleRequest{"web": 1}, TTL: api.Duration(3 * 24 * 3600e9),
		Secrets: map[string][]byte{"db": []byte("other")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Deployment.Warnings) != 2 || resp.Deployment.Deployment == nil || *resp.From != (api.Origin{Env: "production", Release: 1}) {
		t.Errorf("response %+v, deployment %+v", resp, resp.Deployment)
	}
	env := get[api.Environment](b, store.EnvironmentKey(staging))
	if env.Scale["web"] != 1 || env.ExpiresAt.IsZero() || env.TTL != resp.Environment.TTL {
		t.Errorf("environment %+v", env)
	}
	r := get[api.Release](b, store.ReleaseKey(staging, 1))
	web := r.Spec.Services["web"]
	if web.Image != "registry.test/web:1"+digest || web.Routes[0].Host != "staging.test" || web.Routes[0].Redirect.Host != "staging.test" ||
		web.Ports[0].Published != 0 || web.Ports[0].Target != 8080 || web.Variables["LEVEL"] != "info" || r.Commit != "c1" {
		t.Errorf("service %+v", web)
	}
	if v := r.Spec.Volumes; v["own"].Name != "" || v["out"].Name != "shared" {
		t.Errorf("volumes %+v", v)
	}
	for key, want := range map[string]string{"db": "other", "token": "tok"} {
		sealed := get[api.SealedSecret](b, store.Secrets+"shop/staging/"+r.Spec.Secrets[key].Version)
		if plain, err := b.key.OpenSecret(*sealed); err != nil || string(plain) != want {
			t.Errorf("secret %s: %q, %v", key, plain, err)
		}
	}
	_, err = create(api.CreateEnvironmentRequest{Moves: moves})
	wantKind(t, err, api.Conflict, "is there already")
	first := get[api.Release](b, store.ReleaseKey(shop, 1))
	if first.Spec.Services["web"].Routes[0].Redirect.Host != "shop.test" || first.Spec.Volumes["own"].Name != "own-name" {
		t.Error("the original was changed")
	}
}

// TestEnvironmentWithoutRelease is made before its first deploy, and told to stay or to go.
func TestEnvironmentWithoutRelease(t *testing.T) {
	b := newBench(t)
	resp, err := b.client.CreateEnvironment(b.ctx(), staging, api.CreateEnvironmentRequest{})
	if err != nil || resp.Deployment != nil || resp.Environment.EnvRef != staging {
		t.Fatalf("%+v, %v", resp, err)
	}
	if e, err := b.client.Environment(b.ctx(), staging); err != nil || e.Release != 0 || len(e.Services) != 0 {
		t.Errorf("%+v, %v", e, err)
	}
	env, err := b.client.SetTTL(b.ctx(), staging, api.Duration(600e9))
	if err != nil || env.ExpiresAt.IsZero() || env.WarnsAt() != env.ExpiresAt.Add(-60e9) {
		t.Errorf("%+v, %v", env, err)
	}
	deployed := b.deploy(api.DeployRequest{Spec: spec(inEnv(staging, 18081))})
	if got := get[api.Environment](b, store.EnvironmentKey(staging)); got.ExpiresAt != env.ExpiresAt {
		t.Errorf("a deploy changed the time: %s", got.ExpiresAt)
	}
	b.finish(staging, deployed.Deployment.Number, api.DeploySucceeded)
	again := b.deploy(api.DeployRequest{Spec: spec(inEnv(staging, 18081)), TTL: api.Duration(1200e9)})
	if got := get[api.Environment](b, store.EnvironmentKey(staging)); !again.Unchanged || !got.ExpiresAt.After(env.ExpiresAt) {
		t.Errorf("an unchanged deploy did not begin the time anew: %+v %s", again, got.ExpiresAt)
	}
	if env, err = b.client.SetTTL(b.ctx(), staging, 0); err != nil || !env.ExpiresAt.IsZero() {
		t.Errorf("%+v, %v", env, err)
	}
	_, err = b.client.SetTTL(b.ctx(), staging, api.Duration(1))
	wantKind(t, err, api.Invalid, "ttl", "1ns")
	_, err = b.client.CreateEnvironment(b.ctx(), staging, api.CreateEnvironmentRequest{Scale: api.ScaleRequest{"web": 1}})
	wantKind(t, err, api.Invalid, "from")
}

// TestEnvironmentsAndRoles holds what a copy, a promotion, a comparison and a time to live need elsewhere.
func TestEnvironmentsAndRoles(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec(withSecret("hunter2"))})
	b.deployed(api.DeployRequest{Spec: spec(inEnv(staging, 18081), withSecret("x"))})
	preview := api.EnvRef{App: "shop", Env: "pr-1"}
	grant := func(name string, grants ...api.Grant) *client.Client {
		return b.as(api.TokenRequest{Name: name, Grants: grants})
	}
	own := api.Grant{Role: api.RoleDeploy, Scope: "shop/pr-*"}
	blind := grant("blind", own)
	viewer := grant("viewer", own, api.Grant{Role: api.RoleView, Scope: "shop/staging"})
	deployer := grant("deployer", own, api.Grant{Role: api.RoleDeploy, Scope: "shop/staging"})
	req := api.CreateEnvironmentRequest{From: "staging", TTL: api.Duration(3600e9), Moves: api.Moves{Ports: map[string]uint16{"18081": 0}}}
	_, err := blind.CreateEnvironment(b.ctx(), preview, req)
	wantKind(t, err, api.Forbidden, "view on shop/staging")
	_, err = viewer.CreateEnvironment(b.ctx(), preview, req)
	wantKind(t, err, api.Forbidden, "copy secret db", "deploy on shop/staging")
	given := req
	given.Secrets = map[string][]byte{"db": []byte("given")}
	if _, err = viewer.CreateEnvironment(b.ctx(), preview, given); err != nil {
		t.Errorf("with its own secret: %v", err)
	}
	preview.Env = "pr-2"
	if _, err = deployer.CreateEnvironment(b.ctx(), preview, req); err != nil {
		t.Errorf("as a deployer: %v", err)
	}
	if _, err = deployer.SetTTL(b.ctx(), preview, api.Duration(7200e9)); err != nil {
		t.Errorf("of what is to go: %v", err)
	}
	_, err = deployer.SetTTL(b.ctx(), staging, api.Duration(7200e9))
	wantKind(t, err, api.Forbidden, "admin on shop/staging")
	_, err = deployer.Deploy(b.ctx(), api.DeployRequest{Spec: spec(inEnv(staging, 18081), withSecret("x")), TTL: api.Duration(7200e9)})
	wantKind(t, err, api.Forbidden, "admin on shop/staging")
	_, err = blind.Promote(b.ctx(), preview, api.PromoteRequest{From: "staging"})
	wantKind(t, err, api.Forbidden, "view on shop/staging")
	_, err = viewer.Diff(b.ctx(), "shop", api.Origin{Env: "staging"}, api.Origin{Env: "production"})
	wantKind(t, err, api.Forbidden, "view on shop/production")
}

// What belongs to an image comes with it, whoever asks for it: the file or the image. What the target has set for itself
// stays, and is told.
func TestPromoteCarriesWhatBelongsToTheImage(t *testing.T) {
	check := func(path string) *api.HealthSpec { return &api.HealthSpec{HTTP: &api.HTTPGet{Path: path}} }
	b := newBench(t)
	base := func(s *api.ServiceSpec) {
		s.Health, s.Command, s.StopSignal, s.User = check("/v1"), []string{"serve"}, "SIGTERM", "app"
	}
	next := func(s *api.ServiceSpec) {
		s.Health, s.Command, s.StopSignal, s.User = check("/v2"), []string{"serve", "--fast"}, "SIGQUIT", ""
		s.Release = &api.ReleaseCommand{Command: api.Command{Command: []string{"migrate"}}}
		s.Replicas, s.Env, s.Drain = 1, map[string]string{"MODE": "stage"}, api.Duration(time.Second)
	}
	b.deployed(api.DeployRequest{Spec: spec(change(base), change(func(s *api.ServiceSpec) { s.Command = []string{"serve", "--production"} }))})
	b.deployed(api.DeployRequest{Spec: spec(inEnv(staging, 18081), change(base))})
	b.deployed(api.DeployRequest{Spec: spec(inEnv(staging, 18081), image("registry.test/web:2"+otherDigest), change(next))})
	got, err := b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging", DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range got.Changes {
		names = append(names, strings.TrimPrefix(c.Field, "services.web."))
	}
	if text := strings.Join(names, " "); !strings.Contains(text, "health") || !strings.Contains(text, "image") || !strings.Contains(text, "release") ||
		!strings.Contains(text, "stopSignal") || !strings.Contains(text, "user") || strings.Contains(text, "command ") && !strings.Contains(text, "release.command") ||
		strings.Contains(text, "replicas") || strings.Contains(text, "env") || strings.Contains(text, "drain") {
		t.Errorf("changes %v", fields(got.Changes))
	}
	if want := []string{"service web keeps its own command: release 2 of staging has another"}; !slices.Equal(got.Warnings, want) {
		t.Errorf("warnings %q", got.Warnings)
	}
	shipped, err := b.client.Promote(b.ctx(), shop, api.PromoteRequest{From: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.client.Release(b.ctx(), shop, shipped.Release)
	if err != nil {
		t.Fatal(err)
	}
	web := r.Spec.Services["web"]
	if web.Health.HTTP.Path != "/v2" || web.StopSignal != "SIGQUIT" || web.User != "" || web.Release == nil ||
		!slices.Equal(web.Command, []string{"serve", "--production"}) || web.Replicas != 2 || web.Drain == api.Duration(time.Second) || len(web.Env) != 0 {
		t.Errorf("shipped %+v", web)
	}
}
