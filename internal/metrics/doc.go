// Package metrics tells what ikada has counted: as a page in Prometheus' text format ([Book.Write]), and by PromQL over
// the last ten minutes ([Book.Query]), without a server beside it.
//
// It counts nothing of requests itself. The balancer keeps ten minutes by the second: the page adds up what it is told
// of them, and a query reads them anew, so that between two questions nothing of them is held in memory, and queries see
// what was before a restart of ikada. Safe for concurrent use. Start at [New].
package metrics
