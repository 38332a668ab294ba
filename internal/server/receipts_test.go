package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

func TestSignedReceipt(t *testing.T) {
	b := newBench(t)
	b.update(func(tx store.Tx) error {
		if err := store.Put(tx, store.EnvironmentKey(shop), api.Environment{EnvRef: shop, Release: 1}); err != nil {
			return err
		}
		spec := api.AppSpec{Services: map[string]api.ServiceSpec{"web": {Image: "shop@sha256:1"}}}
		if err := store.Put(tx, store.ReleaseKey(shop, 1), api.Release{EnvRef: shop, Number: 1, Spec: spec, Commit: "c0ffee", CreatedBy: "ann"}); err != nil {
			return err
		}
		for n, state := range map[uint64]api.DeploymentState{1: api.DeploySucceeded, 2: api.DeployRunning} {
			d := api.Deployment{EnvRef: shop, Number: n, To: 1, State: state, Receipt: api.Receipt{Requests: 7}}
			if err := store.Put(tx, store.DeploymentKey(shop, n), d); err != nil {
				return err
			}
		}
		return nil
	})
	_, err := b.client.SignedReceipt(b.ctx(), shop, 2)
	wantKind(t, err, api.Conflict, "has not ended")
	e, err := b.client.SignedReceipt(b.ctx(), shop, 1)
	if err != nil {
		t.Fatal(err)
	}
	key, err := b.client.SigningKey(b.ctx())
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Receipt(key.Key)
	if err != nil {
		t.Fatal(err)
	}
	if r.Commit != "c0ffee" || r.ReleasedBy != "ann" || r.Images["web"] != "shop@sha256:1" || r.Deployment.Receipt.Requests != 7 || r.IssuedAt.IsZero() {
		t.Errorf("receipt is %+v", r)
	}
	_, err = e.Receipt(auth.NewSigner(append(make([]byte, 31), 1)).Public())
	wantKind(t, err, api.Invalid, "not signed by key")
	changed := e
	changed.Payload = append([]byte(" "), e.Payload...)
	_, err = changed.Receipt(key.Key)
	wantKind(t, err, api.Invalid, "was changed")
}

// What a client says of its builds is kept with the deployment, if it can be.
func TestBuildTimes(t *testing.T) {
	b := newBench(t)
	good := api.Build{Services: []string{"web"}, Image: "registry.test/web@sha256:1", Ago: api.Duration(3 * time.Minute), Took: api.Duration(time.Minute)}
	for want, change := range map[string]func(*api.Build){
		"builds[1].took":        func(b *api.Build) { b.Took = -1 },
		"builds[1].ago":         func(b *api.Build) { b.Ago = api.Duration(time.Second) },
		"builds[1].services":    func(b *api.Build) { b.Services = nil },
		"builds[1].services[1]": func(b *api.Build) { b.Services = []string{"web", strings.Repeat("x", 64)} },
		"builds[1].image":       func(b *api.Build) { b.Image = strings.Repeat("x", 600) },
	} {
		bad := good
		change(&bad)
		_, err := b.client.Deploy(b.ctx(), api.DeployRequest{Spec: spec(), Builds: []api.Build{good, bad}})
		wantKind(t, err, api.Invalid, want)
	}
	resp, err := b.client.Deploy(b.ctx(), api.DeployRequest{Spec: spec(), Builds: []api.Build{good}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.client.Deployment(b.ctx(), shop, resp.Deployment.Number)
	if err != nil || len(d.Builds) != 1 || d.Builds[0].Took != good.Took {
		t.Errorf("deployment %+v, %v", d, err)
	}
}
