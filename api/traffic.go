package api

import "time"

// MaxTraffic is how far back balancers know by the second what requests met.
const MaxTraffic = 10 * time.Minute

// MaxFailures is how many failed requests of an environment a balancer can explain, the last ones.
const MaxFailures = 1000

// What a Traffic can keep apart.
const (
	ByService = "service"
	ByRelease = "release" // and service
	ByTask    = "task"    // and release
	ByRoute   = "route"   // and service
)

// GoneTasks is the Task of what tasks of a release have counted that have left.
const GoneTasks = "*"

// TrafficQuery chooses what is told of an environment's requests.
type TrafficQuery struct {
	Since  Duration `json:"since,omitempty"`  // how far back, whole seconds up to MaxTraffic; 0 is a minute
	By     string   `json:"by,omitempty"`     // ByService, …; "" is ByService
	Points bool     `json:"points,omitempty"` // each second too
}

// Traffic is what the requests of an environment have met, as the balancer counted them.
type Traffic struct {
	EnvRef
	Node  string       `json:"node"`  // whose balancer it was
	From  time.Time    `json:"from"`  // later than was asked for where the balancer has not counted for so long
	Until time.Time    `json:"until"` // now
	By    string       `json:"by"`
	Total TrafficRow   `json:"total"`
	Rows  []TrafficRow `json:"rows"` // those with requests, ended or in flight; by service, release, slot and route
}

// TrafficRow is the traffic of one member of what is kept apart; what does not tell members apart is empty.
type TrafficRow struct {
	Service string  `json:"service,omitempty"`
	Release uint64  `json:"release,omitempty"` // 0: requests that found no task
	Task    string  `json:"task,omitempty"`    // ID; "": requests that found no task; GoneTasks
	Slot    int     `json:"slot,omitempty"`    // of the task, where it is known
	Route   string  `json:"route,omitempty"`   // host and path, or the address of a published port or a service
	Rate    float64 `json:"rate"`              // requests a second
	TrafficCounts
	Points []TrafficPoint `json:"points,omitempty"` // oldest first, without those in which nothing happened
}

// TrafficPoint is one second; that which goes on is not complete.
type TrafficPoint struct {
	Time time.Time `json:"time"` // its beginning
	TrafficCounts
}

// TrafficCounts is what some requests have met. A request counts when its answer has been sent, or it is clear that
// there is none; an upgraded connection when it is switched, a TCP connection when a task has accepted it.
type TrafficCounts struct {
	Requests uint64            `json:"requests"`
	Failed   uint64            `json:"failed"`             // no answer, one of 500 and above, or one that broke off at the task
	Status   map[string]uint64 `json:"status,omitempty"`   // by class, "2xx"; "none" are TCP, and requests without an answer
	Failures map[string]uint64 `json:"failures,omitempty"` // of the failed, by kind as in Failure; a task's own answers have none
	Aborted  uint64            `json:"aborted,omitempty"`  // the client left while a task worked; not failed
	Retries  uint64            `json:"retries,omitempty"`  // attempts after the first
	Lost     uint64            `json:"lost,omitempty"`     // attempts that a task took and did not answer, made again elsewhere; not among Requests
	Waits    Waits             `json:"waits"`
	In       uint64            `json:"in"` // bytes from clients, heads and bodies
	Out      uint64            `json:"out"`
	InFlight int64             `json:"inFlight"` // being held or answered, at the end
	Held     int64             `json:"held"`     // of those, waiting for a task
}

// Waits tells how long clients waited for the first byte of an answer. All but Max may be wrong by a tenth.
type Waits struct {
	P50 Duration `json:"p50"`
	P90 Duration `json:"p90"`
	P99 Duration `json:"p99"`
	Max Duration `json:"max"`
}

// FailureQuery chooses failed requests.
type FailureQuery struct {
	Last  int       `json:"last,omitempty"` // only the last so many, up to MaxFailures; 0 is 50
	Since time.Time `json:"since,omitzero"` // only those since then
}

// Failure explains one failed request, or one TCP connection that found no task.
type Failure struct {
	Time    time.Time `json:"time"` // when its failure was clear
	ID      string    `json:"id,omitempty"`
	Method  string    `json:"method,omitempty"` // "" is TCP
	Host    string    `json:"host,omitempty"`
	Path    string    `json:"path,omitempty"`  // without the query
	Route   string    `json:"route,omitempty"` // as in TrafficRow
	Service string    `json:"service,omitempty"`
	Release uint64    `json:"release,omitempty"`
	Task    string    `json:"task,omitempty"` // ID; "": none was found
	Slot    int       `json:"slot,omitempty"` // of the task, where it is known
	Step    string    `json:"step"`           // where on its way it failed: "find a target", "connect", "get an answer", …
	Kind    string    `json:"kind,omitempty"` // "refused", "reset", "timeout", "no target", "protocol", "overload", "broken"; "": a task's own answer
	Error   string    `json:"error"`
	Status  int       `json:"status,omitempty"` // that the client was sent; 0 is none
	Waited  Duration  `json:"waited"`           // by the client
	Retries int       `json:"retries,omitempty"`
}
