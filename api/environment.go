package api

import "time"

// EnvRef names an environment of an app.
type EnvRef struct {
	App string `json:"app"`
	Env string `json:"env"`
}

// String gives "app/env".
func (r EnvRef) String() string { return r.App + "/" + r.Env }

// Environment is a named, separate copy of an app. Users own Scale, Stopped and TTL; the control plane owns the rest.
type Environment struct {
	EnvRef
	Release        uint64         `json:"release"`               // committed: the last that a deployment brought to success; 0 is none
	Previous       uint64         `json:"previous,omitempty"`    // committed before Release; its tasks may still be warm
	LastRelease    uint64         `json:"lastRelease"`           // highest number given so far
	LastDeployment uint64         `json:"lastDeployment"`        // highest number given so far
	Scale          map[string]int `json:"scale,omitempty"`       // replicas set by hand; they win over the release's
	Stopped        bool           `json:"stopped,omitempty"`     // `down`: no task runs until the next deploy or `up`
	Destroying     bool           `json:"destroying,omitempty"`  // `destroy`: removed once its last task is gone
	DropVolumes    bool           `json:"dropVolumes,omitempty"` // with Destroying: named volumes too
	CreatedAt      time.Time      `json:"createdAt"`

	// TTL and ExpiresAt say when the control plane destroys the environment with its volumes; zero: never.
	TTL       Duration  `json:"ttl,omitempty"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
	Warned    bool      `json:"warned,omitempty"` // the event that comes before was written

	// Addresses are the virtual addresses at which tasks reach the services by name. One stays for as long as the
	// environment is there.
	Addresses map[string]string `json:"addresses,omitempty"`
}

// Replicas gives how many tasks of the service the environment wants.
func (e *Environment) Replicas(service string, spec ServiceSpec) int {
	if e.Stopped || e.Destroying {
		return 0
	}
	if n, ok := e.Scale[service]; ok {
		return n
	}
	return spec.Replicas
}

// MaxTTL bounds how long an environment may be told to stay; without a bound is 0.
const MaxTTL = Duration(10 * 365 * 24 * time.Hour)

// MinTTL is the shortest time that an environment may be told to stay.
const MinTTL = Duration(time.Second)

// Expire has the environment destroyed after ttl from now; 0 is never.
func (e *Environment) Expire(ttl Duration, now time.Time) {
	e.TTL, e.ExpiresAt, e.Warned = ttl, time.Time{}, false
	if ttl > 0 {
		e.ExpiresAt = now.Add(ttl.Std()).UTC().Round(0)
	}
}

// WarnsAt gives when users are told that the environment is about to go: an hour before it does, or a tenth of its TTL
// where that is less.
func (e *Environment) WarnsAt() time.Time {
	return e.ExpiresAt.Add(-min(time.Hour, e.TTL.Std()/10))
}
