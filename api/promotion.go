package api

// Origin is the release that another one was made from, in another environment of the app.
type Origin struct {
	Env     string `json:"env"`
	Release uint64 `json:"release"`
}

// String gives "staging@4".
func (o Origin) String() string { return o.Env + "@" + itoa(int(o.Release)) }

// Moves gives a copy of services hosts and ports that the original does not have.
type Moves struct {
	// Hosts replaces hosts of routes: "shop.example.com" → "staging.example.com". The key "*" is a route without a
	// host; a value of "*" leaves the route without one.
	Hosts map[string]string `json:"hosts,omitempty"`
	// Ports replaces published ports, "8080" → 18080; 0 publishes the port no more.
	Ports map[string]uint16 `json:"ports,omitempty"`
}

// PromoteRequest asks for a release with the images of another environment's release and with the environment's own
// configuration. Nothing is built.
type PromoteRequest struct {
	From    string `json:"from"`              // environment of the same app
	Release uint64 `json:"release,omitempty"` // of that; 0 is the committed one
	// Spec is what an environment without a release begins with; its images are replaced. Without it, it begins with
	// the source's spec. An environment that has a release keeps its own, and Spec must be nil.
	Spec    *AppSpec `json:"spec,omitempty"`
	Moves            // for services that only the source has
	Message string   `json:"message,omitempty"`
	DryRun  bool     `json:"dryRun,omitempty"` // only tell what would change
}

// PromoteResponse tells what a promotion changed, or would change.
type PromoteResponse struct {
	DeployResponse
	From    Origin   `json:"from"`
	Changes []Change `json:"changes"` // from the committed release to the new one
}

// Diff lists what differs between two releases of an app.
type Diff struct {
	From    Origin   `json:"from"`
	To      Origin   `json:"to"`
	Changes []Change `json:"changes"`
}

// Change is one field that differs. Values are written as in the release's JSON; text stands without quotes where that
// is plain. Of a config a hash is shown, of a secret its version.
type Change struct {
	Field string `json:"field"`          // "services.web.image", "services.web.routes[example.com/].timeout"
	From  string `json:"from,omitempty"` // "": it is not there
	To    string `json:"to,omitempty"`   // "": it is not there
}

// CreateEnvironmentRequest makes an environment: an empty one, or with From a copy of another that is deployed at once.
type CreateEnvironmentRequest struct {
	From    string `json:"from,omitempty"`    // environment of the same app
	Release uint64 `json:"release,omitempty"` // of that; 0 is the committed one
	Moves
	Scale   ScaleRequest      `json:"scale,omitempty"`   // replicas by hand, as for scale
	Secrets map[string][]byte `json:"secrets,omitempty"` // values in place of the source's
	TTL     Duration          `json:"ttl,omitempty"`     // 0: it stays
	Message string            `json:"message,omitempty"`
}

// CreateEnvironmentResponse tells what was made.
type CreateEnvironmentResponse struct {
	Environment Environment     `json:"environment"`
	From        *Origin         `json:"from,omitempty"`
	Deployment  *DeployResponse `json:"deployment,omitempty"` // of a copy
}

// TTLRequest says for how long an environment stays, from now on.
type TTLRequest struct {
	TTL Duration `json:"ttl"` // 0: for good
}
