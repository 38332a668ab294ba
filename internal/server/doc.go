// Package server is the HTTP side of the control plane: the API under /api/v1 with its OpenAPI document, the streams,
// and the gate in front of these and of the registry.
//
// Handlers check a request whole, then write what users own (environments' wishes, releases, deployments, secrets,
// tokens) in one transaction, together with the events that tell of it; controllers react to that. They never place,
// start or stop a task. Reads are views on the store, so a caller always reads its own writes. What a node or
// another part has to do is asked for through the small interfaces of [Deps].
//
// It owns its sockets and the certificate that it shows there (listen.go, certificate.go), who may call what (rules.go), and
// how a service's tasks are summed up in a word and a sentence ([Summarize]). All methods are safe for concurrent use.
// Start at [New] and [Server.Serve]; routes.go lists every operation.
package server
