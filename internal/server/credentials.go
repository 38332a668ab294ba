package server

import (
	"context"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

// HostPath is the part of a path that names a registry.
type HostPath struct {
	Host string `path:"host" maxLength:"253" pattern:"^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?$" patternDescription:"a registry's host, such as ghcr.io or registry.example.com:5000"`
}

type putCredentialInput struct {
	HostPath
	Body api.CredentialRequest
}

func (s *Server) listCredentials(ctx context.Context, _ *none) ([]api.Credential, error) {
	sealed, err := list[auth.SealedCredential](ctx, s, store.Credentials)
	logins := make([]api.Credential, 0, len(sealed))
	for _, c := range sealed {
		logins = append(logins, c.Credential)
	}
	return logins, err
}

func (s *Server) putCredential(ctx context.Context, in *putCredentialInput) (api.Credential, error) {
	switch {
	case in.Body.Username == "":
		return api.Credential{}, api.FieldError("username", "", "a user name; what the registry's manual says for tokens")
	case in.Body.Password == "":
		return api.Credential{}, api.FieldError("password", "", "a password or token")
	}
	var sealed auth.SealedCredential
	by := callerOf(ctx).Name
	err := s.updateSealed(ctx, func(tx store.Tx) error {
		sealed = s.key.SealCredential(in.Host, in.Body, s.now())
		if err := store.Put(tx, store.Credentials+in.Host, sealed); err != nil {
			return err
		}
		return store.AddEvent(tx, api.Event{Type: "credential.set", Message: "the login at " + in.Host + " was set by " + by})
	})
	return sealed.Credential, err
}

func (s *Server) getCredential(ctx context.Context, in *HostPath) (api.Credential, error) {
	var c *auth.SealedCredential
	_, err := s.store.View(ctx, func(tx store.Tx) (err error) {
		c, err = store.Get[auth.SealedCredential](tx, store.Credentials+in.Host)
		return err
	})
	if err != nil {
		return api.Credential{}, err
	}
	return c.Credential, nil
}

func (s *Server) deleteCredential(ctx context.Context, in *HostPath) (struct{}, error) {
	by := callerOf(ctx).Name
	_, err := s.store.Update(ctx, func(tx store.Tx) error {
		key := store.Credentials + in.Host
		if _, err := store.Get[auth.SealedCredential](tx, key); err != nil {
			return err
		}
		tx.Delete(key)
		return store.AddEvent(tx, api.Event{Type: "credential.deleted", Message: "the login at " + in.Host + " was removed by " + by})
	})
	return struct{}{}, err
}
