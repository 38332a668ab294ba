package server_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
	"github.com/ikada/ikada/internal/store"
)

// as gives a client with a token of its own.
func (b *bench) as(req api.TokenRequest) *client.Client {
	b.t.Helper()
	token, err := b.client.CreateToken(b.ctx(), req)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := client.New(b.remote.URL, token.Secret)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// changes is everything that a lock keeps others from.
func changes(b *bench, c *client.Client) map[string]error {
	b.t.Helper()
	ctx := b.ctx()
	out := map[string]error{}
	_, out["deploy"] = c.Deploy(ctx, api.DeployRequest{Spec: spec(), Force: true})
	_, out["rollback"] = c.Rollback(ctx, shop, api.RollbackRequest{})
	_, out["restart"] = c.Restart(ctx, shop, api.RestartRequest{})
	_, out["scale"] = c.Scale(ctx, shop, api.ScaleRequest{"web": 3})
	_, out["down"] = c.Down(ctx, shop)
	_, out["up"] = c.Up(ctx, shop)
	_, out["destroy"] = c.Destroy(ctx, shop, false)
	_, out["build"] = c.Build(ctx, api.BuildRequest{EnvRef: shop, Service: "web", Session: "s1", Spec: api.BuildSpec{Context: "."}}, nil)
	return out
}

func TestLockKeepsOthersOut(t *testing.T) {
	b := newBench(t)
	ann, bob := b.as(api.TokenRequest{Name: "ann"}), b.as(api.TokenRequest{Name: "bob"})
	b.deployed(api.DeployRequest{Spec: spec()})
	b.deployed(api.DeployRequest{Spec: spec(image("registry.test/web:2"))})
	lock, err := ann.Lock(b.ctx(), shop, api.LockRequest{For: api.Duration(2 * time.Hour), Why: "the database moves"})
	if err != nil || lock.Holder != "ann" || lock.ExpiresAt.Sub(lock.CreatedAt) != 2*time.Hour {
		t.Fatalf("%+v, %v", lock, err)
	}
	before := b.dump()
	for what, err := range changes(b, bob) {
		if !api.IsKind(err, api.Conflict) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		wantKind(t, err, api.Conflict, "ann", "the database moves", lock.ExpiresAt.Format("15:04:05"))
	}
	if b.dump() != before {
		t.Error("what was refused has changed something")
	}
	_, err = bob.Lock(b.ctx(), shop, api.LockRequest{})
	wantKind(t, err, api.Conflict, "ann")
	wantKind(t, bob.Unlock(b.ctx(), shop, "", false), api.Conflict, "ann")
	status, err := bob.Environment(b.ctx(), shop)
	if err != nil || status.Lock == nil || status.Lock.ID != lock.ID || status.Lock.Why != lock.Why {
		t.Errorf("status %+v, %v", status.Lock, err)
	}
	// The holder passes, and may prolong it.
	if _, err := ann.Scale(b.ctx(), shop, api.ScaleRequest{"web": 3}); err != nil {
		t.Errorf("the holder: %v", err)
	}
	longer, err := ann.Lock(b.ctx(), shop, api.LockRequest{For: api.Duration(3 * time.Hour)})
	if err != nil || longer.ID != lock.ID || !longer.ExpiresAt.After(lock.ExpiresAt) {
		t.Errorf("prolonged: %+v, %v", longer, err)
	}
	// Others deploy to other environments meanwhile.
	staging := api.EnvRef{App: "shop", Env: "staging"}
	if _, err := bob.Deploy(b.ctx(), api.DeployRequest{Spec: spec(inEnv(staging, 18081))}); err != nil {
		t.Errorf("another environment: %v", err)
	}
	// An admin breaks it.
	if err := bob.Unlock(b.ctx(), shop, "", true); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Scale(b.ctx(), shop, api.ScaleRequest{"web": 1}); err != nil {
		t.Errorf("after the lock was broken: %v", err)
	}
	wantKind(t, bob.Unlock(b.ctx(), shop, "", false), api.NotFound, "not locked")
	types := b.eventTypes()
	for _, want := range []string{"lock.taken", "lock.broken"} {
		if !slices.Contains(types, want) {
			t.Errorf("no event %s among %v", want, types)
		}
	}
}

func TestLockEndsByItself(t *testing.T) {
	b := newBench(t)
	b.deployed(api.DeployRequest{Spec: spec()})
	bob := b.as(api.TokenRequest{Name: "bob"})
	gone := api.EnvRef{App: "gone", Env: "production"}
	past := time.Now().Add(-time.Millisecond)
	for _, ref := range []api.EnvRef{shop, gone} {
		b.put(store.LockKey(ref), api.Lock{EnvRef: ref, ID: "x", Holder: "ann", ExpiresAt: past})
	}
	if _, err := bob.Scale(b.ctx(), shop, api.ScaleRequest{"web": 1}); err != nil {
		t.Errorf("after its time: %v", err)
	}
	if status, err := bob.Environment(b.ctx(), shop); err != nil || status.Lock != nil {
		t.Errorf("status tells of a lock that has ended: %+v, %v", status.Lock, err)
	}
	_, err := bob.GetLock(b.ctx(), shop)
	wantKind(t, err, api.NotFound)
	if _, err := bob.Lock(b.ctx(), shop, api.LockRequest{}); err != nil {
		t.Fatal(err)
	}
	if get[api.Lock](b, store.LockKey(gone)) != nil {
		t.Error("the lock of an environment that is gone stays for ever")
	}
	if _, err := bob.Destroy(b.ctx(), shop, false); err != nil || get[api.Lock](b, store.LockKey(shop)) != nil {
		t.Errorf("the lock outlives its environment: %v", err)
	}
}

func TestSessionLockIsForWhatRunsUnderIt(t *testing.T) {
	b := newBench(t)
	ci := api.TokenRequest{Name: "ci"}
	job := b.as(ci)
	lock, err := job.Lock(b.ctx(), shop, api.LockRequest{Session: true}) // before the first deploy
	if err != nil || lock.ExpiresAt.Sub(lock.CreatedAt) != api.SessionLock {
		t.Fatalf("%+v, %v", lock, err)
	}
	_, err = job.Deploy(b.ctx(), api.DeployRequest{Spec: spec()})
	wantKind(t, err, api.Conflict, "a command of theirs runs")
	_, err = job.Lock(b.ctx(), shop, api.LockRequest{Session: true})
	wantKind(t, err, api.Conflict, "ci")
	wantKind(t, job.Unlock(b.ctx(), shop, "", false), api.Conflict, "ci")
	job.Under(lock.Pass())
	if _, err := job.Deploy(b.ctx(), api.DeployRequest{Spec: spec()}); err != nil {
		t.Errorf("under the lock: %v", err)
	}
	renewed, err := job.RenewLock(b.ctx(), shop, lock.ID)
	if err != nil || !renewed.ExpiresAt.After(lock.ExpiresAt) {
		t.Errorf("renew: %+v, %v", renewed, err)
	}
	if err := job.Unlock(b.ctx(), shop, lock.ID, false); err != nil {
		t.Fatal(err)
	}
	// What relies on a lock that is gone is refused, elsewhere it passes.
	_, err = job.Scale(b.ctx(), shop, api.ScaleRequest{"web": 1})
	wantKind(t, err, api.Conflict, "is lost")
	_, err = job.RenewLock(b.ctx(), shop, lock.ID)
	wantKind(t, err, api.Conflict, "is lost")
	other := api.EnvRef{App: "shop", Env: "staging"}
	if _, err := job.Deploy(b.ctx(), api.DeployRequest{Spec: spec(inEnv(other, 18081))}); err != nil {
		t.Errorf("another environment: %v", err)
	}
	// One that has expired is not renewed, though nobody has taken it: others may have passed.
	b.put(store.LockKey(shop), api.Lock{EnvRef: shop, ID: "old", Holder: "ci", Session: true, ExpiresAt: time.Now().Add(-time.Second)})
	_, err = job.RenewLock(b.ctx(), shop, "old")
	wantKind(t, err, api.Conflict, "is lost")
}

func TestLockRefusesBadInput(t *testing.T) {
	b := newBench(t)
	_, err := b.client.Lock(b.ctx(), shop, api.LockRequest{})
	wantKind(t, err, api.NotFound, "shop/production")
	b.deployed(api.DeployRequest{Spec: spec()})
	for _, req := range []api.LockRequest{
		{For: api.Duration(-time.Second)}, {For: api.Duration(time.Millisecond)}, {For: api.Duration(api.MaxLock + 1)},
		{Session: true, For: api.Duration(time.Minute)}, {Why: string(make([]byte, api.MaxLockWhy+1))},
	} {
		if _, err := b.client.Lock(b.ctx(), shop, req); !api.IsKind(err, api.Invalid) {
			t.Errorf("%+v: %v", req.For, err)
		}
	}
	lock, err := b.client.Lock(b.ctx(), shop, api.LockRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.client.RenewLock(b.ctx(), shop, lock.ID)
	wantKind(t, err, api.Invalid, "id")
	if _, err := b.client.Destroy(b.ctx(), shop, false); err != nil {
		t.Fatal(err)
	}
	_, err = b.client.Lock(b.ctx(), shop, api.LockRequest{})
	wantKind(t, err, api.Conflict, "destroyed")
}

// A deployment that runs under a lock is its maker's to cancel.
func TestLockAndCancel(t *testing.T) {
	b := newBench(t)
	ann, bob := b.as(api.TokenRequest{Name: "ann"}), b.as(api.TokenRequest{Name: "bob"})
	d, err := bob.Deploy(b.ctx(), api.DeployRequest{Spec: spec()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.Lock(b.ctx(), shop, api.LockRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err = ann.CancelDeployment(b.ctx(), shop, d.Deployment.Number)
	wantKind(t, err, api.Conflict, "root")
	if _, err := bob.CancelDeployment(b.ctx(), shop, d.Deployment.Number); err != nil {
		t.Errorf("its maker: %v", err)
	}
}
