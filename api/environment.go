package api

import "time"

// EnvRef names an environment of an app.
type EnvRef struct {
	App string `json:"app"`
	Env string `json:"env"`
}

// String gives "app/env".
func (r EnvRef) String() string { return r.App + "/" + r.Env }

// Environment is a named, separate copy of an app. Users own Scale and Stopped; the control plane owns the rest.
type Environment struct {
	EnvRef
	Release        uint64         `json:"release"`               // committed: the last that a deployment brought to success; 0 is none
	LastRelease    uint64         `json:"lastRelease"`           // highest number given so far
	LastDeployment uint64         `json:"lastDeployment"`        // highest number given so far
	Scale          map[string]int `json:"scale,omitempty"`       // replicas set by hand; they win over the release's
	Stopped        bool           `json:"stopped,omitempty"`     // `down`: no task runs until the next deploy or `up`
	Destroying     bool           `json:"destroying,omitempty"`  // `destroy`: removed once its last task is gone
	DropVolumes    bool           `json:"dropVolumes,omitempty"` // with Destroying: named volumes too
	CreatedAt      time.Time      `json:"createdAt"`

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
