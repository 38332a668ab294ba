package server_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/server"
)

// fakeAudit keeps records in memory.
type fakeAudit struct {
	mu   sync.Mutex
	list []api.AuditRecord
}

func (f *fakeAudit) Record(r api.AuditRecord) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, r)
}

func (f *fakeAudit) Read(_ context.Context, q api.AuditQuery) ([]api.AuditRecord, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list[max(0, len(f.list)-q.Limit):]), nil
}

func TestAuditRecordsWhatChangesSomething(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	ci := b.token("ci", api.Grant{Role: api.RoleDeploy, Scope: "shop/*"})
	b.audit.list = nil
	const env = "/api/v1/apps/shop/envs/production"
	secret := `{"username":"me","password":"hunter2"}`
	for _, c := range []struct {
		secret, method, path, body string
		want                       string // "USER OPERATION OBJECT RESULT"; "" is no record
	}{
		{ci, "POST", env + "/scale", `{"web":2}`, "ci scale shop/production ok"},
		{ci, "POST", env + "/scale", `{"nope":2}`, "ci scale shop/production invalid"},
		{ci, "POST", env + "/scale", `{"web":`, "ci scale shop/production invalid"},
		{ci, "DELETE", env, "", "ci destroy-environment shop/production forbidden"},
		{ci, "POST", env + "/deployments/77/cancel", "", "ci cancel-deployment shop/production deployment 77 not_found"},
		{ci, "PUT", "/api/v1/credentials/ghcr.io", secret, "ci put-credential ghcr.io forbidden"},
		{ci, "GET", "/api/v1/tasks/zzz/exec", "", "ci exec task zzz not_found"},
		{ci, "POST", "/api/v1/tokens/ci/rotate", `{"grace":"1h"}`, "ci rotate-token ci ok"},
		{ci, "PUT", "/v2/shop/web/manifests/1", "", "ci push shop/web:1 ok"},
		{ci, "PUT", "/v2/blog/web/manifests/sha256:ab", "", "ci push blog/web@sha256:ab forbidden"},
		{ci, "DELETE", "/v2/shop/web/manifests/1", "", "ci delete shop/web:1 ok"},
		{ci, "POST", "/v2/shop/web/blobs/uploads/", "", ""},
		{ci, "DELETE", "/v2/shop/web/blobs/uploads/1", "", ""},
		{ci, "GET", "/v2/shop/web/manifests/1", "", ""},
		{ci, "GET", env, "", ""},
		{ci, "POST", env + "/lock/renew", `{"id":"x"}`, ""},
		{"", "POST", env + "/scale", `{"web":2}`, ""},
		{"ikt_wrong", "DELETE", env, "", ""},
	} {
		before := len(b.audit.list)
		resp, _ := b.call(c.secret, c.method, c.path, c.body)
		got := ""
		for _, r := range b.audit.list[before:] {
			got += r.User + " " + r.Operation + " " + r.Object + " " + r.Result
			if r.Token != "ci" || r.Grants != "deploy on shop/*" || r.Remote != "127.0.0.1" || r.Status != resp.StatusCode || r.Request != resp.Header.Get("X-Request-Id") || r.Time.IsZero() {
				t.Errorf("%s %s: %+v", c.method, c.path, r)
			}
		}
		if got != c.want {
			t.Errorf("%s %s (%d): recorded %q, expected %q", c.method, c.path, resp.StatusCode, got, c.want)
		}
	}
	// What requests carried is not in it.
	if _, err := b.client.PutCredential(b.ctx(), "ghcr.io", api.CredentialRequest{Username: "me", Password: "hunter2"}); err != nil {
		t.Fatal(err)
	}
	made, err := b.client.CreateToken(b.ctx(), api.TokenRequest{Name: "new"})
	if err != nil {
		t.Fatal(err)
	}
	list, err := b.client.Audit(b.ctx(), api.AuditQuery{Limit: 2})
	if err != nil || len(list) != 2 || list[0].Object != "ghcr.io" || list[1].Object != "new" || list[1].User != "root" {
		t.Errorf("%+v, %v", list, err)
	}
	text, _ := json.Marshal(b.audit.list)
	for _, word := range []string{"hunter2", made.Secret, ci} {
		if strings.Contains(string(text), word) {
			t.Errorf("the audit log holds %q", word)
		}
	}
}

// A record is there before the answer is, a stream's and a panic's too.
func TestAuditComesBeforeTheAnswer(t *testing.T) {
	b := newBench(t)
	b.build.started = make(chan struct{})
	ctx, cancel := context.WithCancel(b.ctx())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = b.client.Build(ctx, api.BuildRequest{EnvRef: shop, Service: "web", Session: "s", Spec: api.BuildSpec{Context: ".", Target: "forever"}}, nil)
	}()
	<-b.build.started
	if list, _ := b.audit.Read(ctx, api.AuditQuery{Limit: 9}); len(list) != 1 || list[0].Operation != "build" || list[0].Object != "shop/production service web" {
		t.Errorf("while the build runs: %+v", list)
	}
	cancel()
	<-done
	_, err := b.client.Prune(b.ctx(), api.PruneRequest{All: true}) // panics
	wantKind(t, err, api.Internal)
	if list, _ := b.audit.Read(b.ctx(), api.AuditQuery{Limit: 1}); list[0].Operation != "prune" || list[0].Result != "internal" {
		t.Errorf("after a panic: %+v", list)
	}
}

func TestAuditTellsTheSocketsPeer(t *testing.T) {
	b := newBench(t)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := server.Listen(t.Context(), server.Config{Unix: socket})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- b.server.Serve(ctx, l) }()
	c, err := client.New("unix://"+socket, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteToken(b.ctx(), "nobody"); !api.IsKind(err, api.NotFound) {
		t.Error(err)
	}
	c.Close()
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if r := b.audit.list[len(b.audit.list)-1]; !strings.HasPrefix(r.Remote, "uid ") || !strings.Contains(r.Remote, ", process ") || net.ParseIP(r.Remote) != nil || r.Status != http.StatusNotFound {
		t.Errorf("%+v", r)
	}
}
