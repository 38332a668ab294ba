// Package fake is a network in memory for tests of what uses one: it gives out addresses, knows names, and makes no
// namespace. The files of an attachment do not exist. Safe for concurrent use. Start at [New].
package fake

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/network/pool"
	"github.com/ikada/ikada/internal/network/roster"
	"github.com/ikada/ikada/internal/proxy/inside"
)

// Network implements agent.Network. What tests want to go wrong they say by Fail.
type Network struct {
	subnet netip.Prefix

	mu     sync.Mutex
	pool   *pool.Pool
	roster roster.Roster
	fail   func(op, id string) error

	services []api.Inside
}

var _ agent.Network = (*Network)(nil)

// New makes a network of the subnet; the zero value is 10.99.0.0/16.
func New(subnet netip.Prefix) (*Network, error) {
	if !subnet.IsValid() {
		subnet = netip.MustParsePrefix("10.99.0.0/16")
	}
	p, err := pool.New(subnet)
	if err != nil {
		return nil, err
	}
	return &Network{subnet: subnet.Masked(), pool: p}, nil
}

// Fail has f asked before every "attach" and "detach" of an endpoint; its error becomes the call's. nil ends it.
func (n *Network) Fail(f func(op, id string) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = f
}

// Attach implements agent.Network.
func (n *Network) Attach(ctx context.Context, e agent.Endpoint) (agent.Attachment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.ID == "" {
		return agent.Attachment{}, api.FieldError("endpoint.id", "", "a task's ID")
	}
	if err := n.ask(ctx, "attach", e.ID); err != nil {
		return agent.Attachment{}, err
	}
	if have, ok := n.roster.Get(e.ID); ok {
		return attachment(have), nil
	}
	a, err := n.pool.Take()
	if err != nil {
		return agent.Attachment{}, err
	}
	entry := roster.Entry{Endpoint: e, Address: a}
	n.roster.Put(entry)
	return attachment(entry), nil
}

// AttachBuild is Attach of an endpoint in no network.
func (n *Network) AttachBuild(ctx context.Context, id string) (agent.Attachment, error) {
	return n.Attach(ctx, agent.Endpoint{ID: id})
}

// Detach implements agent.Network.
func (n *Network) Detach(ctx context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.detach(ctx, id)
}

func (n *Network) detach(ctx context.Context, id string) error {
	if err := n.ask(ctx, "detach", id); err != nil {
		return err
	}
	if e, ok := n.roster.Get(id); ok {
		n.roster.Remove(id)
		n.pool.Give(e.Address)
	}
	return nil
}

// Publish implements agent.Network.
func (n *Network) Publish(id string, ready bool) { n.roster.SetReady(id, ready) }

// Listening implements agent.Network: nothing listens in memory.
func (n *Network) Listening(id string) ([]netip.AddrPort, error) {
	if _, ok := n.roster.Get(id); !ok {
		return nil, api.Errorf(api.NotFound, "endpoint %s is not attached", id)
	}
	return nil, nil
}

// Expose implements agent.Network.
func (n *Network) Expose(services []api.Inside) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.services = services
	return nil
}

// Reconcile implements agent.Network.
func (n *Network) Reconcile(ctx context.Context, keep []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	kept := map[string]bool{}
	for _, id := range keep {
		kept[id] = true
	}
	for _, id := range n.roster.IDs() {
		if kept[id] {
			continue
		}
		if err := n.detach(ctx, id); err != nil {
			return fmt.Errorf("reconcile: %w", err)
		}
	}
	return nil
}

func (n *Network) ask(ctx context.Context, op, id string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", op, id, err)
	}
	if n.fail == nil {
		return nil
	}
	return n.fail(op, id)
}

// Lookup gives the addresses that an endpoint would find under a name, sorted; nil when it may not know the name.
func (n *Network) Lookup(id, name string) []netip.Addr {
	e, ok := n.roster.Get(id)
	if !ok {
		return nil
	}
	n.mu.Lock()
	services := n.services
	n.mu.Unlock()
	addrs, _ := inside.NewDirectory(inside.Bridge{Hosts: n.roster.Hosts()}, services).Resolve(e.Address, name)
	return addrs
}

// Endpoint gives what was attached under an ID, its address and whether it is published as ready.
func (n *Network) Endpoint(id string) (roster.Entry, bool) { return n.roster.Get(id) }

// Endpoints gives the IDs of all endpoints, sorted.
func (n *Network) Endpoints() []string { return n.roster.IDs() }

func attachment(e roster.Entry) agent.Attachment {
	dir := filepath.Join("/nonexistent/netfiles", e.ID)
	return agent.Attachment{
		Netns: filepath.Join("/nonexistent/netns", e.ID), Address: e.Address.String(),
		ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts"),
		HostName: filepath.Join(dir, "hostname"),
	}
}
