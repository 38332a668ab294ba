package api

import "time"

// TaskView is a task with its status, as the API gives it.
type TaskView struct {
	Task
	Status TaskStatus `json:"status"`
}

// View gives the task with its status; nil: nothing has been said of it.
func (t *Task) View(st *TaskStatus) TaskView {
	v := TaskView{Task: *t}
	if st != nil {
		v.Status = *st
	}
	return v
}

// State gives the state that users see: the agent's word, or pending and assigned before it has spoken.
func (t *TaskView) State() TaskState {
	if t.Status.State != "" {
		return t.Status.State
	}
	if t.Node == "" {
		return TaskPending
	}
	return TaskAssigned
}

// ServiceStatus sums up one service of an environment.
type ServiceStatus struct {
	Service  string   `json:"service"`
	Image    string   `json:"image"`
	Want     int      `json:"want"`
	Ready    int      `json:"ready"`
	Live     int      `json:"live"`               // not ended, ready or not
	State    string   `json:"state"`              // HealthOK, HealthDegraded, HealthDown, HealthStopped, HealthCompleted
	Problem  string   `json:"problem,omitempty"`  // one sentence, names cause and what happens next
	Ports    []string `json:"ports,omitempty"`    // "0.0.0.0:18080→8080"
	Routes   []string `json:"routes,omitempty"`   // "example.com/api (redirect to https, sticky)"
	Releases []uint64 `json:"releases,omitempty"` // that its live tasks belong to
}

// The states of a service and of an environment.
const (
	HealthOK        = "ok"
	HealthDegraded  = "degraded"
	HealthDown      = "down"
	HealthStopped   = "stopped"
	HealthCompleted = "completed"
)

// EnvironmentStatus sums up an environment.
type EnvironmentStatus struct {
	Environment
	State      string          `json:"state"`
	Deployment *Deployment     `json:"deployment,omitempty"` // the running one, else the last
	Services   []ServiceStatus `json:"services"`
	Lock       *Lock           `json:"lock,omitempty"`     // the one in force
	Problems   []string        `json:"problems,omitempty"` // of the nodes, which each begins with
}

// DeployRequest asks for a new release and the deployment to it. Images of services that were built or given on the
// command line stand in Spec already.
type DeployRequest struct {
	Spec    AppSpec `json:"spec"`
	Commit  string  `json:"commit,omitempty"`
	Message string  `json:"message,omitempty"`
	Force   bool    `json:"force,omitempty"` // a new release also when nothing changed: every task is replaced

	// TTL has the environment destroyed after this time; 0 leaves what was said before.
	TTL Duration `json:"ttl,omitempty"`

	Builds []Build `json:"builds,omitempty"` // of the spec's images, for the receipt; at most MaxBuilds
}

// DeployResponse tells what became of a DeployRequest.
type DeployResponse struct {
	Unchanged  bool        `json:"unchanged,omitempty"` // the committed release is just this; nothing was made
	Release    uint64      `json:"release"`
	Deployment *Deployment `json:"deployment,omitempty"`
	Warnings   []string    `json:"warnings,omitempty"`
}

// RollbackRequest asks to return to a kept release; Release 0 is the last that succeeded before the committed one.
type RollbackRequest struct {
	Release uint64 `json:"release,omitempty"`
}

// BuildRequest asks for an image. Session is the client's session, by which the files come; see POST /builds.
type BuildRequest struct {
	EnvRef
	Service string    `json:"service"`
	Session string    `json:"session"`
	Spec    BuildSpec `json:"spec"`
}

// BuildEvent is one piece of a build's progress; the last one has Image or Error.
type BuildEvent struct {
	Step    string   `json:"step,omitempty"` // name of the step that Log, Done or Cached are of
	Log     string   `json:"log,omitempty"`
	Started bool     `json:"started,omitempty"`
	Done    bool     `json:"done,omitempty"`
	Cached  bool     `json:"cached,omitempty"`
	Took    Duration `json:"took,omitempty"`
	Current int64    `json:"current,omitempty"` // bytes, of a transfer
	Total   int64    `json:"total,omitempty"`
	Image   string   `json:"image,omitempty"` // pinned reference of the result
	Error   *Error   `json:"error,omitempty"`
}

// LogRequest chooses lines of an environment's logs.
type LogRequest struct {
	Service string    `json:"service,omitempty"`
	Task    string    `json:"task,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Tail    int       `json:"tail"` // per task; negative: all
	Follow  bool      `json:"follow,omitempty"`
}

// ExecRequest runs a command in a task.
type ExecRequest struct {
	Task    string   `json:"task"`
	Command []string `json:"command"`
	Env     []string `json:"env,omitempty"`
	Dir     string   `json:"dir,omitempty"`
	User    string   `json:"user,omitempty"`
	TTY     bool     `json:"tty,omitempty"`
	Stdin   bool     `json:"stdin,omitempty"`
	Rows    uint16   `json:"rows,omitempty"`
	Cols    uint16   `json:"cols,omitempty"`
}

// ImageConfig is what an image says about how to run it.
type ImageConfig struct {
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Command    []string          `json:"command,omitempty"`
	Env        []string          `json:"env,omitempty"`
	WorkingDir string            `json:"workingDir,omitempty"`
	User       string            `json:"user,omitempty"`
	StopSignal string            `json:"stopSignal,omitempty"`
	Expose     []uint16          `json:"expose,omitempty"` // TCP
	Volumes    []string          `json:"volumes,omitempty"`
	Health     *HealthSpec       `json:"health,omitempty"` // HEALTHCHECK
	Labels     map[string]string `json:"labels,omitempty"`
}
