package server_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/server"
	"github.com/ikada/ikada/internal/store"
)

func TestDeployMakesReleaseAndDeployment(t *testing.T) {
	b := newBench(t)
	b.images.health = &api.HealthSpec{Command: []string{"check"}}
	resp := b.deploy(api.DeployRequest{Spec: spec(func(s *api.AppSpec) {
		s.Secrets = map[string]api.SecretSpec{"db": {Value: []byte("hunter2-plain")}}
		web := s.Services["web"]
		web.Secrets = []api.FileJoin{{Source: "db", Target: "/run/secrets/db"}}
		web.Pull = "always"
		s.Services["web"] = web
	}), Commit: "abc", Message: "first"})
	if resp.Unchanged || resp.Release != 1 || resp.Deployment == nil || resp.Deployment.Number != 1 || resp.Deployment.State != api.DeployQueued {
		t.Fatalf("response %+v", resp)
	}
	r, err := b.client.Release(b.ctx(), shop, 1)
	if err != nil {
		t.Fatal(err)
	}
	web := r.Spec.Services["web"]
	if web.Image != "registry.test/web:1"+digest {
		t.Errorf("image %q is not pinned", web.Image)
	}
	if web.Health == nil || web.Health.Command[0] != "check" {
		t.Errorf("health %+v is not the image's", web.Health)
	}
	if web.Update.Order != api.StartFirst || web.StopGrace != api.DefaultStopGrace {
		t.Errorf("defaults are missing: %+v", web)
	}
	if r.Commit != "abc" || r.Message != "first" || r.CreatedBy != "root" || r.Hash != api.HashSpec(r.Spec) {
		t.Errorf("release %+v", r)
	}
	if got := b.images.asked; len(got) != 1 || got[0] != "registry.test/web:1 always" {
		t.Errorf("images asked for: %q", got)
	}
	secret := r.Spec.Secrets["db"]
	sealed := get[api.SealedSecret](b, store.SecretKey(shop, secret.Version))
	if secret.Value != nil || sealed == nil {
		t.Fatalf("secret %+v, sealed %+v", secret, sealed)
	}
	if plain, err := b.key.OpenSecret(*sealed); err != nil || string(plain) != "hunter2-plain" {
		t.Errorf("opened %q, %v", plain, err)
	}
	for place, text := range map[string]string{"store": b.dump(), "log": b.log.String()} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "aHVudGVyMi1wbGFpbg") {
			t.Errorf("the secret stands in the clear in the %s", place)
		}
	}
	if got := b.eventTypes(); !slices.Equal(got, []string{"deployment.queued"}) {
		t.Errorf("events %q", got)
	}
}

func TestDeployOfTheSameIsUnchanged(t *testing.T) {
	b := newBench(t)
	req := api.DeployRequest{Spec: spec(func(s *api.AppSpec) {
		s.Secrets = map[string]api.SecretSpec{"db": {Value: []byte("v")}}
	})}
	b.deployed(req)
	before := b.dump()
	resp := b.deploy(req)
	if !resp.Unchanged || resp.Release != 1 || resp.Deployment != nil {
		t.Fatalf("response %+v", resp)
	}
	if b.dump() != before {
		t.Error("an unchanged deploy wrote something")
	}
	req.Spec.Secrets["db"] = api.SecretSpec{Value: []byte("w")}
	if resp = b.deployed(req); resp.Unchanged || resp.Release != 2 {
		t.Errorf("a changed secret made %+v", resp)
	}
}

func TestForcedDeployReplacesEveryTaskOnce(t *testing.T) {
	b := newBench(t)
	req := api.DeployRequest{Spec: spec()}
	b.deployed(req)
	req.Force = true
	resp := b.deployed(req)
	if resp.Unchanged || resp.Release != 2 {
		t.Fatalf("response %+v", resp)
	}
	first, second := get[api.Release](b, store.ReleaseKey(shop, 1)), get[api.Release](b, store.ReleaseKey(shop, 2))
	if api.HashService(first.Spec, "web") == api.HashService(second.Spec, "web") {
		t.Error("the service's hash did not change")
	}
	req.Force = false
	if resp = b.deploy(req); !resp.Unchanged || resp.Release != 2 {
		t.Errorf("the next ordinary deploy: %+v, expected unchanged", resp)
	}
}

func TestNewestQueuedDeploymentWins(t *testing.T) {
	b := newBench(t)
	b.deploy(api.DeployRequest{Spec: spec()})
	b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:2"))})
	first := get[api.Deployment](b, store.DeploymentKey(shop, 1))
	if first.State != api.DeploySuperseded || !strings.Contains(first.Reason, "deployment 2") || first.EndedAt.IsZero() {
		t.Errorf("first deployment %+v", first)
	}
	b.finish(shop, 2, api.DeployRunning)
	b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:3"))})
	if running := get[api.Deployment](b, store.DeploymentKey(shop, 2)); running.State != api.DeployRunning {
		t.Errorf("the running deployment became %+v", running)
	}
}

func TestManyDeploysAtOnceLeaveOneQueued(t *testing.T) {
	b := newBench(t)
	const n = 20
	var wg sync.WaitGroup
	numbers := make([]uint64, n)
	for i := range n {
		wg.Go(func() {
			resp, err := b.client.Deploy(b.ctx(), api.DeployRequest{Spec: spec(image("registry.test/web:" + strings.Repeat("x", i+1)))})
			if err != nil {
				t.Error(err)
				return
			}
			numbers[i] = resp.Deployment.Number
		})
	}
	wg.Wait()
	slices.Sort(numbers)
	for i, got := range numbers {
		if got != uint64(i+1) {
			t.Fatalf("deployments %v, expected 1 to %d each once", numbers, n)
		}
	}
	list, err := b.client.Deployments(b.ctx(), shop)
	if err != nil || len(list) != n {
		t.Fatalf("%d deployments, %v", len(list), err)
	}
	for i, d := range list {
		want := api.DeploySuperseded
		if i == 0 {
			want = api.DeployQueued
		}
		if d.Number != uint64(n-i) || d.State != want || d.To != get[api.Deployment](b, store.DeploymentKey(shop, d.Number)).To {
			t.Errorf("deployment %d at place %d is %s, expected %s", d.Number, i, d.State, want)
		}
	}
}

func TestDeployFindsARoutesPort(t *testing.T) {
	http := &api.HealthSpec{HTTP: &api.HTTPGet{Path: "/", Port: 9000}}
	for name, c := range map[string]struct {
		exposed []uint16
		check   *api.HealthSpec
		port    uint16
	}{
		"EXPOSE":                  {[]uint16{3000, 3001}, nil, 3000},
		"EXPOSE before the check": {[]uint16{3000}, http, 3000},
		"the check":               {nil, http, 9000},
		"a check by TCP":          {nil, &api.HealthSpec{TCP: &api.TCPProbe{Port: 9001}}, 9001},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.images.expose = c.exposed
			b.deploy(api.DeployRequest{Spec: spec(withRoute("shop.example"), func(s *api.AppSpec) {
				web := s.Services["web"]
				web.Ports, web.Health, web.StopSignal = nil, c.check, "SIGTERM"
				s.Services["web"] = web
			})})
			r, err := b.client.Release(b.ctx(), shop, 1)
			if err != nil {
				t.Fatal(err)
			}
			if web := r.Spec.Services["web"]; web.Routes[0].Port != c.port || len(web.Expose) != 0 {
				t.Errorf("routes %+v, expose %v; want port %d", web.Routes, web.Expose, c.port)
			}
		})
	}
}

func TestDeployTakesTheStopSignalFromTheImage(t *testing.T) {
	b := newBench(t)
	b.images.signal, b.images.health = "SIGQUIT", &api.HealthSpec{Disabled: true}
	own := func(s *api.AppSpec) {
		web := s.Services["web"]
		web.StopSignal = "SIGINT"
		s.Services["web"] = web
	}
	for i, want := range []string{"SIGQUIT", "SIGINT"} {
		given := spec()
		if want == "SIGINT" {
			given = spec(own)
		}
		b.deploy(api.DeployRequest{Spec: given})
		r, err := b.client.Release(b.ctx(), shop, uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Spec.Services["web"].StopSignal; got != want {
			t.Errorf("release %d stops web with %q, expected %s", i+1, got, want)
		}
	}
}

func TestDeployRefusals(t *testing.T) {
	other := api.EnvRef{App: "shop", Env: "staging"}
	cases := []struct {
		name  string
		setup func(b *bench)
		req   api.DeployRequest
		kind  api.Kind
		parts []string
	}{
		{"image is missing", nil, api.DeployRequest{Spec: spec(image("registry.test/missing"))}, api.NotFound,
			[]string{"spec.services.web.image", "registry.test/missing", "manifest unknown"}},
		{"image needs a login", nil, api.DeployRequest{Spec: spec(image("registry.test/private"))}, api.Unauthorized, []string{"login"}},
		{"invalid spec", nil, api.DeployRequest{Spec: spec(func(s *api.AppSpec) { s.Services = map[string]api.ServiceSpec{} })},
			api.Invalid, []string{"spec.services", "1 to 200"}},
		{"secret version that nobody keeps", nil, api.DeployRequest{Spec: spec(func(s *api.AppSpec) {
			s.Secrets = map[string]api.SecretSpec{"db": {Version: "0123456789abcdef"}}
		})}, api.Invalid, []string{"spec.secrets.db.version", "0123456789abcdef"}},
		{"port of another environment", func(b *bench) {
			b.deploy(api.DeployRequest{Spec: spec(inEnv(other, 18080))})
		}, api.DeployRequest{Spec: spec()}, api.Conflict, []string{"spec.services.web.ports[0].published", "18080", "shop/staging"}},
		{"route of another environment", func(b *bench) {
			b.deployed(api.DeployRequest{Spec: spec(inEnv(other, 18081), withRoute("Shop.Example"))})
		}, api.DeployRequest{Spec: spec(withRoute("shop.example"))}, api.Conflict, []string{"shop.example/", "shop/staging"}},
		{"route without a port", nil, api.DeployRequest{Spec: spec(withRoute("shop.example"), func(s *api.AppSpec) {
			web := s.Services["web"]
			web.Ports = nil
			s.Services["web"] = web
		})}, api.Invalid, []string{"spec.services.web.routes[0].port", "EXPOSE"}},
		{"being destroyed", func(b *bench) {
			b.deployed(api.DeployRequest{Spec: spec()})
			if _, err := b.client.Destroy(b.ctx(), shop, false); err != nil {
				b.t.Fatal(err)
			}
		}, api.DeployRequest{Spec: spec(image("registry.test/web:2"))}, api.Conflict, []string{"being destroyed"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			if c.setup != nil {
				c.setup(b)
			}
			before := b.dump()
			_, err := b.client.Deploy(b.ctx(), c.req)
			wantKind(t, err, c.kind, c.parts...)
			if b.dump() != before {
				t.Error("a refused deploy wrote something")
			}
		})
	}
}

func withRoute(host string) func(*api.AppSpec) {
	return func(s *api.AppSpec) {
		web := s.Services["web"]
		web.Routes = []api.RouteSpec{{Host: host}}
		s.Services["web"] = web
	}
}

func TestRoutesMaySplitAHostByMethodsAndHeaders(t *testing.T) {
	b := newBench(t)
	split := func(name string, p api.RoutePolicy) func(*api.AppSpec) {
		return func(s *api.AppSpec) {
			inEnv(api.EnvRef{App: "shop", Env: name}, 0)(s)
			web := s.Services["web"]
			web.Routes = []api.RouteSpec{{Host: "example.com", RoutePolicy: p}}
			s.Services["web"] = web
		}
	}
	get := []string{"GET", "HEAD"}
	b.deployed(api.DeployRequest{Spec: spec(split("all", api.RoutePolicy{}))})
	b.deployed(api.DeployRequest{Spec: spec(split("reads", api.RoutePolicy{Methods: get}))})
	b.deployed(api.DeployRequest{Spec: spec(split("beta", api.RoutePolicy{Methods: get, Headers: map[string]string{"X-Beta": "1"}}))})
	_, err := b.client.Deploy(b.ctx(), api.DeployRequest{Spec: spec(split("taken", api.RoutePolicy{Methods: []string{"HEAD", "GET"}, Compress: true}))})
	wantKind(t, err, api.Conflict, "spec.services.web.routes[0]", "example.com/ GET,HEAD", "shop/reads")
}

func TestPortsOnDifferentAddressesAndStoppedEnvironmentsAreFree(t *testing.T) {
	b := newBench(t)
	staging := api.EnvRef{App: "shop", Env: "staging"}
	at := func(ip string) func(*api.AppSpec) {
		return func(s *api.AppSpec) {
			web := s.Services["web"]
			web.Ports = []api.PortSpec{{HostIP: ip, Published: 18080, Target: 8080}}
			s.Services["web"] = web
		}
	}
	b.deployed(api.DeployRequest{Spec: spec(inEnv(staging, 1), at("127.0.0.1"))})
	b.deployed(api.DeployRequest{Spec: spec(at("127.0.0.2"))})
	everywhere := api.DeployRequest{Spec: spec(inEnv(api.EnvRef{App: "shop", Env: "third"}, 18080))}
	_, err := b.client.Deploy(b.ctx(), everywhere)
	wantKind(t, err, api.Conflict)
	for _, ref := range []api.EnvRef{staging, shop} {
		if _, err := b.client.Down(b.ctx(), ref); err != nil {
			t.Fatal(err)
		}
	}
	b.deployed(everywhere)
	_, err = b.client.Up(b.ctx(), shop)
	wantKind(t, err, api.Conflict, "18080", "shop/third")
}

func TestRollback(t *testing.T) {
	b := newBench(t)
	_, err := b.client.Rollback(b.ctx(), shop, api.RollbackRequest{})
	wantKind(t, err, api.NotFound, "shop/production")
	for _, tag := range []string{"1", "2", "3"} {
		resp := b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:" + tag))})
		state := api.DeploySucceeded
		if tag == "2" {
			state = api.DeployFailed
		}
		b.finish(shop, resp.Deployment.Number, state)
	}
	asked := len(b.images.asked)
	resp, err := b.client.Rollback(b.ctx(), shop, api.RollbackRequest{})
	if err != nil {
		t.Fatal(err)
	}
	d := resp.Deployment
	if resp.Release != 1 || d.Kind != api.KindRollback || d.From != 3 || d.To != 1 || d.Number != 4 {
		t.Errorf("rollback %+v: expected to release 1, since 2 failed", resp)
	}
	if len(b.images.asked) != asked {
		t.Error("a rollback looked up images")
	}
	if got, err := b.client.Rollback(b.ctx(), shop, api.RollbackRequest{Release: 2}); err != nil || got.Release != 2 {
		t.Errorf("rollback to 2: %+v, %v", got, err)
	}
	before := b.dump()
	_, err = b.client.Rollback(b.ctx(), shop, api.RollbackRequest{Release: 3})
	wantKind(t, err, api.Conflict, "release 3 is the committed one")
	_, err = b.client.Rollback(b.ctx(), shop, api.RollbackRequest{Release: 9})
	wantKind(t, err, api.NotFound, `release: "9"`, "1, 2, 3")
	if b.dump() != before {
		t.Error("a refused rollback wrote something")
	}
	b.finish(shop, 5, api.DeploySucceeded)
	b.finish(shop, 4, api.DeploySucceeded)
	before = b.dump()
	_, err = b.client.Rollback(b.ctx(), shop, api.RollbackRequest{})
	wantKind(t, err, api.Conflict, "no release before release 1")
	if b.dump() != before {
		t.Error("a refused rollback wrote something")
	}
}

// TestRollbackAmidst holds that a rollback without a release does not wait for the very deployment that it is to undo, to
// go behind the release that served before.
func TestRollbackAmidst(t *testing.T) {
	b := newBench(t)
	for _, tag := range []string{"1", "2"} {
		b.finish(shop, b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:" + tag))}).Deployment.Number, api.DeploySucceeded)
	}
	b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:3"))})
	before := b.dump()
	_, err := b.client.Rollback(b.ctx(), shop, api.RollbackRequest{})
	wantKind(t, err, api.Conflict, "deployment 3 to release 3 of shop/production has not ended: cancel it to go back to release 2")
	if b.dump() != before {
		t.Error("a refused rollback wrote something")
	}
	if got, err := b.client.Rollback(b.ctx(), shop, api.RollbackRequest{Release: 1}); err != nil || got.Release != 1 {
		t.Errorf("rollback to 1: %+v, %v", got, err)
	}
	if got, err := b.client.Rollback(b.ctx(), shop, api.RollbackRequest{}); err != nil || got.Release != 1 {
		t.Errorf("once more, without a release: %+v, %v", got, err)
	}
}

func TestRestart(t *testing.T) {
	b := newBench(t)
	two := func(s *api.AppSpec) { s.Services["db"] = api.ServiceSpec{Image: "registry.test/db:1", Replicas: 1} }
	b.deploy(api.DeployRequest{Spec: spec(two)})
	_, err := b.client.Restart(b.ctx(), shop, api.RestartRequest{})
	wantKind(t, err, api.Conflict, "no committed release")
	b.finish(shop, 1, api.DeploySucceeded)
	_, err = b.client.Restart(b.ctx(), shop, api.RestartRequest{Services: []string{"web", "nope"}})
	wantKind(t, err, api.Invalid, "services[1]", "nope", "db, web")
	resp, err := b.client.Restart(b.ctx(), shop, api.RestartRequest{Services: []string{"web"}})
	if err != nil || resp.Release != 2 {
		t.Fatalf("restart: %+v, %v", resp, err)
	}
	old, fresh := get[api.Release](b, store.ReleaseKey(shop, 1)).Spec, get[api.Release](b, store.ReleaseKey(shop, 2)).Spec
	if api.HashService(old, "web") == api.HashService(fresh, "web") || api.HashService(old, "db") != api.HashService(fresh, "db") {
		t.Error("expected new tasks for web and only there")
	}
	if fresh.Services["web"].Labels[server.GenerationLabel] != "2" {
		t.Errorf("labels %v", fresh.Services["web"].Labels)
	}
}

func TestCancelDeployment(t *testing.T) {
	b := newBench(t)
	b.deploy(api.DeployRequest{Spec: spec()})
	d, err := b.client.CancelDeployment(b.ctx(), shop, 1)
	if err != nil || d.State != api.DeployCancelled || d.Reason != "cancelled by root" || d.EndedAt.IsZero() {
		t.Fatalf("queued: %+v, %v", d, err)
	}
	_, err = b.client.CancelDeployment(b.ctx(), shop, 1)
	wantKind(t, err, api.Conflict, "it is cancelled")
	b.deploy(api.DeployRequest{Spec: spec()})
	b.finish(shop, 2, api.DeployRunning)
	for range 2 { // asking again is no error
		d, err = b.client.CancelDeployment(b.ctx(), shop, 2)
		if err != nil || d.State != api.DeployRunning || !d.Cancel {
			t.Fatalf("running: %+v, %v", d, err)
		}
	}
	_, err = b.client.CancelDeployment(b.ctx(), shop, 3)
	wantKind(t, err, api.NotFound, "deployment 3")
}

func TestPauseAndResume(t *testing.T) {
	b := newBench(t)
	ann, bob := b.as(api.TokenRequest{Name: "ann"}), b.as(api.TokenRequest{Name: "bob"})
	if _, err := ann.Deploy(b.ctx(), api.DeployRequest{Spec: spec()}); err != nil {
		t.Fatal(err)
	}
	_, err := ann.PauseDeployment(b.ctx(), shop, 1)
	wantKind(t, err, api.Conflict, "deployment 1 of shop/production does not run: it is queued")
	b.finish(shop, 1, api.DeployRunning)
	d, err := ann.PauseDeployment(b.ctx(), shop, 1)
	if err != nil || !d.Paused() {
		t.Fatalf("paused: %+v, %v", d, err)
	}
	if again, err := ann.PauseDeployment(b.ctx(), shop, 1); err != nil || !again.PausedAt.Equal(d.PausedAt) {
		t.Errorf("paused again: %+v, %v", again, err)
	}
	// Under another's lock who has asked for the deployment may still steer it, and nobody else.
	if _, err := b.client.Lock(b.ctx(), shop, api.LockRequest{Why: "an audit"}); err != nil {
		t.Fatal(err)
	}
	_, err = bob.ResumeDeployment(b.ctx(), shop, 1)
	wantKind(t, err, api.Conflict, "locked by root", "an audit")
	if d, err = ann.ResumeDeployment(b.ctx(), shop, 1); err != nil || d.Paused() || d.ResumedAt.IsZero() {
		t.Fatalf("resumed: %+v, %v", d, err)
	}
	if again, err := ann.ResumeDeployment(b.ctx(), shop, 1); err != nil || !again.ResumedAt.Equal(d.ResumedAt) {
		t.Errorf("what goes on was resumed: %+v, %v", again, err)
	}
	change := func(fn func(d *api.Deployment)) {
		d := get[api.Deployment](b, store.DeploymentKey(shop, 1))
		fn(d)
		b.put(store.DeploymentKey(shop, 1), d)
	}
	change(func(d *api.Deployment) {
		d.Rollouts = []api.Rollout{{Service: "web", State: api.RolloutPaused, Step: 1}}
	})
	if held, err := ann.ResumeDeployment(b.ctx(), shop, 1); err != nil || !held.ResumedAt.After(d.ResumedAt) {
		t.Errorf("at a step that holds: %+v, %v", held, err)
	}
	if got := slices.DeleteFunc(b.eventTypes(), func(kind string) bool {
		return !strings.HasSuffix(kind, "paused") && !strings.HasSuffix(kind, "resumed")
	}); !slices.Equal(got,
		[]string{"deployment.paused", "deployment.resumed", "deployment.resumed"}) {
		t.Errorf("events %q", got)
	}
	change(func(d *api.Deployment) { d.Backwards, d.Reason = true, "web.1 exited with code 1" })
	_, err = ann.PauseDeployment(b.ctx(), shop, 1)
	wantKind(t, err, api.Conflict, "is on its way back already: web.1 exited with code 1")
	b.finish(shop, 1, api.DeployFailed)
	_, err = ann.ResumeDeployment(b.ctx(), shop, 1)
	wantKind(t, err, api.Conflict, "does not run: it is failed")
}

// TestLateCancelKeepsTheReason: a deployment that goes back because its release failed is not made a cancelled one by who
// comes too late.
func TestLateCancelKeepsTheReason(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:2" + otherDigest))})
	b.update(func(tx store.Tx) error {
		d, err := store.Get[api.Deployment](tx, store.DeploymentKey(shop, 2))
		if err != nil {
			return err
		}
		d.State, d.From, d.Backwards, d.Reason = api.DeployRunning, 1, true, "web.1 exited with code 1"
		return store.Put(tx, store.DeploymentKey(shop, 2), d)
	})
	_, err := b.client.CancelDeployment(b.ctx(), shop, 2)
	wantKind(t, err, api.Conflict, "deployment 2 of shop/production is on its way back already: web.1 exited with code 1")
	if _, err := b.client.Down(b.ctx(), shop); err != nil {
		t.Fatal(err)
	}
	if d := get[api.Deployment](b, store.DeploymentKey(shop, 2)); d.Cancel || d.Reason != "web.1 exited with code 1" {
		t.Errorf("after down: cancelled %t, %q", d.Cancel, d.Reason)
	}
}

func TestScale(t *testing.T) {
	b := newBench(t)
	_, err := b.client.Scale(b.ctx(), shop, api.ScaleRequest{"web": 3})
	wantKind(t, err, api.NotFound)
	b.deployed(api.DeployRequest{Spec: spec()})
	env, err := b.client.Scale(b.ctx(), shop, api.ScaleRequest{"web": 5})
	if err != nil || env.Scale["web"] != 5 {
		t.Fatalf("scale: %+v, %v", env, err)
	}
	if resp := b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:2"))}); len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "5 replicas that were set by hand") {
		t.Errorf("warnings %q", resp.Warnings)
	}
	more := func(s *api.AppSpec) {
		web := s.Services["web"]
		web.Replicas += 5
		s.Services["web"] = web
	}
	if resp := b.deploy(api.DeployRequest{Spec: spec(more)}); len(resp.Warnings) != 1 || !strings.Contains(resp.Warnings[0], "replicas, which are new, in place of the 5") {
		t.Errorf("warnings %q of a release with another number", resp.Warnings)
	}
	before := b.dump()
	for name, c := range map[string]struct {
		req   api.ScaleRequest
		parts []string
	}{
		"too many":        {api.ScaleRequest{"web": 1001}, []string{`web: "1001"`, "0 to 1000"}},
		"too few":         {api.ScaleRequest{"web": -2}, []string{`web: "-2"`}},
		"unknown service": {api.ScaleRequest{"web": 1, "db": 1}, []string{`db: "db"`, "a service of the app: web"}},
		"nothing":         {api.ScaleRequest{}, []string{"services and their replicas"}},
	} {
		_, err := b.client.Scale(b.ctx(), shop, c.req)
		t.Run(name, func(t *testing.T) { wantKind(t, err, api.Invalid, c.parts...) })
	}
	if b.dump() != before {
		t.Error("a refused scale wrote something")
	}
	env, err = b.client.Scale(b.ctx(), shop, api.ScaleRequest{"web": -1})
	if _, set := env.Scale["web"]; err != nil || set {
		t.Errorf("given back: %+v, %v", env, err)
	}
}

func TestDownUpDestroy(t *testing.T) {
	b := newBench(t)
	for _, call := range []func() error{
		func() error { _, err := b.client.Down(b.ctx(), shop); return err },
		func() error { _, err := b.client.Up(b.ctx(), shop); return err },
		func() error { _, err := b.client.Destroy(b.ctx(), shop, true); return err },
	} {
		wantKind(t, call(), api.NotFound, "environment shop/production does not exist")
	}
	b.deployed(api.DeployRequest{Spec: spec()})
	b.deploy(api.DeployRequest{Spec: spec(image("registry.test/web:2"))})
	env, err := b.client.Down(b.ctx(), shop)
	if err != nil || !env.Stopped {
		t.Fatalf("down: %+v, %v", env, err)
	}
	if d := get[api.Deployment](b, store.DeploymentKey(shop, 2)); d.State != api.DeployCancelled {
		t.Errorf("a queued deployment survived down: %+v", d)
	}
	if env, err = b.client.Up(b.ctx(), shop); err != nil || env.Stopped {
		t.Fatalf("up: %+v, %v", env, err)
	}
	if _, err = b.client.Down(b.ctx(), shop); err != nil {
		t.Fatal(err)
	}
	if resp := b.deploy(api.DeployRequest{Spec: spec()}); resp.Unchanged {
		t.Error("a deploy to a stopped environment did not start it")
	}
	if env := get[api.Environment](b, store.EnvironmentKey(shop)); env.Stopped {
		t.Error("the environment is still stopped")
	}
	if env, err = b.client.Destroy(b.ctx(), shop, false); err != nil || !env.Destroying || env.DropVolumes {
		t.Fatalf("destroy: %+v, %v", env, err)
	}
	if env, err = b.client.Destroy(b.ctx(), shop, true); err != nil || !env.DropVolumes {
		t.Errorf("destroy with volumes: %+v, %v", env, err)
	}
	before := b.dump()
	if _, err = b.client.Destroy(b.ctx(), shop, true); err != nil || b.dump() != before {
		t.Errorf("destroying again: %v, or wrote something", err)
	}
	_, err = b.client.Scale(b.ctx(), shop, api.ScaleRequest{"web": 1})
	wantKind(t, err, api.Conflict, "being destroyed")
}
