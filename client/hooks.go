package client

import (
	"context"
	"net/http"

	"github.com/ikada/ikada/api"
)

// Hooks gives every web hook, by name, with how it does.
func (c *Client) Hooks(ctx context.Context) ([]api.HookView, error) {
	return fetch[[]api.HookView](ctx, c, http.MethodGet, "/hooks", nil, nil)
}

// CreateHook makes a web hook; its secret is given only now.
func (c *Client) CreateHook(ctx context.Context, req api.HookRequest) (api.NewHook, error) {
	return fetch[api.NewHook](ctx, c, http.MethodPost, "/hooks", nil, req)
}

// DeleteHook removes a web hook; what it was not told of yet is forgotten.
func (c *Client) DeleteHook(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, path("hooks", name), nil, nil, nil)
}

// TestHook sends a test to a web hook, once.
func (c *Client) TestHook(ctx context.Context, name string) (api.HookResult, error) {
	return fetch[api.HookResult](ctx, c, http.MethodPost, path("hooks", name, "test"), nil, nil)
}
