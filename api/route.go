package api

// RouteTable is everything a balancer needs to know; immutable once made. Balancers confirm its Version.
type RouteTable struct {
	Version   uint64     `json:"version"`
	Listeners []Listener `json:"listeners,omitempty"` // published ports
	Routes    []Route    `json:"routes,omitempty"`    // on the shared HTTP ports
	Pools     []Pool     `json:"pools,omitempty"`     // sorted by Name
	Leaving   []string   `json:"leaving,omitempty"`   // live tasks that get no new request; confirmed in BalancerStatus.Drains
}

// Listener is a published port.
type Listener struct {
	HostIP   string `json:"hostIP,omitempty"`
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol,omitempty"` // ProtoAuto, ProtoHTTP, ProtoTCP
	Pool     string `json:"pool"`
}

// Route sends requests by host and path prefix to a pool; the longest path of the most exact host wins.
type Route struct {
	Host string `json:"host,omitempty"`
	Path string `json:"path"`
	Pool string `json:"pool"`
}

// Pool is the targets behind one port of one service.
type Pool struct {
	Name string `json:"name"` // "app/env/service:port"
	EnvRef
	Service string   `json:"service"`
	Hold    Duration `json:"hold"` // how long a request waits for a target when there is none
	Targets []Target `json:"targets,omitempty"`
}

// Target is one ready task.
type Target struct {
	Task    string `json:"task"`
	Release uint64 `json:"release"`
	Address string `json:"address"` // host:port
}
