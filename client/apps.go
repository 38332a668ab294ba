package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ikada/ikada/api"
)

// Version tells which ikada answers.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	return fetch[api.Version](ctx, c, http.MethodGet, "/version", nil, nil)
}

// Health tells whether the server takes requests. It needs no token.
func (c *Client) Health(ctx context.Context) (api.Health, error) {
	return fetch[api.Health](ctx, c, http.MethodGet, "/health", nil, nil)
}

// Environments gives the status of every environment, sorted by app and name.
func (c *Client) Environments(ctx context.Context) ([]api.EnvironmentStatus, error) {
	return fetch[[]api.EnvironmentStatus](ctx, c, http.MethodGet, "/apps", nil, nil)
}

// Environment gives the status of one environment.
func (c *Client) Environment(ctx context.Context, ref api.EnvRef) (api.EnvironmentStatus, error) {
	return fetch[api.EnvironmentStatus](ctx, c, http.MethodGet, envPath(ref), nil, nil)
}

// Deploy makes a release of the spec and queues the deployment to it.
func (c *Client) Deploy(ctx context.Context, req api.DeployRequest) (api.DeployResponse, error) {
	ref := api.EnvRef{App: req.Spec.App, Env: req.Spec.Env}
	return fetch[api.DeployResponse](ctx, c, http.MethodPost, envPath(ref, "deployments"), nil, req)
}

// Promote makes a release of another environment's images for an environment, and queues the deployment to it; with
// DryRun it only tells what would change.
func (c *Client) Promote(ctx context.Context, ref api.EnvRef, req api.PromoteRequest) (api.PromoteResponse, error) {
	return fetch[api.PromoteResponse](ctx, c, http.MethodPost, envPath(ref, "promote"), nil, req)
}

// Plan tells what a deployment would do, step by step, as it is rehearsed; nothing is written.
func (c *Client) Plan(ctx context.Context, ref api.EnvRef, req api.PlanRequest) (api.PlanResponse, error) {
	return fetch[api.PlanResponse](ctx, c, http.MethodPost, envPath(ref, "plan"), nil, req)
}

// Diff lists what differs between two releases of an app. An environment of "" in to is that of from; releases of 0
// are the committed ones.
func (c *Client) Diff(ctx context.Context, app string, from, to api.Origin) (api.Diff, error) {
	query := url.Values{}
	if from.Release != 0 {
		query.Set("release", decimal(from.Release))
	}
	if to.Env != "" {
		query.Set("toEnv", to.Env)
	}
	if to.Release != 0 {
		query.Set("toRelease", decimal(to.Release))
	}
	return fetch[api.Diff](ctx, c, http.MethodGet, envPath(api.EnvRef{App: app, Env: from.Env}, "diff"), query, nil)
}

// CreateEnvironment makes an environment, empty or as a copy that is deployed at once.
func (c *Client) CreateEnvironment(ctx context.Context, ref api.EnvRef, req api.CreateEnvironmentRequest) (api.CreateEnvironmentResponse, error) {
	return fetch[api.CreateEnvironmentResponse](ctx, c, http.MethodPost, envPath(ref), nil, req)
}

// SetTTL says for how long an environment stays, from now on; 0 is for good.
func (c *Client) SetTTL(ctx context.Context, ref api.EnvRef, ttl api.Duration) (api.Environment, error) {
	return fetch[api.Environment](ctx, c, http.MethodPut, envPath(ref, "ttl"), nil, api.TTLRequest{TTL: ttl})
}

// Rollback queues the deployment back to a kept release.
func (c *Client) Rollback(ctx context.Context, ref api.EnvRef, req api.RollbackRequest) (api.DeployResponse, error) {
	return fetch[api.DeployResponse](ctx, c, http.MethodPost, envPath(ref, "rollback"), nil, req)
}

// Restart queues a deployment of the committed release with fresh tasks.
func (c *Client) Restart(ctx context.Context, ref api.EnvRef, req api.RestartRequest) (api.DeployResponse, error) {
	return fetch[api.DeployResponse](ctx, c, http.MethodPost, envPath(ref, "restart"), nil, req)
}

// Deployments gives an environment's deployments, the newest first.
func (c *Client) Deployments(ctx context.Context, ref api.EnvRef) ([]api.Deployment, error) {
	return fetch[[]api.Deployment](ctx, c, http.MethodGet, envPath(ref, "deployments"), nil, nil)
}

// Deployment gives one deployment.
func (c *Client) Deployment(ctx context.Context, ref api.EnvRef, n uint64) (api.Deployment, error) {
	return fetch[api.Deployment](ctx, c, http.MethodGet, envPath(ref, "deployments", decimal(n)), nil, nil)
}

// SignedReceipt gives the receipt of a deployment that has ended, signed by the server's node.
func (c *Client) SignedReceipt(ctx context.Context, ref api.EnvRef, n uint64) (api.Envelope, error) {
	return fetch[api.Envelope](ctx, c, http.MethodGet, envPath(ref, "deployments", decimal(n), "receipt"), nil, nil)
}

// SigningKey gives the key by which the node's receipts are checked.
func (c *Client) SigningKey(ctx context.Context) (api.SigningKey, error) {
	return fetch[api.SigningKey](ctx, c, http.MethodGet, "/receipt-key", nil, nil)
}

// PauseDeployment has a running deployment stay where it is.
func (c *Client) PauseDeployment(ctx context.Context, ref api.EnvRef, n uint64) (api.Deployment, error) {
	return fetch[api.Deployment](ctx, c, http.MethodPost, envPath(ref, "deployments", decimal(n), "pause"), nil, nil)
}

// ResumeDeployment has a deployment go on that is paused, or stands at a step that holds.
func (c *Client) ResumeDeployment(ctx context.Context, ref api.EnvRef, n uint64) (api.Deployment, error) {
	return fetch[api.Deployment](ctx, c, http.MethodPost, envPath(ref, "deployments", decimal(n), "resume"), nil, nil)
}

// CancelDeployment asks to cancel a deployment: a queued one ends at once, a running one goes back to the release
// that it came from.
func (c *Client) CancelDeployment(ctx context.Context, ref api.EnvRef, n uint64) (api.Deployment, error) {
	return fetch[api.Deployment](ctx, c, http.MethodPost, envPath(ref, "deployments", decimal(n), "cancel"), nil, nil)
}

// Releases gives an environment's kept releases, the newest first.
func (c *Client) Releases(ctx context.Context, ref api.EnvRef) ([]api.Release, error) {
	return fetch[[]api.Release](ctx, c, http.MethodGet, envPath(ref, "releases"), nil, nil)
}

// Release gives one release.
func (c *Client) Release(ctx context.Context, ref api.EnvRef, n uint64) (api.Release, error) {
	return fetch[api.Release](ctx, c, http.MethodGet, envPath(ref, "releases", decimal(n)), nil, nil)
}

// Tasks gives an environment's tasks by service and slot; with all, those that have ended too.
func (c *Client) Tasks(ctx context.Context, ref api.EnvRef, all bool) ([]api.TaskView, error) {
	return fetch[[]api.TaskView](ctx, c, http.MethodGet, envPath(ref, "tasks"), flag("all", all), nil)
}

// Task gives one task by its ID or the beginning of it that no other ID shares.
func (c *Client) Task(ctx context.Context, id string) (api.TaskView, error) {
	return fetch[api.TaskView](ctx, c, http.MethodGet, path("tasks", id), nil, nil)
}

// Scale sets replicas of services and gives the environment as it is then.
func (c *Client) Scale(ctx context.Context, ref api.EnvRef, req api.ScaleRequest) (api.Environment, error) {
	return fetch[api.Environment](ctx, c, http.MethodPost, envPath(ref, "scale"), nil, req)
}

// Down stops every task of an environment until the next deploy or Up.
func (c *Client) Down(ctx context.Context, ref api.EnvRef) (api.Environment, error) {
	return fetch[api.Environment](ctx, c, http.MethodPost, envPath(ref, "down"), nil, nil)
}

// Up starts again what Down stopped.
func (c *Client) Up(ctx context.Context, ref api.EnvRef) (api.Environment, error) {
	return fetch[api.Environment](ctx, c, http.MethodPost, envPath(ref, "up"), nil, nil)
}

// Destroy removes an environment with its releases; with volumes, its named volumes too. It returns once that is
// decided; Environment answers NotFound once it is done.
func (c *Client) Destroy(ctx context.Context, ref api.EnvRef, volumes bool) (api.Environment, error) {
	return fetch[api.Environment](ctx, c, http.MethodDelete, envPath(ref), flag("volumes", volumes), nil)
}

// Secrets gives the secrets of an environment, without their values.
func (c *Client) Secrets(ctx context.Context, ref api.EnvRef) ([]api.SecretView, error) {
	return fetch[[]api.SecretView](ctx, c, http.MethodGet, envPath(ref, "secrets"), nil, nil)
}

// SetSecret sets a secret of an environment, and has what uses it deployed anew unless told otherwise.
func (c *Client) SetSecret(ctx context.Context, ref api.EnvRef, name string, req api.SecretRequest) (api.SettingsResponse, error) {
	return fetch[api.SettingsResponse](ctx, c, http.MethodPut, envPath(ref, "secrets", name), nil, req)
}

// DeleteSecret removes a secret of an environment that nothing uses.
func (c *Client) DeleteSecret(ctx context.Context, ref api.EnvRef, name string) error {
	return c.call(ctx, http.MethodDelete, envPath(ref, "secrets", name), nil, nil, nil)
}

// RevealSecret gives a secret in the clear; the server writes down who asked.
func (c *Client) RevealSecret(ctx context.Context, ref api.EnvRef, name string) (api.SecretValue, error) {
	return fetch[api.SecretValue](ctx, c, http.MethodPost, envPath(ref, "secrets", name, "reveal"), nil, nil)
}

// Config gives the variables of an environment.
func (c *Client) Config(ctx context.Context, ref api.EnvRef) ([]api.VariableView, error) {
	return fetch[[]api.VariableView](ctx, c, http.MethodGet, envPath(ref, "config"), nil, nil)
}

// ChangeConfig sets and unsets variables of an environment, and has it deployed with them unless told otherwise.
func (c *Client) ChangeConfig(ctx context.Context, ref api.EnvRef, req api.ConfigRequest) (api.SettingsResponse, error) {
	return fetch[api.SettingsResponse](ctx, c, http.MethodPost, envPath(ref, "config"), nil, req)
}

// RotateKey makes a new key and has all secrets and logins sealed with it.
func (c *Client) RotateKey(ctx context.Context) (api.KeyRotation, error) {
	return fetch[api.KeyRotation](ctx, c, http.MethodPost, "/secrets/rotate-key", nil, nil)
}

func envPath(ref api.EnvRef, more ...string) string {
	return path(append([]string{"apps", ref.App, "envs", ref.Env}, more...)...)
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

func flag(name string, on bool) url.Values {
	if !on {
		return nil
	}
	return url.Values{name: {"true"}}
}
