package server_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

// usesToken has the service web take the environment's secret token, as a file and as a variable.
func usesToken(s *api.AppSpec) {
	s.Secrets = map[string]api.SecretSpec{"token": {External: true, Version: "forged"}, "alias": {External: true, Name: "other"}}
	web := s.Services["web"]
	web.Secrets = []api.FileJoin{{Source: "alias", Target: "/run/secrets/alias"}}
	web.SecretEnv = map[string]string{"TOKEN": "token"}
	s.Services["web"] = web
	s.Services["aside"] = api.ServiceSpec{Image: "registry.test/aside:1", Replicas: 1}
}

func (b *bench) set(name, value string, noDeploy bool) api.SettingsResponse {
	b.t.Helper()
	r, err := b.client.SetSecret(b.ctx(), shop, name, api.SecretRequest{Value: []byte(value), NoDeploy: noDeploy})
	if err != nil {
		b.t.Fatalf("set secret: %v", err)
	}
	if r.Deployment != nil {
		b.finish(shop, r.Deployment.Deployment.Number, api.DeploySucceeded)
	}
	return r
}

func (b *bench) opened(r *api.Release, key string) string {
	b.t.Helper()
	sealed := get[api.SealedSecret](b, store.SecretKey(r.EnvRef, r.Spec.Secrets[key].Version))
	if sealed == nil {
		b.t.Fatalf("release %d: no value of %s", r.Number, key)
	}
	plain, err := b.key.OpenSecret(*sealed)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(plain)
}

// TestSecretsOfEnvironment live there before the first deploy, make releases of what uses them, and go back with a
// rollback.
func TestSecretsOfEnvironment(t *testing.T) {
	b := newBench(t)
	if r := b.set("token", "hunter-one", false); r.Deployment != nil || r.Unchanged {
		t.Errorf("before the first deploy: %+v", r)
	}
	_, err := b.client.Deploy(b.ctx(), api.DeployRequest{Spec: spec(usesToken)})
	wantKind(t, err, api.Conflict, "lacks the secret other", "ikada secret set other -a shop -e production")
	b.set("other", "hunter-other", false)
	first := b.deployed(api.DeployRequest{Spec: spec(usesToken)})
	release := func(n uint64) *api.Release { return get[api.Release](b, store.ReleaseKey(shop, n)) }
	one := release(first.Release)
	if b.opened(one, "token") != "hunter-one" || b.opened(one, "alias") != "hunter-other" {
		t.Error("wrong versions")
	}
	if r := b.set("token", "hunter-one", false); !r.Unchanged || r.Deployment != nil {
		t.Errorf("the same again: %+v", r)
	}
	if r := b.set("unused", "hunter-unused", false); r.Deployment != nil {
		t.Errorf("unused: %+v", r)
	}
	r := b.set("token", "hunter-two", false)
	if r.Deployment == nil || r.Deployment.Release != 2 {
		t.Fatalf("changed: %+v", r)
	}
	two := release(2)
	if b.opened(two, "token") != "hunter-two" || two.Message != "secret token was set" {
		t.Errorf("release %+v", two)
	}
	if api.HashService(one.Spec, "web") == api.HashService(two.Spec, "web") || api.HashService(one.Spec, "aside") != api.HashService(two.Spec, "aside") {
		t.Error("just the tasks that use it are to be replaced")
	}
	if resp := b.deploy(api.DeployRequest{Spec: spec(usesToken)}); !resp.Unchanged {
		t.Errorf("a deploy of the same: %+v", resp)
	}
	b.set("token", "hunter-three", true)
	list, err := b.client.Secrets(b.ctx(), shop)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range list {
		got = append(got, fmt.Sprintf("%s %v %t", v.Name, v.Services, v.Pending))
	}
	if !slices.Equal(got, []string{"other [web] false", "token [web] true", "unused [] false"}) {
		t.Errorf("list %q", got)
	}
	back, err := b.client.Rollback(b.ctx(), shop, api.RollbackRequest{Release: 1})
	if err != nil || len(back.Warnings) != 1 || !strings.Contains(back.Warnings[0], "have changed since") {
		t.Errorf("rollback %+v, %v", back, err)
	}
	b.finish(shop, back.Deployment.Number, api.DeploySucceeded)
	if b.opened(release(1), "token") != "hunter-one" {
		t.Error("the old release has lost its version")
	}
	if b.deployed(api.DeployRequest{Spec: spec(usesToken)}); b.opened(release(3), "token") != "hunter-three" {
		t.Error("a deploy does not take the newest")
	}

	secret, err := b.client.RevealSecret(b.ctx(), shop, "token")
	if err != nil || string(secret.Value) != "hunter-three" || !slices.Contains(b.eventTypes(), "secret.revealed") {
		t.Errorf("reveal %s, %v", secret.Value, err)
	}
	_, err = b.client.RevealSecret(b.ctx(), shop, "nope")
	wantKind(t, err, api.NotFound, "no secret nope")
	wantKind(t, b.client.DeleteSecret(b.ctx(), shop, "token"), api.Conflict, "used by what runs")
	wantKind(t, b.client.DeleteSecret(b.ctx(), shop, "nope"), api.NotFound)
	if err := b.client.DeleteSecret(b.ctx(), shop, "unused"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ name, value string }{{"-", "x"}, {"a b", "x"}, {"empty", ""}, {"long", strings.Repeat("x", api.MaxSecretBytes+1)}} {
		_, err := b.client.SetSecret(b.ctx(), shop, c.name, api.SecretRequest{Value: []byte(c.value)})
		if err == nil || strings.Contains(err.Error(), "xxx") {
			t.Errorf("%q: %v", c.name, err)
		}
	}
	for place, text := range map[string]string{"store": b.dump(), "log": b.log.String()} {
		if strings.Contains(text, "hunter") || strings.Contains(text, "aHVudGVy") {
			t.Errorf("a secret stands in the clear in the %s", place)
		}
	}
	deployer := b.as(api.TokenRequest{Name: "d", Grants: api.Grants{{Role: api.RoleDeploy, Scope: "shop/*"}}})
	_, err = deployer.RevealSecret(b.ctx(), shop, "token")
	wantKind(t, err, api.Forbidden, "admin on shop/production")
}

// TestSettingsWhileSomethingRuns builds on what is being deployed, not on what it replaces, and starts nothing that is down.
func TestSettingsWhileSomethingRuns(t *testing.T) {
	b := newBench(t)
	b.set("token", "1", false)
	b.set("other", "1", false)
	b.deployed(api.DeployRequest{Spec: spec(usesToken)})
	b.deploy(api.DeployRequest{Spec: spec(usesToken, image("registry.test/web:2"))})
	r := b.set("token", "2", false)
	if got := get[api.Release](b, store.ReleaseKey(shop, r.Deployment.Release)).Spec.Services["web"].Image; got != "registry.test/web:2"+digest {
		t.Errorf("the queued release is lost: %s", got)
	}
	if _, err := b.client.Down(b.ctx(), shop); err != nil {
		t.Fatal(err)
	}
	r = b.set("token", "3", false)
	if env := get[api.Environment](b, store.EnvironmentKey(shop)); r.Deployment != nil || len(r.Warnings) != 1 || !env.Stopped {
		t.Errorf("down: %+v %+v", r, env)
	}
}

// TestConfig sets variables over the file's, for all services or one, and takes them away again.
func TestConfig(t *testing.T) {
	b := newBench(t)
	change := func(set map[string]map[string]string, unset map[string][]string) (api.SettingsResponse, error) {
		r, err := b.client.ChangeConfig(b.ctx(), shop, api.ConfigRequest{Set: set, Unset: unset})
		if err == nil && r.Deployment != nil {
			b.finish(shop, r.Deployment.Deployment.Number, api.DeploySucceeded)
		}
		return r, err
	}
	must := func(r api.SettingsResponse, err error) api.SettingsResponse {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	environ := func(service string) map[string]string {
		env := get[api.Environment](b, store.EnvironmentKey(shop))
		s := get[api.Release](b, store.ReleaseKey(shop, env.Release)).Spec.Services[service]
		return s.Environ()
	}
	must(change(map[string]map[string]string{"": {"LEVEL": "debug"}}, nil)) // before the first deploy
	file := func(s *api.AppSpec) {
		web := s.Services["web"]
		web.Env = map[string]string{"LEVEL": "file", "MODE": "file"}
		s.Services["web"] = web
		s.Services["db"] = api.ServiceSpec{Image: "registry.test/db:1", Replicas: 1}
	}
	b.deployed(api.DeployRequest{Spec: spec(file)})
	if web := environ("web"); web["LEVEL"] != "debug" || web["MODE"] != "file" || environ("db")["LEVEL"] != "debug" {
		t.Errorf("web %v, db %v", web, environ("db"))
	}
	before := get[api.Release](b, store.ReleaseKey(shop, 1))
	r := must(change(map[string]map[string]string{"web": {"MODE": "own", "LEVEL": "own"}}, nil))
	after := get[api.Release](b, store.ReleaseKey(shop, r.Deployment.Release))
	if web := environ("web"); web["MODE"] != "own" || web["LEVEL"] != "own" || api.HashService(before.Spec, "db") != api.HashService(after.Spec, "db") {
		t.Errorf("web %v", web)
	}
	if r := must(change(map[string]map[string]string{"web": {"MODE": "own"}}, nil)); !r.Unchanged || r.Deployment != nil {
		t.Errorf("the same: %+v", r)
	}
	// Where a variable comes from does not count.
	if r := must(change(map[string]map[string]string{"web": {"MODE": "file"}}, nil)); r.Deployment == nil {
		t.Error("no deployment")
	}
	r = must(change(nil, map[string][]string{"web": {"MODE"}}))
	a, c := get[api.Release](b, store.ReleaseKey(shop, r.Deployment.Release)), get[api.Release](b, store.ReleaseKey(shop, r.Deployment.Release-1))
	if api.HashService(a.Spec, "web") != api.HashService(c.Spec, "web") {
		t.Error("tasks are replaced although their variables are the same")
	}
	must(change(nil, map[string][]string{"web": {"LEVEL"}, "": {"LEVEL"}}))
	if web := environ("web"); web["LEVEL"] != "file" {
		t.Errorf("web %v", web)
	}
	if list, err := b.client.Config(b.ctx(), shop); err != nil || len(list) != 0 {
		t.Errorf("list %v, %v", list, err)
	}
	later, err := b.client.ChangeConfig(b.ctx(), shop, api.ConfigRequest{Set: map[string]map[string]string{"": {"A": "1"}}, NoDeploy: true})
	if err != nil || later.Deployment != nil {
		t.Errorf("%+v, %v", later, err)
	}
	if list, err := b.client.Config(b.ctx(), shop); err != nil || len(list) != 1 || !list[0].Pending || list[0].Value != "1" {
		t.Errorf("list %v, %v", list, err)
	}
	for _, bad := range []struct {
		set   map[string]map[string]string
		unset map[string][]string
		part  string
	}{
		{nil, nil, "set or unset"},
		{map[string]map[string]string{"": {"A B": "1"}}, nil, "set.A B"},
		{map[string]map[string]string{"": {"1A": "1"}}, nil, "set.1A"},
		{map[string]map[string]string{"": {"A": "\x00"}}, nil, "zero"},
		{map[string]map[string]string{"": {"A": strings.Repeat("x", api.MaxVariableBytes+1)}}, nil, "at most"},
		{map[string]map[string]string{"nope": {"A": "1"}}, nil, "db, web"},
		{nil, map[string][]string{"": {"NOPE"}}, "NOPE"},
		{map[string]map[string]string{"": {"A": "1"}}, map[string][]string{"": {"A"}}, "at the same time"},
	} {
		_, err := change(bad.set, bad.unset)
		wantKind(t, err, api.Invalid, bad.part)
	}
	many := map[string]string{}
	for n := range api.MaxVariables {
		many[fmt.Sprintf("V%d", n)] = "x"
	}
	_, err = change(map[string]map[string]string{"": many}, nil)
	wantKind(t, err, api.Exhausted, "501 variables")
}

// TestRotateKey seals everything anew while secrets and logins are set, and keeps versions.
func TestRotateKey(t *testing.T) {
	b := newBench(t)
	key := b.key
	for n := range 150 {
		b.set(fmt.Sprintf("s%d", n), fmt.Sprintf("value-%d", n), false)
	}
	b.deployed(api.DeployRequest{Spec: spec(withSecret("hunter2"))})
	login := api.CredentialRequest{Username: "u", Password: "p"}
	if _, err := b.client.PutCredential(b.ctx(), "ghcr.io", login); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.CreateHook(b.ctx(), api.HookRequest{Name: "chat", URL: "https://hooks.test/x"}); err != nil {
		t.Fatal(err)
	}
	broken := key.SealSecret(shop, "lost", []byte("x"), noon)
	broken.Sealed[30] ^= 1
	b.put(store.SecretKey(shop, broken.Version), broken)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				_, err := b.client.SetSecret(b.ctx(), api.EnvRef{App: "other", Env: fmt.Sprint("e", w)}, "s", api.SecretRequest{Value: fmt.Appendf(nil, "v%d", n)})
				if err != nil {
					t.Errorf("while the key changes: %v", err)
					return
				}
			}
		})
	}
	n, err := b.client.RotateKey(b.ctx())
	close(stop)
	wg.Wait()
	if err != nil || n.Secrets < 151 || n.Credentials != 1 || n.Hooks != 1 || key.Rotating() {
		t.Fatalf("%+v, %v", n, err)
	}
	_, err = b.store.View(b.ctx(), func(tx store.Tx) error {
		all, err := store.List[api.SealedSecret](tx, store.Secrets)
		for _, s := range all {
			if _, err := key.OpenSecret(*s); err != nil && s.Version != broken.Version {
				t.Errorf("%s: %v", s.EnvRef, err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := key.OpenCredential(*get[auth.SealedCredential](b, store.Credentials+"ghcr.io")); err != nil || got != login {
		t.Errorf("login %+v, %v", got, err)
	}
	if target, err := key.OpenHook(*get[api.SealedHook](b, store.Hooks+"chat")); err != nil || target.URL != "https://hooks.test/x" {
		t.Errorf("hook %+v, %v", target, err)
	}
	if resp := b.deploy(api.DeployRequest{Spec: spec(withSecret("hunter2"))}); !resp.Unchanged {
		t.Errorf("a deploy of the same after the key has changed: %+v", resp)
	}
	if r := b.set("s7", "value-7", false); !r.Unchanged {
		t.Errorf("the same secret after the key has changed: %+v", r)
	}
	// One that was cut off goes on by itself.
	if err := key.Rotate(); err != nil {
		t.Fatal(err)
	}
	b.server.FinishRotation(b.ctx())
	if key.Rotating() {
		t.Error("the rotation was not finished")
	}
	if secret, err := b.client.RevealSecret(b.ctx(), shop, "s7"); err != nil || string(secret.Value) != "value-7" {
		t.Errorf("%s, %v", secret.Value, err)
	}
}
