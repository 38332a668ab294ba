// Package network is the node's network: one bridge and one IPv4 subnet an instance, a pinned network namespace and
// an address for each task, the way to the virtual addresses of services, and the rules that keep the rest apart.
//
// It owns, all named after the instance, the bridge ("ik-…") with the route of the virtual addresses, the veth pairs
// ("iv-…"), the nftables tables "ikada-…" of the families ip and bridge, the namespaces under STATE/netns, and
// the files under STATE/netfiles. It never touches what others made, but for two accept rules at the head of an
// iptables chain that would otherwise drop everything (see [Network.Problems]); it never talks to the store. It
// publishes no port and answers no name: that is the balancer's work, to whose process it announces who is on the
// bridge ([Config.Announce]).
//
// All of it outlives the process. What exists is read again by [Network.Start] from one record an endpoint, written
// only after all of it was made: a namespace without a record is a remnant and is removed; and from one record of the
// services that are exposed.
//
// Isolation is decided where a frame enters the bridge from a task, by its port and its IPv4 addresses alone, so
// that no choice of hardware address, route or source address leads around it; what is neither ARP nor IPv4 is
// dropped there. A service's virtual address is in that a member of the service's networks. The ip table then sends
// what is for a virtual address on (see virtual.go), and governs what reaches the node itself and what leaves it.
//
// Every exported method is safe for concurrent use. Start at [New], [Network.Start], [Network.Attach] and
// [Network.Expose].
package network
