package agent

import (
	"context"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ikada/ikada/api"
)

// Runtime is what the agent needs of a container runtime. Every method may be called at any time from any
// goroutine; for one container the agent calls one at a time. Methods that find their work already done succeed:
// the agent may have been killed between doing and noting.
//
// A container is known by its task's ID. Containers, their output and the record of their exit outlive the agent
// and the runtime's own daemon; a restarted agent finds them by List.
type Runtime interface {
	// Pull makes the image present and unpacked on this node. ref is pinned (name@sha256:…). progress, which may be
	// nil, gets the bytes done and the bytes in all, the latter 0 while unknown. An image that is present costs no
	// network. Errors are of kind NotFound, Unauthorized, Unavailable or Exhausted (disk) where that is known.
	Pull(ctx context.Context, ref string, progress func(done, total int64)) error

	// Create makes the container and starts its process. The output goes to the log from the first byte. What EnvFile
	// holds is written to no disk; Exec gives it to commands too, for as long as the file is there.
	// On error nothing is left behind.
	Create(ctx context.Context, c Container) error

	// Signal sends a signal by name ("SIGTERM", "TERM" or "15") to the container's first process. A container that
	// has ended or is gone is no error.
	Signal(ctx context.Context, id, signal string) error

	// Remove kills what still runs and removes the container, its snapshot and its exit record; not its log.
	Remove(ctx context.Context, id string) error

	// List gives every container of this node's namespace that ikada made, those that have ended too.
	List(ctx context.Context) ([]ContainerState, error)

	// Exits delivers the exits of containers, also those that ended before the call and were not yet Removed, until
	// ctx ends; it survives a restart of the runtime's daemon. An exit may be delivered more than once, and that of a
	// container that was Removed while a new one of its ID is made already; it is of before that one's Create.
	Exits(ctx context.Context) <-chan Exit

	// Exec runs a command inside a running container and gives its exit code. An error means that it could not be
	// run. When ctx ends the process is killed.
	Exec(ctx context.Context, id string, x Exec) (int, error)

	// Logs opens the container's log; it can be read after the container is gone, until RemoveLogs.
	Logs(ctx context.Context, id string, q LogQuery) (LogReader, error)

	// RemoveLogs removes the log of a container.
	RemoveLogs(ctx context.Context, id string) error

	// SweepLogs removes the logs of all containers that keep does not want, those of removed containers too.
	SweepLogs(ctx context.Context, keep func(id string) bool) error
}

// Container is everything the runtime needs to make one; the agent has already made its network and its files.
type Container struct {
	ID      string // the task's
	Image   string // pinned
	Spec    api.ServiceSpec
	Host    string            // host name inside
	Netns   string            // path of the network namespace
	EnvFile string            // file in memory with further variables, NAME=VALUE each ended by a zero byte; "" is none
	Mounts  []BindMount       // named volumes, configs, secrets, resolv.conf, hosts, resolved to host paths
	Labels  map[string]string // kept with the container and given back by List
	Cgroup  string            // parent under the instance's own, e.g. "tasks"; "" is "tasks"
	LogSize int64             // bytes a file
	LogKeep int               // files

	// Hold: the container starts with a process that waits for a stop signal, and holds back what Spec says to run until
	// an Exec asks for it.
	Hold bool
}

// BindMount puts a host path into the container. Tmpfs mounts stand in Container.Spec.Mounts and are the runtime's
// own work; volumes and binds are the agent's, who resolves them to these.
type BindMount struct {
	Source   string // absolute, exists
	Target   string // absolute, inside
	ReadOnly bool
	FillFrom bool // a new named volume: copy what the image has at Target into Source before the start, if Source is empty
}

// ContainerState is what the runtime knows of a container.
type ContainerState struct {
	ID        string
	Labels    map[string]string
	Running   bool
	Exit      *Exit // when not running and the exit is known
	StartedAt time.Time
}

// Exit tells that a container's first process ended. Code is nil when it could not be learnt.
type Exit struct {
	ID   string
	Code *int // 128+n after signal n
	OOM  bool // the memory limit killed a process of it
	At   time.Time
}

// Killed tells whether somebody killed the process, and not for memory.
func (e Exit) Killed() bool { return e.Code != nil && *e.Code == 128+int(unix.SIGKILL) && !e.OOM }

// Exec is a command to run in a container.
type Exec struct {
	Args    []string
	Held    bool     // run what the container holds back, in place of Args; see Container.Hold
	Env     []string // added to the container's
	Dir     string   // "" is the container's
	User    string   // "" is the container's
	TTY     bool
	Stdin   io.Reader      // nil: empty
	Stdout  io.Writer      // nil: thrown away
	Stderr  io.Writer      // with TTY unused
	Resize  <-chan Winsize // with TTY; may be nil
	Signals <-chan string  // delivered to the process; may be nil
}

// Winsize is a terminal's size in characters.
type Winsize struct{ Rows, Cols uint16 }

// LogQuery says which lines of a log to give.
type LogQuery struct {
	Since  time.Time // zero: from the beginning
	Until  time.Time // zero: to the end
	Tail   int       // only the last n of those; negative: all
	Follow bool      // go on until the context ends or the log is closed because its container was removed
}

// LogReader gives lines one after another; io.EOF at the end. Not safe for concurrent use.
type LogReader interface {
	Next() (LogRecord, error)
	Close() error
}

// LogRecord is one line of output with when and where it was written.
type LogRecord struct {
	Time    time.Time
	Stream  string // "stdout" or "stderr"
	Text    string // without its newline
	Partial bool   // it had no newline: the line goes on in the next record of the stream, if there is one
}
