// Package network is the node's network: one bridge and one IPv4 subnet an instance, a pinned network namespace and
// an address for each task, the names by which tasks find each other, and the rules that keep the rest apart.
//
// It owns, all named after the instance, the bridge ("ik-…"), the veth pairs ("iv-…"), one nftables table for the
// families ip and bridge each ("ikada-…"), the namespaces under STATE/netns, the files under STATE/netfiles, and the
// DNS server on the gateway address. It never touches what others made, but for two accept rules at the head of an
// iptables chain that would otherwise drop everything (see [Network.Problems]); it never talks to the store, and it
// publishes no port: that is the balancer's work.
//
// Everything but the DNS server outlives the process. What exists is read again by [Network.Start] from one record
// an endpoint, written only after all of it was made: a namespace without a record is a remnant and is removed.
//
// Isolation is decided where a frame enters the bridge from a task, by its port and its IPv4 addresses alone, so
// that no choice of hardware address, route or source address leads around it; what is neither ARP nor IPv4 is
// dropped there. The ip table then governs what reaches the node itself and what leaves it.
//
// Every exported method is safe for concurrent use. Start at [New], [Network.Start] and [Network.Attach].
package network
