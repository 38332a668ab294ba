package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/server"
	"github.com/ikada/ikada/internal/store"
)

// needs is what the document says of an operation.
type needs struct{ role, where string }

// documented reads the table of docs/access.md.
func documented(t *testing.T) map[string]needs {
	t.Helper()
	page, err := os.ReadFile("../../docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| operations | role | where |")
	table, _, _ = strings.Cut(table, "\n\n")
	out := map[string]needs{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(cells[1], -1) {
			out[m[1]] = needs{strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3])}
		}
	}
	return out
}

// operations gives method and path of every operation of the OpenAPI document.
func (b *bench) operations() map[string][2]string {
	b.t.Helper()
	_, _, text := b.send(http.MethodGet, "/api/v1/openapi.json", "", "")
	var doc struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		b.t.Fatal(err)
	}
	out := map[string][2]string{}
	for path, item := range doc.Paths {
		for method, op := range item {
			out[op.OperationID] = [2]string{strings.ToUpper(method), path}
		}
	}
	return out
}

// call makes a request over TCP with a secret.
func (b *bench) call(secret, method, path, body string) (*http.Response, server.Problem) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.ctx(), method, b.remote.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	var p server.Problem
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(resp.Body)
		_ = json.Unmarshal(text, &p) // what is no problem stays empty
	}
	_ = resp.Body.Close()
	return resp, p
}

// token makes a token and gives its secret.
func (b *bench) token(name string, grants ...api.Grant) string {
	b.t.Helper()
	made, err := b.client.CreateToken(b.ctx(), api.TokenRequest{Name: name, Grants: grants})
	if err != nil {
		b.t.Fatal(err)
	}
	return made.Secret
}

// TestEveryOperationHasARule holds the rules, the document and what the server does against each other: for each
// operation, callers who just lack what it needs are refused, and one who just has it is not.
func TestEveryOperationHasARule(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	b.put(store.TaskKey("aaa111"), api.Task{ID: "aaa111", EnvRef: shop, Service: "web"})
	secrets := map[string]string{}
	for _, role := range api.Roles {
		for scope, short := range map[string]string{"*": "all", "*/*": "envs", "shop/production": "shop", "blog/*": "blog"} {
			name := short + "-" + string(role)
			secrets[name] = b.token(name, api.Grant{Role: role, Scope: scope})
		}
	}
	below := map[string]string{"deploy": "view", "admin": "deploy"}
	page, all := documented(t), b.operations()
	for id := range page {
		if _, ok := all[id]; !ok {
			t.Errorf("docs/access.md has %s, which the API has not", id)
		}
	}
	for id, at := range all {
		need, ok := page[id]
		if !ok || !server.HasRule(id) {
			t.Errorf("operation %s: in rules.go %t, in docs/access.md %t; it needs a row in both", id, server.HasRule(id), ok)
			continue
		}
		path := "/api/v1" + strings.NewReplacer("{app}", "shop", "{env}", "production", "{id}", "aaa111", "{number}", "77",
			"{name}", "nobody", "{host}", "h.test").Replace(at[1])
		var in, out []string
		switch where, _, _ := strings.Cut(need.where, ","); {
		case need.role == "none":
			continue // TestAccessMatrix
		case where == "cluster":
			in, out = []string{"all-" + need.role}, []string{"envs-" + need.role, "shop-" + need.role, "all-" + below[need.role]}
		case where == "environment":
			in, out = []string{"all-" + need.role, "envs-" + need.role, "shop-" + need.role}, []string{"blog-" + need.role, "all-" + below[need.role]}
		case where == "any":
			in, out = []string{"shop-" + need.role, "blog-" + need.role}, []string{"all-" + below[need.role]}
		default:
			t.Errorf("%s: where is %q", id, need.where)
		}
		for _, name := range append(in, out...) {
			secret := secrets[name]
			if secret == "" {
				continue // nobody has less than view
			}
			resp, p := b.call(secret, at[0], path, "")
			refused := resp.StatusCode == http.StatusForbidden && strings.HasPrefix(p.Detail, "this needs the role")
			if refused != slices.Contains(out, name) {
				t.Errorf("%s as %s: %d %s", id, name, resp.StatusCode, p.Detail)
			}
			if refused && (!strings.Contains(p.Detail, "role "+need.role+" on") || !strings.Contains(p.Detail, "token "+name+" has")) {
				t.Errorf("%s as %s: %s", id, name, p.Detail)
			}
		}
	}
}

func TestRolesAndScopes(t *testing.T) {
	b := newBench(t)
	ci := b.token("ci", api.Grant{Role: api.RoleDeploy, Scope: "shop/staging"}, api.Grant{Role: api.RoleView, Scope: "shop/*"})
	b.deployed(api.DeployRequest{Spec: spec()})
	const production, staging = "/api/v1/apps/shop/envs/production", "/api/v1/apps/shop/envs/staging"
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", production, "", 200, ""},
		{"POST", production + "/scale", `{"web":1}`, 403, "this needs the role deploy on shop/production; token ci has deploy on shop/staging, view on shop/*"},
		{"POST", production + "/scale", `nonsense`, 403, "role deploy"},
		{"POST", "/api/v1/apps/none/envs/production/scale", `{}`, 403, "role deploy on none/production"}, // not whether it is there
		{"POST", staging + "/scale", `{"web":1}`, 404, "shop/staging"},
		{"DELETE", staging, "", 403, "role admin on shop/staging"},
		{"POST", "/api/v1/builds", `{"app":"shop","env":"production","service":"web","session":"s","spec":{"context":"."}}`, 403, "role deploy on shop/production"},
		{"POST", "/api/v1/builds", `{"app":"shop","env":"staging","service":"web","session":"s","spec":{"context":"."}}`, 200, ""},
		{"POST", "/api/v1/builds", `{"app":"shop","env":"staging","service":"web","session":"s","spec":{"context":".","tags":["ikada.local/shop/web:1","ghcr.io/blog/web:1"]}}`, 200, ""},
		{"POST", "/api/v1/builds", `{"app":"shop","env":"staging","service":"web","session":"s","spec":{"context":".","tags":["ikada.local/shop/web:1","ikada.local/blog/web:1"]}}`,
			403, "spec.tags[1]: ikada.local/blog/web:1: this needs the role deploy on blog/*"}, // as a push would
		{"POST", "/api/v1/tokens", `{"name":"x"}`, 403, "role admin on *"},
		{"POST", "/api/v1/shutdown", "", 403, "role admin on *"},
		{"GET", "/api/v1/openapi.json", "", 200, ""},
	} {
		resp, p := b.call(ci, c.method, c.path, c.body)
		if resp.StatusCode != c.status || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s %s: %d %s; expected %d %s", c.method, c.path, resp.StatusCode, p.Detail, c.status, c.says)
		}
	}
	// A lock of another is an admin's to break.
	if _, err := b.client.Deploy(b.ctx(), api.DeployRequest{Spec: spec(inEnv(api.EnvRef{App: "shop", Env: "staging"}, 18081))}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.Lock(b.ctx(), api.EnvRef{App: "shop", Env: "staging"}, api.LockRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"DELETE", staging + "/lock?force=true"}, {"PUT", staging + "/lock"}} {
		if resp, p := b.call(ci, c[0], c[1], map[bool]string{true: `{"force":true}`}[c[0] == "PUT"]); resp.StatusCode != 403 || !strings.Contains(p.Detail, "role admin on shop/staging") {
			t.Errorf("%v: %d %s", c, resp.StatusCode, p.Detail)
		}
	}
}

// A role in one environment is none on the node: what reaches there is an admin's to give.
func TestPrivilegesAreAnAdminsToGive(t *testing.T) {
	b := newBench(t)
	ci := b.as(api.TokenRequest{Name: "ci", Grants: api.Grants{{Role: api.RoleAdmin, Scope: "*/*"}}})
	web := func(change func(*api.ServiceSpec)) api.DeployRequest {
		return api.DeployRequest{Spec: spec(func(s *api.AppSpec) {
			w := s.Services["web"]
			change(&w)
			s.Services["web"] = w
		})}
	}
	bind := func(w *api.ServiceSpec) {
		w.Mounts = []api.Mount{{Type: api.MountBind, Source: "/var/lib/ikada", Target: "/x", ReadOnly: true}}
	}
	for want, req := range map[string]api.DeployRequest{
		"service web: privileged":                 web(func(w *api.ServiceSpec) { w.Privileged = true }),
		"service web: capability SYS_ADMIN":       web(func(w *api.ServiceSpec) { w.CapAdd = []string{"SYS_ADMIN", "CHOWN"} }),
		"service web: capability CAP_NET_ADMIN":   web(func(w *api.ServiceSpec) { w.CapAdd = []string{"CAP_NET_ADMIN"} }),
		"service web: no seccomp":                 web(func(w *api.ServiceSpec) { w.SecurityOpt = []string{"seccomp=unconfined"} }),
		"service web: /var/lib/ikada of the node": web(bind),
		"check smoke: 127.0.0.1:9090 as the node itself reaches it": web(func(w *api.ServiceSpec) {
			most := 1.0
			w.Checks = []api.ReleaseCheck{{Name: "smoke", PromQL: &api.PromQLCheck{Query: "up", Max: &most, Prometheus: "http://127.0.0.1:9090"}}}
		}),
		"volume blog_production_data; this needs the": {Spec: spec(func(s *api.AppSpec) { s.Volumes = map[string]api.VolumeSpec{"data": {Name: "blog_production_data"}} })},
	} {
		_, err := ci.Deploy(b.ctx(), req)
		wantKind(t, err, api.Forbidden, want, "role admin on *", "token ci has admin on */*")
	}
	if list, err := ci.Environments(b.ctx()); err != nil || len(list) != 0 {
		t.Errorf("what was refused has made %+v, %v", list, err)
	}
	if _, err := ci.Deploy(b.ctx(), web(func(w *api.ServiceSpec) {
		w.CapAdd = []string{"CAP_CHOWN"}
		w.Checks = []api.ReleaseCheck{{Name: "smoke", HTTP: &api.HTTPCheck{URL: "https://shop.example.com/"}}}
	})); err != nil {
		t.Errorf("what every task has: %v", err)
	}
	// What an admin has deployed goes on, and no more than that; not elsewhere either.
	b.deployed(web(bind))
	if _, err := ci.Deploy(b.ctx(), web(func(w *api.ServiceSpec) { bind(w); w.Image = "registry.test/web:2" })); err != nil {
		t.Errorf("as an admin has deployed: %v", err)
	}
	_, err := ci.Deploy(b.ctx(), web(func(w *api.ServiceSpec) { bind(w); w.Privileged = true }))
	wantKind(t, err, api.Forbidden, "service web: privileged; this")
	staging := api.EnvRef{App: "shop", Env: "staging"}
	elsewhere := web(bind)
	inEnv(staging, 18081)(&elsewhere.Spec)
	_, err = ci.Deploy(b.ctx(), elsewhere)
	wantKind(t, err, api.Forbidden, "/var/lib/ikada of the node")
	_, err = ci.Promote(b.ctx(), staging, api.PromoteRequest{From: "production"})
	wantKind(t, err, api.Forbidden, "/var/lib/ikada of the node")
}

// What a token has open ends when the token does.
func TestExpiryEndsStreams(t *testing.T) {
	b := newBench(t)
	const life = time.Second
	began := time.Now()
	c := b.as(api.TokenRequest{Name: "brief", ExpiresIn: api.Duration(life)})
	err := c.Events(b.ctx(), api.EventQuery{Follow: true}, func(api.Event) error { return nil })
	if lived := time.Since(began); lived < life*9/10 || lived > time.Minute || !api.IsKind(err, api.Unauthorized) {
		t.Errorf("the token lived %s, and its stream ended with %v", lived, err)
	}
}

func TestListsShowWhatTheCallerMaySee(t *testing.T) {
	b := newBench(t)
	blog := api.EnvRef{App: "blog", Env: "production"}
	b.deployed(api.DeployRequest{Spec: spec()})
	b.deployed(api.DeployRequest{Spec: spec(inEnv(blog, 18081))})
	reader := b.as(api.TokenRequest{Name: "reader", Grants: api.Grants{{Role: api.RoleView, Scope: "blog/*"}}})
	list, err := reader.Environments(b.ctx())
	if err != nil || len(list) != 1 || list[0].EnvRef != blog {
		t.Errorf("environments: %+v, %v", list, err)
	}
	seen := 0
	for _, c := range []*client.Client{reader, b.as(api.TokenRequest{Name: "envs", Grants: api.Grants{{Role: api.RoleView, Scope: "*/*"}}})} {
		err := c.Events(b.ctx(), api.EventQuery{}, func(e api.Event) error {
			seen++
			if e.App == "" || c == reader && e.EnvRef != blog {
				t.Errorf("told of %+v", e)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if seen == 0 {
		t.Error("no events")
	}
	who, err := reader.WhoAmI(b.ctx())
	if err != nil || who.User != "reader" || who.Token != "reader" || who.Local || who.Grants.String() != "view on blog/*" {
		t.Errorf("%+v, %v", who, err)
	}
	if who, err := b.client.WhoAmI(b.ctx()); err != nil || who.User != "root" || !who.Local || !who.Grants.AllowCluster(api.RoleAdmin) {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestRegistryAccess(t *testing.T) {
	b := newBench(t)
	secrets := map[string]string{
		"viewer":   b.token("viewer", api.Grant{Role: api.RoleView, Scope: "shop/staging"}),
		"deployer": b.token("deployer", api.Grant{Role: api.RoleDeploy, Scope: "shop/staging"}),
		"all":      b.token("all", api.Grant{Role: api.RoleDeploy, Scope: "*"}),
	}
	for _, c := range []struct {
		method, path string
		in           string // those who are let in
		query        string // that the registry sees of it, for deployer
	}{
		{"GET", "/v2/", "viewer deployer all", ""},
		{"GET", "/v2/shop/web/manifests/1", "viewer deployer all", ""},
		{"HEAD", "/v2/shop/manifests/1", "viewer deployer all", ""},
		{"PUT", "/v2/shop/web/manifests/1", "deployer all", ""},
		{"DELETE", "/v2/shop/web/manifests/1", "deployer all", ""},
		{"POST", "/v2/shop/web/blobs/uploads/?mount=sha256:a&from=shop/base", "deployer all", "from=shop%2Fbase&mount=sha256%3Aa"},
		{"POST", "/v2/shop/web/blobs/uploads/?mount=sha256:a&from=blog/web", "deployer all", ""},
		{"POST", "/v2/shop/web/blobs/uploads/?mount=sha256:a", "deployer all", ""},
		{"GET", "/v2/blog/web/manifests/1", "all", ""},
		{"PUT", "/v2/shopping/web/manifests/1", "all", ""},
		{"GET", "/v2/_catalog", "all", ""},
	} {
		for name, secret := range secrets {
			b.asked = ""
			resp, _ := b.call(secret, c.method, c.path, "")
			if in := slices.Contains(strings.Fields(c.in), name); in != (resp.StatusCode == http.StatusOK) || !in && resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s as %s: %d", c.method, c.path, name, resp.StatusCode)
			}
			if got := b.asked; name == "deployer" && c.query != "" && !sameQuery(got, c.query) || name == "deployer" && c.query == "" && got != "" {
				t.Errorf("%s: the registry sees %q, expected %q", c.path, got, c.query)
			}
		}
	}
}

func sameQuery(a, b string) bool {
	sorted := func(s string) []string {
		parts := strings.Split(strings.ReplaceAll(strings.ReplaceAll(s, "%2F", "/"), "%3A", ":"), "&")
		slices.Sort(parts)
		return parts
	}
	return slices.Equal(sorted(a), sorted(b))
}

func TestRotateToken(t *testing.T) {
	b := newBench(t)
	old := b.token("ci", api.Grant{Role: api.RoleDeploy, Scope: "shop/*"})
	b.token("other")
	post := func(secret, name, body string) (api.NewToken, int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(b.ctx(), http.MethodPost, b.remote.URL+"/api/v1/tokens/"+name+"/rotate", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, _ := io.ReadAll(resp.Body)
		var made api.NewToken
		_ = json.Unmarshal(text, &made)
		return made, resp.StatusCode, string(text)
	}
	if _, status, text := post(old, "other", "{}"); status != http.StatusForbidden {
		t.Errorf("another's token: %d %s", status, text)
	}
	if _, status, text := post(old, "ci", `{"expiresIn":"1h"}`); status != http.StatusUnprocessableEntity {
		t.Errorf("prolonging oneself: %d %s", status, text)
	}
	made, status, text := post(old, "ci", "{}")
	if status != http.StatusOK || !strings.HasPrefix(made.Secret, auth.TokenPrefix) || made.OldUntil.IsZero() || made.Grants.String() != "deploy on shop/*" {
		t.Fatalf("rotate: %d %s", status, text)
	}
	for _, secret := range []string{old, made.Secret} {
		if resp, p := b.call(secret, "GET", "/api/v1/whoami", ""); resp.StatusCode != http.StatusOK {
			t.Errorf("%d %s", resp.StatusCode, p.Detail)
		}
	}
	if _, status, text := post(old, "ci", "{}"); status != http.StatusForbidden || !strings.Contains(text, "has been rotated") {
		t.Errorf("by the old secret: %d %s", status, text)
	}
	none := api.Duration(0)
	again, err := b.client.RotateToken(b.ctx(), "ci", api.RotateRequest{Grace: &none, ExpiresIn: api.Duration(1e12)})
	if err != nil || again.ExpiresAt.IsZero() {
		t.Fatalf("%+v, %v", again, err)
	}
	for secret, want := range map[string]int{old: 401, made.Secret: 401, again.Secret: 200} {
		if resp, p := b.call(secret, "GET", "/api/v1/whoami", ""); resp.StatusCode != want {
			t.Errorf("%d %s, expected %d", resp.StatusCode, p.Detail, want)
		}
	}
	if text := fmt.Sprint(b.dump(), b.log.String()); strings.Contains(text, made.Secret) || strings.Contains(text, again.Secret) {
		t.Error("a secret stands in the store or the log")
	}
	_, err = b.client.RotateToken(b.ctx(), "nobody", api.RotateRequest{})
	wantKind(t, err, api.NotFound, "nobody")
}

// A token of an ikada that knew neither users nor grants may do what it could.
func TestOldTokensKeepTheirAccess(t *testing.T) {
	b := newBench(t)
	b.update(func(tx store.Tx) error {
		tx.Put(store.Tokens+"old", []byte(`{"name":"old","hash":"`+auth.HashToken("ikt_old")+`","createdAt":"2026-01-01T00:00:00Z"}`))
		return nil
	})
	if resp, p := b.call("ikt_old", "GET", "/api/v1/tokens", ""); resp.StatusCode != http.StatusOK {
		t.Errorf("%d %s", resp.StatusCode, p.Detail)
	}
	list, err := b.client.Tokens(b.ctx())
	if err != nil || len(list) != 1 || list[0].User != "old" || list[0].Grants.String() != "admin on *" {
		t.Errorf("%+v, %v", list, err)
	}
}

// What a token has open ends within moments of its removal, and says why; other tokens' go on.
func TestRemovalEndsStreams(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	b.put(store.TaskKey("aaa111"), api.Task{ID: "aaa111", EnvRef: shop, Service: "web", Slot: 1, Desired: api.WantRunning})
	b.put(store.StatusKey("aaa111"), api.TaskStatus{Task: "aaa111", State: api.TaskReady})
	whole := api.Grants{{Role: api.RoleAdmin, Scope: api.Everywhere}}
	gone, stays := b.as(api.TokenRequest{Name: "ci", Grants: whole}), b.as(api.TokenRequest{Name: "ci2", Grants: whole})
	ctx, cancel := context.WithCancel(b.ctx())
	defer cancel()
	open := func(c *client.Client) map[string]<-chan error {
		streams := map[string]<-chan error{}
		follow := func(name string, run func() error) {
			done := make(chan error, 1)
			go func() { done <- run() }()
			streams[name] = done
		}
		began := make(chan struct{})
		var once sync.Once
		follow("events", func() error {
			return c.Events(ctx, api.EventQuery{Follow: true}, func(api.Event) error { once.Do(func() { close(began) }); return nil })
		})
		follow("logs", func() error {
			return c.Logs(ctx, shop, api.LogRequest{Follow: true}, func(api.LogLine) error { return nil })
		})
		<-began
		return streams
	}
	closed, kept := open(gone), open(stays)
	closed["exec"] = b.asleep(ctx, gone)
	if err := b.client.DeleteToken(ctx, "ci"); err != nil {
		t.Fatal(err)
	}
	for name, done := range closed {
		err := <-done
		if !api.IsKind(err, api.Unauthorized) || name != "logs" && !strings.Contains(err.Error(), "token ci was removed") {
			t.Errorf("%s ended with %v", name, err)
		}
	}
	for name, done := range kept {
		select {
		case err := <-done:
			t.Errorf("%s of another token ended with %v", name, err)
		default:
		}
	}
	cancel()
	for _, done := range kept {
		<-done
	}
}

// An old secret's streams end with its time; the new one's go on.
func TestRotationEndsStreams(t *testing.T) {
	b := newBench(t)
	old := b.as(api.TokenRequest{Name: "ci"})
	began, done := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		done <- old.Events(b.ctx(), api.EventQuery{Follow: true}, func(api.Event) error { once.Do(func() { close(began) }); return nil })
	}()
	<-began
	grace := api.Duration(time.Second)
	if _, err := b.client.RotateToken(b.ctx(), "ci", api.RotateRequest{Grace: &grace}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !api.IsKind(err, api.Unauthorized) {
		t.Errorf("the stream ended with %v", err)
	}
}
