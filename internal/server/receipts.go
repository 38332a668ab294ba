package server

import (
	"context"
	"encoding/json"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/store"
)

// signReceipt gives the receipt of a deployment that has ended, signed by this node.
func (s *Server) signReceipt(ctx context.Context, in *numberInput) (api.Envelope, error) {
	if s.deps.Signer == nil {
		return api.Envelope{}, api.Errorf(api.Unavailable, "this node signs nothing")
	}
	d, _, err := s.loadDeployment(ctx, in)
	if err != nil {
		return api.Envelope{}, err
	}
	if !d.State.Final() {
		return api.Envelope{}, api.Errorf(api.Conflict, "deployment %d of %s has not ended: it is %s", d.Number, d.EnvRef, d.State)
	}
	r := api.SignedReceipt{Deployment: d, IssuedAt: s.now(), Node: s.deps.Version.Node}
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		release, err := store.Find[api.Release](tx, store.ReleaseKey(in.ref(), d.To))
		if err != nil || release == nil { // it may be gone already
			return err
		}
		r.Commit, r.Message, r.ReleasedBy, r.Hash = release.Commit, release.Message, release.CreatedBy, release.Hash
		r.Images = map[string]string{}
		for name, spec := range release.Spec.Services {
			r.Images[name] = spec.Image
		}
		return nil
	})
	if err != nil {
		return api.Envelope{}, err
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return api.Envelope{}, api.Errorf(api.Internal, "encode receipt: %w", err)
	}
	return s.deps.Signer.Sign(api.ReceiptType, payload), nil
}

// getSigningKey gives the key by which this node's receipts are checked.
func (s *Server) getSigningKey(context.Context, *none) (api.SigningKey, error) {
	if s.deps.Signer == nil {
		return api.SigningKey{}, api.Errorf(api.Unavailable, "this node signs nothing")
	}
	public := s.deps.Signer.Public()
	return api.SigningKey{ID: api.KeyID(public), Key: public}, nil
}
