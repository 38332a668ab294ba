package inside

import (
	"net/netip"
	"slices"
)

// Bridge is a node's bridge with everyone on it.
type Bridge struct {
	Version  uint64         `json:"version"`  // tells an announcement from others; who passes them on gives it
	Subnet   netip.Prefix   `json:"subnet"`   // of the addresses on it
	Gateway  netip.Addr     `json:"gateway"`  // the node's own address on it, where names are asked for
	Services netip.Prefix   `json:"services"` // the virtual addresses are of this range
	Door     netip.AddrPort `json:"door"`     // where connections to virtual addresses are redirected to
	Hosts    []Host         `json:"hosts,omitempty"`
}

// Host is one address on the bridge: a task's, or that of a build step, which is in no network.
type Host struct {
	ID       string       `json:"id"`
	Address  netip.Addr   `json:"address"`
	Ready    bool         `json:"ready,omitempty"`    // its names are answered with its address
	Internal bool         `json:"internal,omitempty"` // it has no way out of the node, also not by questions
	Networks []Membership `json:"networks,omitempty"`
	Servers  []netip.Addr `json:"servers,omitempty"` // name servers that it wants asked instead of the node's
}

// Membership is a host's place in one network.
type Membership struct {
	Network string   `json:"network"` // unique on the node: "app/env/network"
	Names   []string `json:"names,omitempty"`
}

func (h *Host) in(network string) bool {
	return slices.ContainsFunc(h.Networks, func(m Membership) bool { return m.Network == network })
}
