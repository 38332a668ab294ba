// Package meter counts what becomes of requests, keeps the last ten minutes of it by the second, remembers why requests
// failed, and writes the access log.
//
// It owns the counters, their rings, the explained failures and the log's files. It never decides anything: it does not
// know what a target is, whether a release is good, or whom to send a request to.
//
// What is counted together is a leaf ([Leaf]): one task behind one route. Everything else (an environment, a pool, a
// service, a release) is a sum over leaves that is made when it is asked for. The path of a request touches nothing but
// the cells of one shard of one leaf, with a few atomic additions. Once a second it takes a lock, when the first request
// of a new second moves the cells into the leaf's history; requests that follow each other by less than a second never
// wait for it. A leaf whose task has gone is folded into its release once its last request has ended, so that counters
// never go down and seconds stay readable.
//
// All exported methods are safe for concurrent use, but those of a [Histogram] and a [Result], which are plain values.
// [Meters.Run] and the [AccessLog] own the only goroutines. Start at [Meters] and [Leaf.Add]; [FaultLog] and
// [AccessLog] stand on their own.
package meter
