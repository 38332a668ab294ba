package server

import (
	"context"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

func viewOf(t api.Token) api.TokenView {
	return api.TokenView{Name: t.Name, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt}
}

func (s *Server) listTokens(ctx context.Context, _ *none) ([]api.TokenView, error) {
	tokens, err := list[api.Token](ctx, s, store.Tokens)
	views := make([]api.TokenView, 0, len(tokens))
	for _, t := range tokens {
		views = append(views, viewOf(t))
	}
	return views, err
}

type createTokenInput struct {
	Body api.TokenRequest
}

func (s *Server) createToken(ctx context.Context, in *createTokenInput) (api.NewToken, error) {
	t, secret, err := auth.NewToken(in.Body.Name, in.Body.ExpiresIn.Std(), s.now())
	if err != nil {
		return api.NewToken{}, err
	}
	by := callerOf(ctx).Name
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
		return store.AddEvent(tx, api.Event{Type: "token.created", Message: "token " + t.Name + " was made by " + by})
	})
	if err != nil {
		return api.NewToken{}, err
	}
	return api.NewToken{TokenView: viewOf(t), Secret: secret}, nil
}

type tokenInput struct {
	Name string `path:"name" maxLength:"63"`
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
