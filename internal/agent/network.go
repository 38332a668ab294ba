package agent

import (
	"context"
	"net/netip"

	"github.com/ikada/ikada/api"
)

// Network is what the agent needs of the node's network: a namespace with an address on ikada's bridge for each
// task, names, isolation between environments, and egress. Safe for concurrent use; methods that find their work
// already done succeed.
type Network interface {
	// Attach makes the endpoint's network namespace and connects it. Called again with the same ID it gives the same
	// attachment. Errors of kind Exhausted when no address is left.
	Attach(ctx context.Context, e Endpoint) (Attachment, error)

	// Detach removes the namespace and gives the address back. An unknown ID is no error.
	Detach(ctx context.Context, id string) error

	// Publish tells under which names an endpoint is found; called again when its readiness changes. Names of
	// endpoints that are not ready are not answered with its address.
	Publish(id string, ready bool)

	// Listening gives the TCP addresses on which an endpoint's processes accept connections, sorted. Errors of kind
	// NotFound for an unknown ID.
	Listening(id string) ([]netip.AddrPort, error)

	// Expose opens the services' virtual addresses to the members of their networks, in place of what was open
	// before: a TCP connection to one goes to the node's balancer, a datagram to one of the targets. Datagrams of
	// a client that was being answered by a target that is gone go to another one a moment later.
	Expose(services []api.Inside) error

	// Reconcile detaches every endpoint whose ID is not in keep, also those that an earlier process left behind.
	Reconcile(ctx context.Context, keep []string) error
}

// Endpoint is one task's place in the network.
type Endpoint struct {
	ID       string   // the task's
	Networks []Member // networks it shares with others; tasks reach each other only within one
	Hostname string
	Internal bool              // every network it is in is internal: no egress
	Hosts    map[string]string // extra /etc/hosts entries, name → address or "host-gateway"
	DNS      []string          // name servers of its own; empty: the node's
	Search   []string
	Sysctls  map[string]string // only net.*; set inside its namespace
}

// Member is a membership in a network, and the names it is known by there.
type Member struct {
	Network string   // unique on the node: "app/env/network"
	Names   []string // service name, aliases, "service.slot"
}

// Attachment is what a container needs of its endpoint.
type Attachment struct {
	Netns      string // path
	Address    string // IPv4
	ResolvConf string // path of a file to mount at /etc/resolv.conf
	Hosts      string // path of a file to mount at /etc/hosts
	HostName   string // path of a file to mount at /etc/hostname
}
