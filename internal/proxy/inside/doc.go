// Package inside is how the tasks of a node reach services by name: the name service on the node's bridge, and the
// connections to virtual addresses that the node's firewall redirects to the balancer.
//
// A service has one virtual address, which the names of the service resolve to for as long as it exists, so that a
// client which caches names or keeps connections never holds the address of a task that is gone. [Original] tells
// which address and port a redirected connection was meant for. [Names] answers DNS: who is on the bridge it learns
// from the node's network ([Names.Announce]), which services there are from the route table ([Names.Route]), and
// what it knows of neither it asks outside name servers for. It goes on answering while ikada itself is dead.
//
// The package never decides who may reach whom: the network's firewall guards addresses, and names are only seen
// within a shared network because their addresses are only of use there. It makes no address and no rule.
//
// A [Directory] is immutable. The exported methods of Names are safe for concurrent use; [Names.Run] owns its
// goroutines. Start at [Names] and [Directory.Resolve].
package inside
