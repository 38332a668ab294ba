// Package proxy is the node's load balancer: it accepts connections on the shared HTTP port and on every published
// port, sends each request or connection to one of the targets that the route table in force names, and counts what
// became of it.
//
// It owns the listening sockets, the connections to targets, the counts of requests in flight and the meters. It
// never decides who is a target: tables come from outside through [Proxy.Apply], and the package never sees the
// store, a task's health or a container.
//
// The hand-over rests on one rule: a request is routed, given its target and counted in flight there under a read
// lock, and Apply swaps tables under the write lock. So once Apply has returned, every request that an older table
// placed is already in the counts that [Proxy.Status] reports, and no further one can join it. A request that must
// choose again (its target refused the connection, or there was none) does so from the newest table.
//
// All exported methods are safe for concurrent use. [Proxy.Run] owns every goroutine. Start reading at [Proxy], then
// exchange (one HTTP request), passage (one TCP connection) and search (how either finds its target).
package proxy
