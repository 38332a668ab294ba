// Package testcluster is a whole control plane and its nodes in one process, for tests of how the parts work together:
// the store in memory, a mirror, an election with the control loop, a dispatcher, and for each node an agent with a
// runtime, a network and a balancer in memory.
//
// Its parts can be killed at any moment, links cut, and answers lost; a killed part reaches nothing any more, as after
// SIGKILL. Everything runs in one testing/synctest bubble, so that minutes pass in no time, and every change of the
// store is held against the invariants (see check.go). It decides nothing itself. Safe for use from one goroutine, the
// test's. Start at [New].
package testcluster
