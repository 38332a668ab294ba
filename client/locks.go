package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/ikada/ikada/api"
)

// Under makes every later request run under a session's lock, whose [api.Lock.Pass] is given: what the lock keeps others
// from is then accepted, and refused once the lock is lost. "" is none. Call it before the first request.
func (c *Client) Under(pass string) { c.lock = pass }

// Lock locks an environment. The error is of kind Conflict, and says who, why and until when, while another holds a
// lock.
func (c *Client) Lock(ctx context.Context, ref api.EnvRef, req api.LockRequest) (api.Lock, error) {
	return fetch[api.Lock](ctx, c, http.MethodPut, envPath(ref, "lock"), nil, req)
}

// RenewLock holds a session's lock on. The error is of kind Conflict once it is lost.
func (c *Client) RenewLock(ctx context.Context, ref api.EnvRef, id string) (api.Lock, error) {
	return fetch[api.Lock](ctx, c, http.MethodPost, envPath(ref, "lock", "renew"), nil, api.RenewRequest{ID: id})
}

// GetLock gives the lock of an environment; the error is of kind NotFound when there is none.
func (c *Client) GetLock(ctx context.Context, ref api.EnvRef) (api.Lock, error) {
	return fetch[api.Lock](ctx, c, http.MethodGet, envPath(ref, "lock"), nil, nil)
}

// Unlock ends a lock: that with the ID, with "" the caller's own; with force, whoever holds it. The error is of kind
// NotFound when there is none.
func (c *Client) Unlock(ctx context.Context, ref api.EnvRef, id string, force bool) error {
	query := url.Values{}
	if id != "" {
		query.Set("id", id)
	}
	if force {
		query.Set("force", "true")
	}
	return c.call(ctx, http.MethodDelete, envPath(ref, "lock"), query, nil, nil)
}
