// Package agent runs a node's tasks: it takes assignments from the control plane, moves each task one step at a
// time from assigned to stopped, probes its health, feeds the node's balancer, and reports what became of it.
//
// It declares what it needs of the container runtime, the network and the balancer ([Runtime], [Network],
// [Balancer]); it never reads the store. Tasks go on when the agent is stopped or killed, and a new agent takes
// them over.
//
// Each task has a goroutine of its own, and [Agent.Run] joins them all. Start at [Agent.Run], then [Runtime] and the
// steps of a task in task.go.
package agent
