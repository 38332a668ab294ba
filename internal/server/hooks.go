package server

import (
	"context"
	"fmt"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/auth"
	"github.com/ikada/ikada/internal/store"
)

// Hooks sends to web hooks.
type Hooks interface {
	// Test sends a message that says that it is a test, once, and gives what became of it.
	Test(ctx context.Context, h api.Hook, target api.HookTarget, by string) (api.HookResult, error)
}

type hookInput struct {
	Name string `path:"name" maxLength:"63"`
}

type createHookInput struct {
	Body api.HookRequest
}

func (s *Server) listHooks(ctx context.Context, _ *none) (out []api.HookView, err error) {
	_, err = s.store.View(ctx, func(tx store.Tx) error {
		out = []api.HookView{}
		all, err := store.List[api.SealedHook](tx, store.Hooks)
		if err != nil {
			return err
		}
		for _, h := range all {
			v := api.HookView{Hook: h.Hook}
			state, err := store.Find[api.HookState](tx, store.HookStates+h.Name)
			if err != nil {
				return err
			}
			if state != nil {
				v.State = *state
			}
			out = append(out, v)
		}
		return nil
	})
	return out, err
}

func (s *Server) createHook(ctx context.Context, in *createHookInput) (api.NewHook, error) {
	h, err := in.Body.Hook()
	if err != nil {
		return api.NewHook{}, err
	}
	about(ctx, h.Name)
	h.CreatedAt, h.CreatedBy = s.now(), callerOf(ctx).Name
	secret := auth.NewHookSecret()
	err = s.updateSealed(ctx, func(tx store.Tx) error {
		sealed, err := s.key.SealHook(h, api.HookTarget{URL: in.Body.URL, Secret: secret})
		if err != nil {
			return err
		}
		all, err := tx.List(store.Hooks)
		if err != nil {
			return err
		}
		if len(all) >= api.MaxHooks {
			return api.Errorf(api.Exhausted, "there are %d hooks, which is the most; remove one first", len(all))
		}
		key := store.Hooks + h.Name
		if _, taken, err := tx.Get(key); err != nil || taken {
			if taken {
				err = &api.Error{Kind: api.Conflict, Field: "name", Value: h.Name, Expected: "a name that no hook has; remove that one first"}
			}
			return err
		}
		if err := store.Put(tx, key, sealed); err != nil {
			return err
		}
		return store.AddEvent(tx, api.Event{Type: "hook.created", Message: fmt.Sprintf("hook %s to %s was made by %s", h.Name, h.Host, h.CreatedBy)})
	})
	if err != nil {
		return api.NewHook{}, err
	}
	return api.NewHook{Hook: h, Secret: secret}, nil
}

func (s *Server) deleteHook(ctx context.Context, in *hookInput) (struct{}, error) {
	by := callerOf(ctx).Name
	_, err := s.store.Update(ctx, func(tx store.Tx) error {
		key := store.Hooks + in.Name
		if _, err := store.Get[api.SealedHook](tx, key); err != nil {
			return err
		}
		tx.Delete(key)
		tx.Delete(store.HookStates + in.Name)
		return store.AddEvent(tx, api.Event{Type: "hook.deleted", Message: "hook " + in.Name + " was removed by " + by})
	})
	return struct{}{}, err
}

// testHook sends a test to a hook, from the node that is asked.
func (s *Server) testHook(ctx context.Context, in *hookInput) (api.HookResult, error) {
	if s.deps.Hooks == nil {
		return api.HookResult{}, missing("way to send to hooks")
	}
	var h *api.SealedHook
	_, err := s.store.View(ctx, func(tx store.Tx) (err error) {
		h, err = store.Get[api.SealedHook](tx, store.Hooks+in.Name)
		return err
	})
	if err != nil {
		return api.HookResult{}, err
	}
	target, err := s.key.OpenHook(*h)
	if err != nil {
		return api.HookResult{}, err
	}
	return s.deps.Hooks.Test(ctx, h.Hook, target, callerOf(ctx).Name)
}
