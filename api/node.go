package api

import (
	"strconv"
	"time"
)

// Node is a machine that runs the agent.
type Node struct {
	Name     string            `json:"name"`
	Labels   map[string]string `json:"labels,omitempty"`
	Drained  bool              `json:"drained,omitempty"` // takes no tasks
	Hostname string            `json:"hostname"`
	Arch     string            `json:"arch"`
	OS       string            `json:"os"`
	CPUMilli int64             `json:"cpuMillis"`   // thousandths of a core
	Memory   int64             `json:"memoryBytes"` // bytes
	Version  string            `json:"version"`     // of ikada
	Address  string            `json:"address"`
	SeenAt   time.Time         `json:"seenAt"`
	Short    bool              `json:"short,omitempty"`    // of memory: nothing stays warm there
	Problems []string          `json:"problems,omitempty"` // what ails the machine and what to do about it, a sentence each
	Down     bool              `json:"down,omitempty"`     // its lease ran out
	Drop     []string          `json:"drop,omitempty"`     // volumes of destroyed environments that its agent is to remove
}

// BalancerStatus is what a node's balancer confirms; the node's agent writes it.
type BalancerStatus struct {
	Node    string            `json:"node"`
	Version uint64            `json:"version"`           // of the route table in force
	Picks   []string          `json:"picks,omitempty"`   // task IDs it may send new requests to, sorted
	Drains  map[string]int    `json:"drains,omitempty"`  // task no longer picked, as Task.Leave names it → requests still in flight
	Problem map[string]string `json:"problem,omitempty"` // listener address → why it could not be opened
}

func itoa(n int) string { return strconv.Itoa(n) }
