package store

import (
	"fmt"
	"strconv"
	"strings"

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
	Jobs         = Root + "jobs/"         // app/env/id → api.Job
	Crons        = Root + "crons/"        // app/env/service/name → api.Cron
	Nodes        = Root + "nodes/"        // name → api.Node
	Leases       = Root + "leases/"       // node name → "", leased: the node is alive while it is there
	Balancers    = Root + "balancers/"    // node name → api.BalancerStatus
	Events       = Root + "events/"       // id → api.Event
	Settings     = Root + "settings/"     // app/env → api.Settings
	Secrets      = Root + "secrets/"      // app/env/version → api.SealedSecret
	Tokens       = Root + "tokens/"       // name → api.Token
	Credentials  = Root + "credentials/"  // registry host → sealed login
	Elections    = Root + "elections/"    // name → holder, leased
	Locks        = Root + "locks/"        // app/env → api.Lock
	Hooks        = Root + "hooks/"        // name → api.SealedHook
	HookStates   = Root + "hookstates/"   // name → api.HookState
)

// EnvironmentKey is the key of an environment.
func EnvironmentKey(r api.EnvRef) string { return Environments + r.String() }

// LockKey is the key of an environment's lock, which may have expired.
func LockKey(r api.EnvRef) string { return Locks + r.String() }

// SettingsKey is the key of what users set for an environment.
func SettingsKey(r api.EnvRef) string { return Settings + r.String() }

// ReleaseKey is the key of a release.
func ReleaseKey(r api.EnvRef, n uint64) string { return fmt.Sprintf("%s%s/%010d", Releases, r, n) }

// DeploymentKey is the key of a deployment.
func DeploymentKey(r api.EnvRef, n uint64) string {
	return fmt.Sprintf("%s%s/%010d", Deployments, r, n)
}

// ReleasesOf is the prefix of an environment's releases.
func ReleasesOf(r api.EnvRef) string { return Releases + r.String() + "/" }

// DeploymentsOf is the prefix of an environment's deployments.
func DeploymentsOf(r api.EnvRef) string { return Deployments + r.String() + "/" }

// JobKey is the key of a job.
func JobKey(r api.EnvRef, id string) string { return JobsOf(r) + id }

// JobsOf is the prefix of an environment's jobs.
func JobsOf(r api.EnvRef) string { return Jobs + r.String() + "/" }

// CronKey is the key of a schedule's state.
func CronKey(c *api.Cron) string { return CronsOf(c.EnvRef) + c.Service + "/" + c.Name }

// CronsOf is the prefix of the states of an environment's schedules.
func CronsOf(r api.EnvRef) string { return Crons + r.String() + "/" }

// TaskKey is the key of a task.
func TaskKey(id string) string { return Tasks + id }

// StatusKey is the key of a task's status.
func StatusKey(task string) string { return Statuses + task }

// NodeKey is the key of a node.
func NodeKey(name string) string { return Nodes + name }

// SecretKey is the key of one version of an environment's secret.
func SecretKey(r api.EnvRef, version string) string { return SecretsOf(r) + version }

// SecretsOf is the prefix of all versions of an environment's secrets.
func SecretsOf(r api.EnvRef) string { return Secrets + r.String() + "/" }

// LeaseKey is the key that is there while a node is alive.
func LeaseKey(node string) string { return Leases + node }

// BalancerKey is the key of what a node's balancer confirms.
func BalancerKey(node string) string { return Balancers + node }

// Describe names a key's object for a user: "release 7 of shop/production", "task x1".
func Describe(key string) string {
	kind, name, ok := strings.Cut(strings.TrimPrefix(key, Root), "/")
	if !ok {
		return strconv.Quote(key)
	}
	switch kind {
	case "statuses":
		return "status of task " + name
	case "settings":
		return "settings of " + name
	}
	if kind == "jobs" {
		return "job " + name[strings.LastIndexByte(name, '/')+1:]
	}
	kind = strings.TrimSuffix(kind, "s")
	if i := strings.LastIndexByte(name, '/'); i >= 0 && (kind == "release" || kind == "deployment") {
		if n, err := strconv.ParseUint(name[i+1:], 10, 64); err == nil {
			return fmt.Sprintf("%s %d of %s", kind, n, name[:i])
		}
	}
	return kind + " " + name
}
