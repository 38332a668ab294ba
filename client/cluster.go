package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ikada/ikada/api"
)

// Nodes gives every node, by name.
func (c *Client) Nodes(ctx context.Context) ([]api.Node, error) {
	return fetch[[]api.Node](ctx, c, http.MethodGet, "/nodes", nil, nil)
}

// Tokens gives every token, by name.
func (c *Client) Tokens(ctx context.Context) ([]api.TokenView, error) {
	return fetch[[]api.TokenView](ctx, c, http.MethodGet, "/tokens", nil, nil)
}

// CreateToken makes a token; its secret is given only now.
func (c *Client) CreateToken(ctx context.Context, req api.TokenRequest) (api.NewToken, error) {
	return fetch[api.NewToken](ctx, c, http.MethodPost, "/tokens", nil, req)
}

// RotateToken gives a token a new secret, which is given only now. The old one lets in for a grace time besides.
func (c *Client) RotateToken(ctx context.Context, name string, req api.RotateRequest) (api.NewToken, error) {
	return fetch[api.NewToken](ctx, c, http.MethodPost, path("tokens", name, "rotate"), nil, req)
}

// WhoAmI tells whom the server takes the caller for.
func (c *Client) WhoAmI(ctx context.Context) (api.Identity, error) {
	return fetch[api.Identity](ctx, c, http.MethodGet, "/whoami", nil, nil)
}

// Audit gives who called what on the server's node, the oldest first.
func (c *Client) Audit(ctx context.Context, q api.AuditQuery) ([]api.AuditRecord, error) {
	query := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	if !q.Since.IsZero() {
		query.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	return fetch[[]api.AuditRecord](ctx, c, http.MethodGet, "/audit", query, nil)
}

// DeleteToken takes a token's access away.
func (c *Client) DeleteToken(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, path("tokens", name), nil, nil, nil)
}

// Credentials gives the kept registry logins, by host, without their passwords.
func (c *Client) Credentials(ctx context.Context) ([]api.Credential, error) {
	return fetch[[]api.Credential](ctx, c, http.MethodGet, "/credentials", nil, nil)
}

// Credential gives the kept login of a registry ("ghcr.io", "registry.example.com:5000"), without its password.
func (c *Client) Credential(ctx context.Context, host string) (api.Credential, error) {
	return fetch[api.Credential](ctx, c, http.MethodGet, path("credentials", host), nil, nil)
}

// PutCredential keeps a registry's login.
func (c *Client) PutCredential(ctx context.Context, host string, req api.CredentialRequest) (api.Credential, error) {
	return fetch[api.Credential](ctx, c, http.MethodPut, path("credentials", host), nil, req)
}

// DeleteCredential forgets a registry's login.
func (c *Client) DeleteCredential(ctx context.Context, host string) error {
	return c.call(ctx, http.MethodDelete, path("credentials", host), nil, nil, nil)
}

// Prune removes what nothing needs any more, and tells what that was.
func (c *Client) Prune(ctx context.Context, req api.PruneRequest) (api.PruneReport, error) {
	return fetch[api.PruneReport](ctx, c, http.MethodPost, "/prune", nil, req)
}

// Shutdown stops ikada on the server's node, tasks included. Only over the unix socket. It returns once the server
// has begun; the socket is gone when it is done.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/shutdown", nil, nil, nil)
}
