// Package control holds the loops that make the world what users asked for: one environment at a time is read from
// the store's mirror, planned by the pure planners, and the plan written back in one fenced transaction.
//
// The loops run only in the elected leader. They are driven by changes and by the times that the planners ask for,
// re-read everything each time, and keep nothing between two runs but what the balancer has counted of the
// requests of a release that is judged, and under which name, and the answers of its checks that are not written yet. They
// write desired state; statuses are the agents'. Start at [Loop.Run].
package control
