package server

import (
	"context"
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

func viewOf(t api.Token, now time.Time) api.TokenView {
	v := api.TokenView{Name: t.Name, User: t.Holder(), Grants: t.Rights(), CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy,
		ExpiresAt: t.ExpiresAt, RotatedAt: t.RotatedAt}
	if now.Before(t.PreviousUntil) {
		v.OldUntil = t.PreviousUntil
	}
	return v
}

// whoami tells a caller what the server knows of them.
func (s *Server) whoami(ctx context.Context, _ *none) (api.Identity, error) {
	who := callerOf(ctx)
	return api.Identity{User: who.Name, Token: who.Token, Local: who.Local, Grants: who.Grants,
		ExpiresAt: who.ExpiresAt, Outdated: who.Outdated}, nil
}

func (s *Server) listTokens(ctx context.Context, _ *none) ([]api.TokenView, error) {
	tokens, err := list[api.Token](ctx, s, store.Tokens)
	views := make([]api.TokenView, 0, len(tokens))
	for _, t := range tokens {
		views = append(views, viewOf(t, s.now()))
	}
	return views, err
}

type createTokenInput struct {
	Body api.TokenRequest
}

func (s *Server) createToken(ctx context.Context, in *createTokenInput) (api.NewToken, error) {
	t, secret, err := auth.NewToken(in.Body, s.now())
	if err != nil {
		return api.NewToken{}, err
	}
	t.CreatedBy = callerOf(ctx).Name
	about(ctx, t.Name)
	_, err = s.store.Update(ctx, func(tx store.Tx) error {
		key := store.Tokens + t.Name
		if _, taken, err := tx.Get(key); err != nil || taken {
			if taken {
				err = &api.Error{Kind: api.Conflict, Field: "name", Value: t.Name, Expected: "a name that no token has; delete that one first"}
			}
			return err
		}
		if err := store.Put(tx, key, t); err != nil {
			return err
		}
		return store.AddEvent(tx, api.Event{Type: "token.created",
			Message: fmt.Sprintf("token %s of %s, with %s, was made by %s", t.Name, t.Holder(), t.Rights(), t.CreatedBy)})
	})
	if err != nil {
		return api.NewToken{}, err
	}
	return api.NewToken{TokenView: viewOf(t, s.now()), Secret: secret}, nil
}

type tokenInput struct {
	Name string `path:"name" maxLength:"63"`
}

type rotateTokenInput struct {
	Name string `path:"name" maxLength:"63"`
	Body *api.RotateRequest
}

// rotateToken gives a token a new secret. A token may do so itself, unless by a secret that was replaced already: who
// found that one must not make it last. It does not live longer for it, unless an admin of the cluster asks.
func (s *Server) rotateToken(ctx context.Context, in *rotateTokenInput) (api.NewToken, error) {
	var req api.RotateRequest
	if in.Body != nil {
		req = *in.Body
	}
	who := callerOf(ctx)
	admin := who.Grants.AllowCluster(api.RoleAdmin)
	switch {
	case who.Outdated && who.Token == in.Name:
		return api.NewToken{}, api.Errorf(api.Forbidden, "token %s has been rotated: use its new secret to rotate it again", in.Name)
	case !admin && req.ExpiresIn != 0:
		return api.NewToken{}, api.FieldError("expiresIn", req.ExpiresIn.String(), "none: only an admin on * prolongs a token")
	}
	var t api.Token
	var secret string
	_, err := s.store.Update(ctx, func(tx store.Tx) error {
		key := store.Tokens + in.Name
		old, err := store.Get[api.Token](tx, key)
		if err != nil {
			return err
		}
		if t, secret, err = auth.Rotate(*old, req, s.now()); err != nil {
			return err
		}
		if !admin {
			t.ExpiresAt = old.ExpiresAt
		}
		if err := store.Put(tx, key, t); err != nil {
			return err
		}
		return store.AddEvent(tx, api.Event{Type: "token.rotated", Message: "token " + in.Name + " was given a new secret by " + who.Name})
	})
	if err != nil {
		return api.NewToken{}, err
	}
	return api.NewToken{TokenView: viewOf(t, s.now()), Secret: secret}, nil
}

func (s *Server) deleteToken(ctx context.Context, in *tokenInput) (struct{}, error) {
	by := callerOf(ctx).Name
	_, err := s.store.Update(ctx, func(tx store.Tx) error {
		key := store.Tokens + in.Name
		if _, err := store.Get[api.Token](tx, key); err != nil {
			return err
		}
		tx.Delete(key)
		return store.AddEvent(tx, api.Event{Type: "token.deleted", Message: "token " + in.Name + " was removed by " + by})
	})
	return struct{}{}, err
}
