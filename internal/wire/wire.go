// Package wire is what the control plane and a node's agent say to each other: a [Session] carries assignments down
// and reports up.
//
// It holds the messages and the contract and decides nothing. On a server the two ends meet in one process; the
// messages are plain data so that they can cross a network as they are. Start at [Dispatcher].
package wire

import (
	"context"

	"github.com/ikada/ikada/api"
)

// Dispatcher is the control plane as an agent sees it.
type Dispatcher interface {
	// Open begins a node's session; the node counts as alive while it lasts. A node has one session: an older one is
	// ended.
	Open(ctx context.Context, node api.Node) (Session, error)
}

// Session is one agent's connection to the control plane. Safe for concurrent use.
type Session interface {
	// Assignments delivers the node's whole set of tasks and the newest route table, once at the beginning and then
	// whenever something changed; what was not received in time is replaced by what is newer. It is closed when the
	// session has ended.
	Assignments() <-chan Assignments

	// Release gives a release; it is immutable, so that the agent may keep it.
	Release(ctx context.Context, env api.EnvRef, number uint64) (*api.Release, error)

	// Secret gives a secret's plain value.
	Secret(ctx context.Context, env api.EnvRef, version string) ([]byte, error)

	// Report writes statuses down; when it returns nil they are kept. A state that would go backwards is ignored.
	Report(ctx context.Context, r Report) error

	// Close ends the session. The node's lease runs out a while later, unless a new session is opened.
	Close()
}

// Assignments is everything that a node is to run and to route.
type Assignments struct {
	Tasks   []Assignment    // also ended ones that are kept: their logs stay
	Table   *api.RouteTable // immutable
	Volumes []string        // names of volumes that a destroyed environment left to be removed
}

// Assignment is a task with the last status that the control plane has of it.
type Assignment struct {
	api.Task
	Status *api.TaskStatus // nil: none yet
}

// Report is what an agent has to say.
type Report struct {
	Statuses []api.TaskStatus
	Balancer *api.BalancerStatus // nil: unchanged
	Events   []api.Event         // without ID
	Short    *bool               // whether the node is short of memory; nil: unchanged
	Problems *[]string           // what ails the node; nil: unchanged
	Dropped  []string            // volumes that were removed, as Assignments asked
}
