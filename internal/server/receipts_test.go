package server_test

import (
	"testing"

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
