package api

import (
	"strings"
	"time"
)

// TaskState is where a task stands. A task's state never goes backwards in the order of the constants.
type TaskState string

// The states of a task.
const (
	TaskPending  TaskState = "pending"  // no node yet, or its start is held back; Reason says why
	TaskAssigned TaskState = "assigned" // a node is chosen
	TaskPulling  TaskState = "pulling"
	TaskStarting TaskState = "starting"
	TaskRunning  TaskState = "running" // its process runs; its check has not passed yet
	TaskReady    TaskState = "ready"
	TaskDraining TaskState = "draining" // gets no new request; those in flight end
	TaskStopping TaskState = "stopping"
	TaskStopped  TaskState = "stopped" // as wanted, or, for what runs to its end, with exit code 0
	TaskFailed   TaskState = "failed"
	TaskUnknown  TaskState = "unknown" // the control plane's view when the node's lease ran out
)

var taskRank = map[TaskState]int{
	TaskPending: 1, TaskAssigned: 2, TaskPulling: 3, TaskStarting: 4, TaskRunning: 5, TaskReady: 6,
	TaskDraining: 7, TaskStopping: 8, TaskStopped: 9, TaskFailed: 9,
}

// Final tells whether a task in the state has ended.
func (s TaskState) Final() bool { return s == TaskStopped || s == TaskFailed }

// Before tells whether s comes earlier in a task's life than t. Unknown has no place in the order.
func (s TaskState) Before(t TaskState) bool { return taskRank[s] < taskRank[t] }

// Desired is what the control plane wants of a task; it only moves forward, but that a warm task may serve again.
type Desired string

// What may be desired of a task.
const (
	WantRunning  Desired = "running"
	WantWarm     Desired = "warm"     // out of every route table, and ready to serve again
	WantDraining Desired = "draining" // out of every route table; keeps its requests in flight
	WantStopped  Desired = "stopped"
)

// Runs tells whether an end of the task's process is not what is wanted.
func (d Desired) Runs() bool { return d == WantRunning || d == WantWarm }

// Task is one container of one release on one node. The control plane owns it; what becomes of it is in TaskStatus.
type Task struct {
	ID string `json:"id"`
	EnvRef
	Service   string    `json:"service"`
	Slot      int       `json:"slot"` // 1…replicas; a replacement keeps its slot
	Release   uint64    `json:"release"`
	Hash      string    `json:"hash"` // HashService of that release
	Node      string    `json:"node,omitempty"`
	Desired   Desired   `json:"desired"`
	Reason    string    `json:"reason,omitempty"`   // why it is pending, draining or to stop
	DesiredAt time.Time `json:"desiredAt,omitzero"` // when Desired last changed
	Left      int       `json:"left,omitempty"`     // how many times it was taken out of the balancers
	WarmAt    time.Time `json:"warmAt,omitzero"`    // when it was taken out and kept ready; zero once it serves again
	Fault     Cause     `json:"fault,omitempty"`    // set when the control plane takes it out because it is at fault
	Attempt   int       `json:"attempt,omitempty"`  // failures in a row of its slot before it
	NotBefore time.Time `json:"notBefore,omitzero"` // backoff: it does not start earlier
	CreatedAt time.Time `json:"createdAt"`
	Job       *TaskJob  `json:"job,omitempty"` // nil: one of the service's own
}

// Name gives "service.slot"; for a job's task "service.name".
func (t *Task) Name() string {
	if t.Job != nil {
		return t.Service + "." + t.Job.Name
	}
	return t.Service + "." + itoa(t.Slot)
}

// Leave names the task in [RouteTable.Leaving] and [BalancerStatus.Drains]: by its ID, the first time. A task that was kept
// warm may serve again; what a balancer said when it left before says nothing about the time it leaves now.
func (t *Task) Leave() string {
	if t.Left < 2 {
		return t.ID
	}
	return t.ID + "/" + itoa(t.Left)
}

// LeavingTask gives the ID of the task that [Task.Leave] names.
func LeavingTask(leave string) string {
	id, _, _ := strings.Cut(leave, "/")
	return id
}

// TaskStatus is what the node's agent says of a task; nobody else writes it.
type TaskStatus struct {
	Task       string    `json:"task"`
	Node       string    `json:"node"`
	State      TaskState `json:"state"`
	Cause      Cause     `json:"cause,omitempty"`     // class of failure, when failed or unhealthy
	Message    string    `json:"message,omitempty"`   // the same in a sentence; or what it waits for
	Unhealthy  bool      `json:"unhealthy,omitempty"` // its check fails since it was ready
	Address    string    `json:"address,omitempty"`   // IPv4 on ikada's bridge
	ExitCode   *int      `json:"exitCode,omitempty"`  // nil while it runs, and when it could not be learnt
	StartedAt  time.Time `json:"startedAt,omitzero"`
	ReadyAt    time.Time `json:"readyAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
}

// Cause is the class of a task's failure.
type Cause string

// The causes.
const (
	CauseExit      Cause = "exit"      // the process ended
	CauseOOM       Cause = "oom"       // killed for memory
	CausePull      Cause = "pull"      // the image cannot be had
	CauseStart     Cause = "start"     // the container could not be made or started
	CauseUnhealthy Cause = "unhealthy" // its check does not pass
	CauseLost      Cause = "lost"      // its node or its container disappeared
	CauseVolume    Cause = "volume"    // a mount, config or secret is missing
	CauseNetwork   Cause = "network"   // no address, no bridge
	CauseTimeout   Cause = "timeout"   // a job's time limit
)
