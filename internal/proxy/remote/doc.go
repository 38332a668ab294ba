// Package remote runs the balancer as a process of its own, and lets the node speak to it.
//
// The process ([Serve]) serves one unix socket: HTTP with JSON for tables, statuses and counts, and next to it a
// second socket that passes listening sockets. Of a table it is told what has changed, and all when it has another one. The node's side ([Balancer]) starts the process or finds the one that
// runs, gives it every table, knows what it confirms, and keeps copies of its listening sockets: when the process
// dies, the ports stay open, and the next process goes on accepting where it stopped. A process of another version or
// configuration is replaced: the new one accepts on the same sockets, while the old one ends what it has begun.
//
// The process also answers names on the node's bridge (package inside), so that tasks find each other while ikada
// itself is dead. What it must know of the bridge comes to it as tables do ([Balancer.Announce]).
//
// The package never decides what is routed. Start at [Serve] and [Balancer.Start].
package remote

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// Config says how the process works. Both ends know it.
type Config struct {
	Socket  string `json:"socket"`  // path of the unix socket; the one for listening sockets has ".fd" appended
	HTTP    string `json:"http"`    // shared HTTP port; "" is none
	Version string `json:"version"` // of ikada
	Debug   bool   `json:"debug,omitempty"`

	Resolvers string `json:"resolvers,omitempty"` // resolv.conf whose name servers outside names are asked of; "" is /etc/resolv.conf

	HTTPS           string   `json:"https,omitempty"`           // shared HTTPS port; "" is none
	Certs           string   `json:"certs,omitempty"`           // directory of NAME.crt with NAME.key, or NAME.pem with both
	TrustProxy      []string `json:"trustProxy,omitempty"`      // prefixes, "10.0.0.0/8", whose word on the client's address is taken
	ProxyProtocol   bool     `json:"proxyProtocol,omitempty"`   // connections from those begin with PROXY protocol, version 1 or 2
	AccessLog       string   `json:"accessLog,omitempty"`       // file; "" is none
	AccessLogSample int      `json:"accessLogSample,omitempty"` // one of so many requests, and every failed one; 0 is 1
}

// build names the program and the configuration that a process runs with. One that has another is replaced.
func (c Config) build() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic("remote: encode configuration: " + err.Error()) // plain data always encodes
	}
	return fmt.Sprintf("%s-%x", c.Version, sha256.Sum256(b))
}

// Status is what a process tells of itself.
type Status struct {
	api.BalancerStatus
	Boot     string   `json:"boot"`  // another one after each start
	Build    string   `json:"build"` // as Config.build
	Seq      uint64   `json:"seq"`   // grows with each change
	Ports    []uint16 `json:"ports,omitempty"`
	Retiring bool     `json:"retiring,omitempty"`
	Bridge   uint64   `json:"bridge,omitempty"` // version of the announcement in force
}

// before tells whether a status is older than another one of the same process: answers may overtake each other. The
// number grows a moment after a table is in force, so the table's version counts first.
func (s Status) before(o Status) bool {
	return s.Version < o.Version || s.Version == o.Version && s.Seq < o.Seq
}

// Totals is what a window has counted.
type Totals struct {
	Opened time.Time `json:"opened"`
	meter.Count
	Releases []meter.ReleaseCount `json:"releases,omitempty"` // in rising order; none from a process of an earlier version
}

// add adds what another process has counted.
func (t *Totals) add(o *Totals) {
	t.Count.Add(o.Count)
	for _, r := range o.Releases {
		i, known := slices.BinarySearchFunc(t.Releases, r.Release, func(c meter.ReleaseCount, n uint64) int { return cmp.Compare(c.Release, n) })
		if !known {
			t.Releases = slices.Insert(t.Releases, i, meter.ReleaseCount{Release: r.Release})
		}
		t.Releases[i].Add(r.Count)
	}
}

const (
	pollTime   = 25 * time.Second // a status request without a change is answered then
	retireTime = 10 * time.Minute // for connections of a process that was replaced
	windowTime = 24 * time.Hour   // after which a window that nobody closed is dropped
)
