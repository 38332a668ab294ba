package agent

import "github.com/ikada/ikada/api"

// Balancer is what the agent needs of the node's load balancer.
type Balancer interface {
	// Apply puts a route table in force and returns once no request can be sent by an older one. Tables with a
	// version that is not higher than the one in force are ignored.
	Apply(t *api.RouteTable)

	// Status gives the version in force, the targets it may pick, and how many requests are still in flight at
	// targets it no longer picks (a target leaves that list when the count is zero and it was reported so once).
	Status() api.BalancerStatus

	// Changed delivers a value after Status has changed; changes that come close together may be merged.
	Changed() <-chan struct{}
}
