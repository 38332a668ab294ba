// Package client talks to ikada's HTTP API, over the unix socket of a server on this machine or over TCP with a
// token. The CLI and the end-to-end tests use it, and so can anyone.
//
// It holds no state besides connections and decides nothing. Every method takes a context; what the server refuses
// comes back as an *api.Error of the server's own kind, and a server that cannot be reached as one of kind
// Unavailable. Streams that follow something reconnect by themselves and go on where they broke off. A [Client] is
// safe for concurrent use. Start at [New].
package client
