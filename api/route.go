package api

// RouteTable is everything a balancer needs to know; immutable once made. Balancers confirm its Version.
type RouteTable struct {
	Version   uint64     `json:"version"`
	Listeners []Listener `json:"listeners,omitempty"` // published ports
	Routes    []Route    `json:"routes,omitempty"`    // on the shared HTTP ports
	Pools     []Pool     `json:"pools,omitempty"`     // sorted by Name
	Inside    []Inside   `json:"inside,omitempty"`    // services as tasks reach them by name; sorted by Address
	Leaving   []string   `json:"leaving,omitempty"`   // live tasks that get no new request, as Task.Leave names them; confirmed in BalancerStatus.Drains
}

// Listener is a published port.
type Listener struct {
	HostIP   string `json:"hostIP,omitempty"`
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol,omitempty"` // ProtoAuto, ProtoHTTP, ProtoTCP
	Pool     string `json:"pool"`
}

// Route sends requests by host and path prefix to a pool; the longest path of the most exact host wins, and among
// those of one host and path the one that asks for most methods and headers.
type Route struct {
	Host string `json:"host,omitempty"`
	Path string `json:"path"`
	Pool string `json:"pool"`
	RoutePolicy
}

// Claim names the requests that the route takes; no two routes of a table have the same. See [RouteSpec.Claim].
func (r Route) Claim() string {
	return RouteSpec{Host: r.Host, Path: r.Path, RoutePolicy: r.RoutePolicy}.Claim()
}

// Pool is the targets behind one port of one service.
type Pool struct {
	Name string `json:"name"` // "app/env/service:port"
	EnvRef
	Service string   `json:"service"`
	Hold    Duration `json:"hold"` // how long a request waits for a target when there is none
	Targets []Target `json:"targets,omitempty"`

	// Weights shares requests among releases, in proportion to their numbers, whatever the number of their tasks; a
	// release that is not named, or has 0, gets none while a named one has a task. Empty: all targets are alike.
	Weights map[uint64]int `json:"weights,omitempty"`

	Match *PoolMatch `json:"match,omitempty"` // requests that some releases get whatever the weights
}

// PoolMatch sends the requests that it chooses to the targets of the releases while there are any.
type PoolMatch struct {
	RequestMatch
	Releases []uint64 `json:"releases"`
}

// Target is one ready task.
type Target struct {
	Task    string `json:"task"`
	Release uint64 `json:"release"`
	Address string `json:"address"` // host:port
}

// Inside is a service as the tasks of its app and environment reach it by name: one virtual address that never
// changes while its tasks come and go. A connection to any of its ports goes to that port of one of the tasks.
type Inside struct {
	Address string `json:"address"` // the virtual IP address
	EnvRef
	Service   string            `json:"service"`
	Hold      Duration          `json:"hold"`
	Protocols map[uint16]string `json:"protocols,omitempty"` // by port: ProtoHTTP, ProtoTCP; a port not named is ProtoAuto
	Targets   []Target          `json:"targets,omitempty"`   // Address has no port
	Weights   map[uint64]int    `json:"weights,omitempty"`   // as of a Pool
	Names     []string          `json:"names,omitempty"`     // that resolve to Address for those who share a network with it
	Networks  []string          `json:"networks,omitempty"`  // of the app and environment; only their members may reach it

	// Aliases are further names, by the network in which they hold.
	Aliases map[string][]string `json:"aliases,omitempty"`
}
