// Package proxy is the node's load balancer: it accepts connections on the shared HTTP and HTTPS ports, on every
// published port and for the virtual addresses of services, sends each request or connection to one of the targets that
// the route table in force names, and counts what became of it.
//
// It owns the listening sockets, the connections of clients and to targets, the counts of requests in flight and the
// meters. It never decides who is a target: tables come from outside through [Proxy.Apply], and the package never sees
// the store, a task's health or a container. What a message of HTTP/1 is, what a route does with its requests, which
// target is next and how things are counted is decided in packages below: http1, policy, balance and meter.
//
// The hand-over rests on one rule: a request is routed, given its target and counted in flight there under a read
// lock, and Apply swaps tables under the write lock. So once Apply has returned, every request that an older table
// placed is already in the counts that [Proxy.Status] reports, and no further one can join it. A request that must
// choose again (its target refused the connection, or there was none) does so from the newest table.
//
// A client's connection of HTTP/1 is one goroutine's (conn), which also speaks with the target (upstream) and passes the
// answer on. While it waits, the watch looks after deadlines and whether the client is still there. HTTP/2 is net/http's
// at both ends (stream, tryHTTP2), behind the same exchange.
//
// All exported methods are safe for concurrent use. [Proxy.Run] owns every goroutine. Start reading at [Proxy], then
// door (what comes in), conn and exchange (one HTTP request), search (how it finds its target), pass (the answer), and
// passage (one TCP connection). handover.go is how one process follows another.
package proxy
