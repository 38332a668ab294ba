package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

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

// maxBuildTime bounds what a client may say of its builds.
const maxBuildTime = 24 * time.Hour

// checkBuilds refuses what a client says of its builds where that cannot be.
func checkBuilds(builds []api.Build) error {
	if len(builds) > api.MaxBuilds {
		return api.FieldError("builds", strconv.Itoa(len(builds)), fmt.Sprintf("at most %d builds", api.MaxBuilds))
	}
	for i, b := range builds {
		field := fmt.Sprintf("builds[%d].", i)
		switch {
		case b.Took < 0 || b.Took.Std() > maxBuildTime:
			return api.FieldError(field+"took", b.Took.String(), "a duration between 0s and "+maxBuildTime.String())
		case b.Ago < b.Took || b.Ago.Std() > 2*maxBuildTime:
			return api.FieldError(field+"ago", b.Ago.String(), fmt.Sprintf("a duration between took (%s) and %s", b.Took, 2*maxBuildTime))
		case len(b.Image) > maxImageName:
			return api.FieldError(field+"image", fmt.Sprintf("%d bytes", len(b.Image)), fmt.Sprintf("at most %d bytes", maxImageName))
		case len(b.Services) == 0 || len(b.Services) > api.MaxBuilds:
			return api.FieldError(field+"services", strconv.Itoa(len(b.Services)), fmt.Sprintf("1 to %d services", api.MaxBuilds))
		}
		for j, name := range b.Services {
			if name == "" || len(name) > api.MaxName {
				return api.FieldError(fmt.Sprintf("%sservices[%d]", field, j), name, "the name of a service")
			}
		}
	}
	return nil
}

// maxImageName bounds the reference of an image, in bytes: a name, a tag and a digest.
const maxImageName = 512
