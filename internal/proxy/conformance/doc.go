// Package conformance holds the balancer against suites that were not written beside it: h2spec's cases for HTTP/2 and
// HPACK, WebSocket with client libraries, gRPC's own interoperability client, a corpus of request-smuggling attacks run
// side by side with nginx and HAProxy, and valid HTTP that few clients send.
//
// It is tests only and owns no code of the product. It drives the balancer from outside, as [proxy.New], Apply and Run
// with sockets on loopback, and never looks into it, so that it holds whatever engine serves. nginx and HAProxy are
// started when they are installed; else what they answered last stands in testdata. Tests run side by side; each has a
// balancer of its own.
//
// Start at setup_test.go, then smuggling_test.go and the corpus in testdata/smuggling.
//
// [proxy.New]: https://pkg.go.dev/github.com/ikada/ikada/internal/proxy#New
package conformance
