package api

import (
	"net"
	"slices"
	"strconv"
	"strings"
)

// AppSpec is one app for one environment as its user wrote it, after Compose's interpolation, merging and
// profiles. In a Release every image is pinned (name@sha256:…), Build is nil and secrets carry a version, no value.
type AppSpec struct {
	App      string                 `json:"app"`
	Env      string                 `json:"env"`
	Services map[string]ServiceSpec `json:"services"`
	Volumes  map[string]VolumeSpec  `json:"volumes,omitempty"`
	Networks map[string]NetworkSpec `json:"networks,omitempty"`
	Configs  map[string]ConfigSpec  `json:"configs,omitempty"`
	Secrets  map[string]SecretSpec  `json:"secrets,omitempty"`

	Checks []ReleaseCheck `json:"checks,omitempty"` // of every release in which a service changes
}

// ServiceSpec is one service: a group of identical tasks with one role.
type ServiceSpec struct {
	Image string `json:"image,omitempty"` // reference; pinned by digest in a release
	Pull  string `json:"pull,omitempty"`  // "" or "missing", "always", "never": Compose pull_policy

	// Entrypoint and Command replace the image's where not nil; an empty list clears the image's.
	Entrypoint []string          `json:"entrypoint,omitzero"`
	Command    []string          `json:"command,omitzero"`
	Env        map[string]string `json:"env,omitempty"`
	Variables  map[string]string `json:"variables,omitempty"` // the environment's own, over Env; the server sets them
	SecretEnv  map[string]string `json:"secretEnv,omitempty"` // variable → secret; over both
	WorkingDir string            `json:"workingDir,omitempty"`
	User       string            `json:"user,omitempty"` // name or uid[:gid]
	GroupAdd   []string          `json:"groupAdd,omitempty"`
	Hostname   string            `json:"hostname,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	TTY        bool              `json:"tty,omitempty"`
	StdinOpen  bool              `json:"stdinOpen,omitempty"`

	Ports      []PortSpec        `json:"ports,omitempty"`
	Expose     []uint16          `json:"expose,omitempty"`
	Routes     []RouteSpec       `json:"routes,omitempty"`
	Networks   []NetworkJoin     `json:"networks,omitempty"` // empty: the app's default network
	ExtraHosts map[string]string `json:"extraHosts,omitempty"`
	DNS        []string          `json:"dns,omitempty"`
	DNSSearch  []string          `json:"dnsSearch,omitempty"`

	Health    *HealthSpec  `json:"health,omitempty"` // nil: the image's HEALTHCHECK, else by port, else by running
	DependsOn []Dependency `json:"dependsOn,omitempty"`

	Replicas  int           `json:"replicas"`
	Resources Resources     `json:"resources,omitzero"`
	Restart   RestartPolicy `json:"restart,omitzero"`
	Update    Strategy      `json:"update,omitzero"`
	Rollback  Strategy      `json:"rollback,omitzero"`
	Placement Placement     `json:"placement,omitzero"`
	Exclusive bool          `json:"exclusive,omitempty"` // never two tasks of one slot at once: implies stop-first

	Release *ReleaseCommand     `json:"release,omitempty"`
	Cron    map[string]CronSpec `json:"cron,omitempty"`

	Checks []ReleaseCheck `json:"checks,omitempty"` // of every release in which the service changes

	Mounts  []Mount    `json:"mounts,omitempty"`
	Configs []FileJoin `json:"configs,omitempty"`
	Secrets []FileJoin `json:"secrets,omitempty"`

	CapAdd      []string          `json:"capAdd,omitempty"`
	CapDrop     []string          `json:"capDrop,omitempty"`
	SecurityOpt []string          `json:"securityOpt,omitempty"` // no-new-privileges:false, seccomp=unconfined
	Privileged  bool              `json:"privileged,omitempty"`
	ReadOnly    bool              `json:"readOnly,omitempty"`
	Ulimits     map[string]Ulimit `json:"ulimits,omitempty"`
	Sysctls     map[string]string `json:"sysctls,omitempty"`
	Init        bool              `json:"init,omitempty"`
	StopSignal  string            `json:"stopSignal,omitempty"` // "" is the image's, else SIGTERM
	StopGrace   Duration          `json:"stopGrace,omitempty"`  // between the stop signal and SIGKILL; 0 is DefaultStopGrace
	Drain       Duration          `json:"drain,omitempty"`      // longest wait for requests in flight; 0 is DefaultDrain
	ShmSize     int64             `json:"shmSize,omitempty"`    // bytes; 0 is 64 MiB
	Logging     Logging           `json:"logging,omitzero"`
}

// PortSpec publishes a port: the balancer of every node listens on Published and spreads over the service's tasks.
type PortSpec struct {
	HostIP    string `json:"hostIP,omitempty"`    // "" is every address
	Published uint16 `json:"published,omitempty"` // 0: not published, only named
	Target    uint16 `json:"target"`              // the port the container listens on
	Protocol  string `json:"protocol,omitempty"`  // ProtoAuto, ProtoHTTP, ProtoTCP
}

// Listen gives the address that the balancer listens on, ":18080", as in [BalancerStatus].Problem.
func (p PortSpec) Listen() string { return net.JoinHostPort(p.HostIP, itoa(int(p.Published))) }

// The protocols of a published port. Auto tells HTTP from other protocols by whoever speaks first.
const (
	ProtoAuto = ""
	ProtoHTTP = "http"
	ProtoTCP  = "tcp"
)

// RouteSpec sends a host and path prefix on the shared HTTP ports to a service.
type RouteSpec struct {
	Host string `json:"host,omitempty"` // exact, "*.example.com", or "" for every host
	Path string `json:"path,omitempty"` // prefix that ends at a path segment; "" is "/"
	Port uint16 `json:"port,omitempty"` // the container's port; 0: the service's first port
	RoutePolicy
}

// Claim names the requests that the route takes: host and path, and the methods and headers that it asks for, such as
// "example.com/api GET,HEAD x-beta=1"; "*" stands for every host. Routes that take the same requests have the same
// claim.
func (r RouteSpec) Claim() string {
	host := strings.ToLower(r.Host)
	if host == "" {
		host = "*"
	}
	parts := []string{host + "/" + strings.Trim(r.Path, "/")}
	if len(r.Methods) > 0 {
		parts = append(parts, strings.Join(slices.Compact(slices.Sorted(slices.Values(r.Methods))), ","))
	}
	var headers []string
	for name, value := range r.Headers {
		if strings.ContainsAny(value, " \t") {
			value = strconv.Quote(value)
		}
		headers = append(headers, strings.ToLower(name)+"="+value)
	}
	slices.Sort(headers)
	return strings.Join(append(parts, headers...), " ")
}

// RoutePolicy is which of a route's requests it takes, and what the balancer does with them besides passing them on.
// The zero value takes all and passes them on as they are.
type RoutePolicy struct {
	Methods []string          `json:"methods,omitempty"` // only these, in capitals
	Headers map[string]string `json:"headers,omitempty"` // only requests that have each with this value; "*" is any value

	Rewrite  string    `json:"rewrite,omitempty"` // replaces the route's path at the beginning of the request's; "/" strips it
	Redirect *Redirect `json:"redirect,omitempty"`

	Timeout     Duration `json:"timeout,omitempty"`     // from the request's end to the answer's head; 0: none
	IdleTimeout Duration `json:"idleTimeout,omitempty"` // without a byte from either side, also after an upgrade; 0: none
	MaxBody     int64    `json:"maxBody,omitempty"`     // of a request, in bytes; 0: no limit

	Sticky      *Sticky           `json:"sticky,omitempty"`
	RateLimit   *RateLimit        `json:"rateLimit,omitempty"`
	BasicAuth   map[string]string `json:"basicAuth,omitempty"` // user → bcrypt hash of the password
	Maintenance *Maintenance      `json:"maintenance,omitempty"`
	Compress    bool              `json:"compress,omitempty"` // answers that are text and not compressed yet
}

// Redirect answers a route's requests with another address for them. What is empty stays as it was asked for.
type Redirect struct {
	Scheme string `json:"scheme,omitempty"` // "https" or "http"; requests that have it already are passed on, if nothing else changes
	Host   string `json:"host,omitempty"`   // also host:port
	Path   string `json:"path,omitempty"`   // replaces the whole path; the query stays
	Status int    `json:"status,omitempty"` // 301, 302, 303, 307, 308; 0 is 308
}

// Sticky sends a client to the task that it had before, by a cookie, as long as that is ready.
type Sticky struct {
	Cookie string   `json:"cookie,omitempty"` // its name; "" is "ikada_task"
	MaxAge Duration `json:"maxAge,omitempty"` // 0: until the browser is closed
}

// RateLimit answers 429 to what exceeds it. A node counts for itself.
type RateLimit struct {
	Requests int      `json:"requests"`        // in each Per
	Per      Duration `json:"per,omitempty"`   // 0: a second
	Burst    int      `json:"burst,omitempty"` // at once; 0: Requests
	By       string   `json:"by,omitempty"`    // "client" (its address, the default), "route", or "header:NAME"
}

// Maintenance answers a route's requests instead of its service.
type Maintenance struct {
	Status     int      `json:"status,omitempty"` // 0: 503
	Body       string   `json:"body,omitempty"`   // HTML or text; "" is a page of ikada's own
	RetryAfter Duration `json:"retryAfter,omitempty"`
}

// HealthSpec is a check of a task. Exactly one of Command, HTTP and TCP is set, or Disabled.
type HealthSpec struct {
	Disabled bool      `json:"disabled,omitempty"`
	Command  []string  `json:"command,omitempty"` // run inside the container; exit code 0 is healthy
	HTTP     *HTTPGet  `json:"http,omitempty"`
	TCP      *TCPProbe `json:"tcp,omitempty"`

	Interval      Duration `json:"interval,omitempty"`      // between checks once ready
	Timeout       Duration `json:"timeout,omitempty"`       // of one check
	Retries       int      `json:"retries,omitempty"`       // failures in a row that make a task unhealthy
	StartPeriod   Duration `json:"startPeriod,omitempty"`   // failures in it do not count
	StartInterval Duration `json:"startInterval,omitempty"` // between checks until ready
}

// HTTPGet is healthy when GET answers 2xx or 3xx.
type HTTPGet struct {
	Path string `json:"path"`
	Port uint16 `json:"port,omitempty"` // 0: the service's first port
	Host string `json:"host,omitempty"` // Host header; "" is the task's address
}

// TCPProbe is healthy when a connection is accepted.
type TCPProbe struct {
	Port uint16 `json:"port,omitempty"` // 0: the service's first port
}

// Dependency orders services within a deployment.
type Dependency struct {
	Service   string `json:"service"`
	Condition string `json:"condition"` // DependStarted, DependHealthy, DependCompleted
	Optional  bool   `json:"optional,omitempty"`
}

// The conditions of a Dependency, in Compose's words.
const (
	DependStarted   = "service_started"
	DependHealthy   = "service_healthy"
	DependCompleted = "service_completed_successfully"
)

// Resources are the limits of one task and what placing reserves for it. Zero means no limit, no reservation.
type Resources struct {
	CPUMillis        int64  `json:"cpuMillis,omitempty"`   // limit, thousandths of a core
	MemoryBytes      int64  `json:"memoryBytes,omitempty"` // limit
	PIDs             int64  `json:"pids,omitempty"`        // limit; 0 is DefaultPIDs
	ReserveCPUMillis int64  `json:"reserveCPUMillis,omitempty"`
	ReserveMemory    int64  `json:"reserveMemory,omitempty"`
	CPUShares        int64  `json:"cpuShares,omitempty"`
	MemorySwapBytes  int64  `json:"memorySwapBytes,omitempty"` // memory and swap together; -1 unlimited
	OOMScoreAdj      int    `json:"oomScoreAdj,omitempty"`
	DisableOOMKill   bool   `json:"disableOOMKill,omitempty"`
	MemorySwappiness *int   `json:"memorySwappiness,omitempty"`
	CPUSet           string `json:"cpuSet,omitempty"`
}

// RestartPolicy says which exits are healed.
type RestartPolicy struct {
	Condition   string   `json:"condition,omitempty"` // RestartAny (also ""), RestartOnFailure, RestartNone
	Delay       Duration `json:"delay,omitempty"`     // least time before a replacement starts
	MaxAttempts int      `json:"maxAttempts,omitempty"`
	Window      Duration `json:"window,omitempty"` // a task that was ready for longer than this resets the attempts
}

// The conditions of a RestartPolicy, in Compose's words.
const (
	RestartAny       = "any"
	RestartOnFailure = "on-failure"
	RestartNone      = "none"
)

// RunsToEnd tells whether an exit with code 0 is the service's goal and not a crash.
func (r RestartPolicy) RunsToEnd() bool {
	return r.Condition == RestartNone || r.Condition == RestartOnFailure
}

// Placement restricts the nodes of a service.
type Placement struct {
	Constraints []string `json:"constraints,omitempty"` // "node.labels.disk == ssd", Swarm's notation
	MaxPerNode  int      `json:"maxPerNode,omitempty"`
	Spread      []string `json:"spread,omitempty"` // "node.labels.zone"
}

// Mount puts something into a task's file system.
type Mount struct {
	Type     string `json:"type"`             // MountVolume, MountBind, MountTmpfs
	Source   string `json:"source,omitempty"` // volume's key ("" is anonymous), or absolute host path
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	SubPath  string `json:"subPath,omitempty"`
	NoCopy   bool   `json:"noCopy,omitempty"` // do not fill a new volume from the image
	Create   bool   `json:"create,omitempty"` // create a missing bind source
	Size     int64  `json:"size,omitempty"`   // tmpfs, bytes
	Mode     uint32 `json:"mode,omitempty"`   // tmpfs
	UID      int    `json:"uid,omitempty"`    // tmpfs: who owns it
	GID      int    `json:"gid,omitempty"`    // tmpfs
	Exec     bool   `json:"exec,omitempty"`   // tmpfs: programs in it may be run
}

// The types of a Mount.
const (
	MountVolume = "volume"
	MountBind   = "bind"
	MountTmpfs  = "tmpfs"
)

// VolumeSpec is a named volume. It outlives releases and `down`; only `destroy --volumes` removes it.
type VolumeSpec struct {
	Name     string            `json:"name,omitempty"` // given by the user; "" is derived from app and environment
	External bool              `json:"external,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
}

// HostName gives the name under which nodes keep the volume: the user's own, else one that is its environment's.
func (v VolumeSpec) HostName(env EnvRef, key string) string {
	if v.Name != "" {
		return v.Name
	}
	return env.App + "_" + env.Env + "_" + key
}

// NetworkSpec is a network of an app: tasks that share one reach each other by service name.
type NetworkSpec struct {
	Internal bool `json:"internal,omitempty"` // no egress
}

// NetworkJoin is a service's membership in a network, with the names it is known by besides its own.
type NetworkJoin struct {
	Network string   `json:"network"`
	Aliases []string `json:"aliases,omitempty"`
}

// DefaultNetwork is the key of the network that services join when they name none.
const DefaultNetwork = "default"

// ConfigSpec is the content of a Compose config. At most MaxConfigBytes.
type ConfigSpec struct {
	Content []byte `json:"content"`
}

// SecretSpec is a Compose secret. Value travels only from the client to the server; what is kept has a Version,
// a keyed hash of the value, by which the encrypted value is found.
type SecretSpec struct {
	Value   []byte `json:"value,omitempty"`
	Version string `json:"version,omitempty"`

	// External secrets are the environment's, known there by Name ("" is the spec's own key). The server gives them
	// their Version when it makes a release.
	External bool   `json:"external,omitempty"`
	Name     string `json:"name,omitempty"`
}

// NameOf gives by which name the environment knows an external secret.
func (s SecretSpec) NameOf(key string) string {
	if s.Name != "" {
		return s.Name
	}
	return key
}

// FileJoin mounts a config or secret into a task as a file.
type FileJoin struct {
	Source string `json:"source"`
	Target string `json:"target"` // absolute path
	UID    int    `json:"uid,omitempty"`
	GID    int    `json:"gid,omitempty"`
	Mode   uint32 `json:"mode,omitempty"` // 0 is 0444
}

// Ulimit is a pair of limits; -1 is unlimited.
type Ulimit struct {
	Soft int64 `json:"soft"`
	Hard int64 `json:"hard"`
}

// Logging bounds what is kept of a task's output.
type Logging struct {
	MaxSize  int64 `json:"maxSize,omitempty"`  // bytes a file; 0 is DefaultLogSize
	MaxFiles int   `json:"maxFiles,omitempty"` // 0 is DefaultLogFiles
	Disabled bool  `json:"disabled,omitempty"` // driver "none"
}

// BuildSpec says how a service's image is built. Paths are the client's; the server sees only what the session
// sends.
type BuildSpec struct {
	Context          string            `json:"context"`
	Dockerfile       string            `json:"dockerfile,omitempty"` // relative to the context; "" is Dockerfile
	DockerfileInline string            `json:"dockerfileInline,omitempty"`
	Target           string            `json:"target,omitempty"`
	Args             map[string]string `json:"args,omitempty"`
	Labels           map[string]string `json:"labels,omitempty"`
	Contexts         map[string]string `json:"contexts,omitempty"` // additional_contexts
	Secrets          map[string]string `json:"secrets,omitempty"`  // id → "file:PATH" or "env:NAME", read by the client
	SSH              []string          `json:"ssh,omitempty"`
	NoCache          bool              `json:"noCache,omitempty"`
	Pull             bool              `json:"pull,omitempty"`
	Network          string            `json:"network,omitempty"` // "" or "default", "none", "host"
	Platform         string            `json:"platform,omitempty"`
	ExtraHosts       map[string]string `json:"extraHosts,omitempty"`
	ShmSize          int64             `json:"shmSize,omitempty"`
	Tags             []string          `json:"tags,omitempty"`
}
