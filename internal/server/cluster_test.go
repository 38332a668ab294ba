package server_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/server"
	"github.com/ikada/ikada/internal/store"
)

func TestVersionHealthNodesPrune(t *testing.T) {
	b := newBench(t)
	if v, err := b.client.Version(b.ctx()); err != nil || v.Version != "1.2.3" || v.Node != "n1" {
		t.Errorf("version %+v, %v", v, err)
	}
	if h, err := b.client.Health(b.ctx()); err != nil || !h.OK {
		t.Errorf("health %+v, %v", h, err)
	}
	if nodes, err := b.client.Nodes(b.ctx()); err != nil || nodes == nil || len(nodes) != 0 {
		t.Errorf("nodes %v, %v", nodes, err)
	}
	b.put(store.NodeKey("n2"), api.Node{Name: "n2"})
	b.put(store.NodeKey("n1"), api.Node{Name: "n1"})
	if nodes, err := b.client.Nodes(b.ctx()); err != nil || len(nodes) != 2 || nodes[0].Name != "n1" {
		t.Errorf("nodes %v, %v", nodes, err)
	}
	_, err := b.client.Prune(b.ctx(), api.PruneRequest{})
	wantKind(t, err, api.Unavailable, "busy")
	b.pruned = &api.PruneReport{Items: []api.PruneItem{{Kind: "image", Name: "a", Bytes: 5}}, Bytes: 5}
	if r, err := b.client.Prune(b.ctx(), api.PruneRequest{}); err != nil || r.Bytes != 5 || len(r.Items) != 1 {
		t.Errorf("prune %+v, %v", r, err)
	}
	if r, err := b.client.Prune(b.ctx(), api.PruneRequest{DryRun: true}); err != nil || r.Bytes != 0 {
		t.Errorf("dry run %+v, %v", r, err)
	}
}

func TestTokens(t *testing.T) {
	b := newBench(t)
	token, err := b.client.CreateToken(b.ctx(), api.TokenRequest{Name: "ci", ExpiresIn: api.Duration(time.Hour)})
	if err != nil || !strings.HasPrefix(token.Secret, auth.TokenPrefix) || token.ExpiresAt.IsZero() {
		t.Fatalf("token %+v, %v", token, err)
	}
	before := b.dump()
	_, err = b.client.CreateToken(b.ctx(), api.TokenRequest{Name: "ci"})
	wantKind(t, err, api.Conflict, "ci", "a name that no token has")
	wantKind(t, b.client.DeleteToken(b.ctx(), "nope"), api.NotFound, "token nope")
	if b.dump() != before {
		t.Error("a refused request wrote something")
	}
	list, err := b.client.Tokens(b.ctx())
	if err != nil || len(list) != 1 || list[0].Name != "ci" {
		t.Errorf("tokens %+v, %v", list, err)
	}
	if err := b.client.DeleteToken(b.ctx(), "ci"); err != nil {
		t.Fatal(err)
	}
	if got := b.eventTypes(); !slices.Equal(got, []string{"token.created", "token.deleted"}) {
		t.Errorf("events %q", got)
	}
}

func TestCredentials(t *testing.T) {
	b := newBench(t)
	login := api.CredentialRequest{Username: "me", Password: "hunter2"}
	if v, err := b.client.PutCredential(b.ctx(), "registry.example.com:5000", login); err != nil || v.Username != "me" {
		t.Fatalf("put: %+v, %v", v, err)
	}
	sealed := get[auth.SealedCredential](b, store.Credentials+"registry.example.com:5000")
	if got, err := b.key.OpenCredential(*sealed); err != nil || got != login {
		t.Errorf("opened %+v, %v", got, err)
	}
	if strings.Contains(b.dump(), "hunter2") || strings.Contains(b.log.String(), "hunter2") {
		t.Error("the password stands in the clear")
	}
	if v, err := b.client.Credential(b.ctx(), "registry.example.com:5000"); err != nil || v.Host != "registry.example.com:5000" {
		t.Errorf("get: %+v, %v", v, err)
	}
	if list, err := b.client.Credentials(b.ctx()); err != nil || len(list) != 1 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if err := b.client.DeleteCredential(b.ctx(), "registry.example.com:5000"); err != nil {
		t.Fatal(err)
	}
	_, err := b.client.Credential(b.ctx(), "registry.example.com:5000")
	wantKind(t, err, api.NotFound)
	wantKind(t, b.client.DeleteCredential(b.ctx(), "ghcr.io"), api.NotFound, "ghcr.io")
}

// withTasks gives an environment a release and a few tasks.
func withTasks(b *bench) {
	b.deployed(api.DeployRequest{Spec: spec()})
	now := time.Now()
	for i, id := range []string{"aaa111", "aab222", "ccc333"} {
		b.put(store.TaskKey(id), api.Task{ID: id, EnvRef: shop, Service: "web", Slot: 3 - i, Release: 1, Node: "n1", Desired: api.WantRunning, CreatedAt: now})
	}
	b.put(store.StatusKey("aaa111"), api.TaskStatus{Task: "aaa111", State: api.TaskReady})
	b.put(store.StatusKey("ccc333"), api.TaskStatus{Task: "ccc333", State: api.TaskFailed, Cause: api.CauseExit})
	b.put(store.TaskKey("zzz999"), api.Task{ID: "zzz999", EnvRef: api.EnvRef{App: "shop", Env: "production2"}, Service: "web", Slot: 1})
}

func TestTasks(t *testing.T) {
	b := newBench(t)
	_, err := b.client.Tasks(b.ctx(), shop, false)
	wantKind(t, err, api.NotFound)
	withTasks(b)
	ids := func(all bool) (ids []string) {
		list, err := b.client.Tasks(b.ctx(), shop, all)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range list {
			ids = append(ids, v.ID)
		}
		return ids
	}
	if got := ids(false); !slices.Equal(got, []string{"aab222", "aaa111"}) {
		t.Errorf("live tasks %q", got)
	}
	if got := ids(true); !slices.Equal(got, []string{"ccc333", "aab222", "aaa111"}) {
		t.Errorf("all tasks %q", got)
	}
	for _, id := range []string{"aaa111", "aaa", "c"} {
		if v, err := b.client.Task(b.ctx(), id); err != nil || !strings.HasPrefix(v.ID, id) || v.Status.State == "" {
			t.Errorf("task %s: %+v, %v", id, v, err)
		}
	}
	_, err = b.client.Task(b.ctx(), "aa")
	wantKind(t, err, api.Invalid, `id: "aa"`, "2 tasks", "aaa111", "aab222")
	_, err = b.client.Task(b.ctx(), "nope")
	wantKind(t, err, api.NotFound, "task nope")
}

func TestEnvironments(t *testing.T) {
	b := newBench(t)
	if list, err := b.client.Environments(b.ctx()); err != nil || list == nil || len(list) != 0 {
		t.Errorf("environments %v, %v", list, err)
	}
	_, err := b.client.Environment(b.ctx(), shop)
	wantKind(t, err, api.NotFound, "environment shop/production")
	withTasks(b)
	b.tasks.logs["ccc333"] = []api.LogLine{{Text: "starting"}, {Text: "panic: no database"}}
	s, err := b.client.Environment(b.ctx(), shop)
	if err != nil || s.State != api.HealthDegraded || len(s.Services) != 1 || s.Services[0].Ready != 1 || s.Services[0].Want != 2 {
		t.Fatalf("status %+v, %v", s, err)
	}
	if !strings.Contains(s.Services[0].Problem, "last output: panic: no database") {
		t.Errorf("problem %q", s.Services[0].Problem)
	}
	list, err := b.client.Environments(b.ctx())
	if err != nil || len(list) != 1 || list[0].EnvRef != shop || list[0].Deployment.Number != 1 {
		t.Errorf("environments %+v, %v", list, err)
	}
	if list, err := b.client.Releases(b.ctx(), shop); err != nil || len(list) != 1 || list[0].Number != 1 {
		t.Errorf("releases %+v, %v", list, err)
	}
	_, err = b.client.Release(b.ctx(), shop, 5)
	wantKind(t, err, api.NotFound, "release 5 of shop/production")
	_, err = b.client.Deployment(b.ctx(), shop, 5)
	wantKind(t, err, api.NotFound, "deployment 5 of shop/production")
	_, err = b.client.Releases(b.ctx(), api.EnvRef{App: "a", Env: "b"})
	wantKind(t, err, api.NotFound)
}

func TestMissingPartsAreUnavailable(t *testing.T) {
	full := newBench(t)
	withTasks(full)
	c := full.bare()
	ctx := full.ctx()
	_, err := c.Deploy(ctx, api.DeployRequest{Spec: spec()})
	wantKind(t, err, api.Unavailable, "images")
	_, err = c.Prune(ctx, api.PruneRequest{})
	wantKind(t, err, api.Unavailable, "housekeeper")
	_, err = c.Build(ctx, api.BuildRequest{EnvRef: shop, Service: "web", Session: "s"}, nil)
	wantKind(t, err, api.Unavailable, "builder")
	_, err = c.DialSession(ctx, "h2c", nil)
	wantKind(t, err, api.Unavailable, "builder")
	_, err = c.Exec(ctx, api.ExecRequest{Task: "aaa111", Command: []string{"true"}}, client.ExecStreams{})
	wantKind(t, err, api.Unavailable, "tasks")
	wantKind(t, c.Logs(ctx, shop, api.LogRequest{}, nil), api.Unavailable, "tasks")
	wantKind(t, c.Shutdown(ctx), api.Unavailable)
	if _, err := server.New(server.Deps{}); err == nil {
		t.Error("a server without a store was made")
	}
}
