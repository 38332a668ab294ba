package store

import (
	"fmt"

	"github.com/ikada/ikada/api"
)

// Root is the prefix of every key; its number is the version of the layout.
const Root = "/ikada/1/"

// The prefixes of the kinds. A key is its kind's prefix and the object's name.
const (
	Environments = Root + "environments/" // app/env → api.Environment
	Releases     = Root + "releases/"     // app/env/%010d → api.Release
	Deployments  = Root + "deployments/"  // app/env/%010d → api.Deployment
	Tasks        = Root + "tasks/"        // id → api.Task
	Statuses     = Root + "statuses/"     // task id → api.TaskStatus
	Nodes        = Root + "nodes/"        // name → api.Node
	Leases       = Root + "leases/"       // node name → "", leased: the node is alive while it is there
	Balancers    = Root + "balancers/"    // node name → api.BalancerStatus
	Events       = Root + "events/"       // id → api.Event
	Secrets      = Root + "secrets/"      // app/env/version → api.SealedSecret
	Tokens       = Root + "tokens/"       // name → api.Token
	Credentials  = Root + "credentials/"  // registry host → sealed login
	Elections    = Root + "elections/"    // name → holder, leased
)

// EnvironmentKey is the key of an environment.
func EnvironmentKey(r api.EnvRef) string { return Environments + r.String() }

// ReleaseKey is the key of a release.
func ReleaseKey(r api.EnvRef, n uint64) string { return fmt.Sprintf("%s%s/%010d", Releases, r, n) }

// DeploymentKey is the key of a deployment.
func DeploymentKey(r api.EnvRef, n uint64) string {
	return fmt.Sprintf("%s%s/%010d", Deployments, r, n)
}
