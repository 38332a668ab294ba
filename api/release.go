package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// Release is immutable and numbered per environment: pinned images, configuration, secret versions.
type Release struct {
	EnvRef
	Number    uint64    `json:"number"`
	Spec      AppSpec   `json:"spec"`
	Hash      string    `json:"hash"` // of Spec: equal hashes are equal releases
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy,omitempty"`
	Commit    string    `json:"commit,omitempty"` // source revision
	Message   string    `json:"message,omitempty"`
	From      *Origin   `json:"from,omitempty"` // the release of another environment whose images it has
}

// HashSpec gives the identity of a release's content: SHA-256 over its canonical JSON, in hex.
func HashSpec(spec AppSpec) string { return hashJSON(spec) }

// HashService gives the identity of what a task of the service runs: the service's spec without what only concerns
// its number, pace, reach, checks and jobs (replicas, strategies, routes), with the configs and secret versions it mounts. A task
// whose hash is a release's is a task of that release, whichever release made it.
func HashService(spec AppSpec, service string) string {
	s := spec.Services[service]
	s.Replicas, s.Update, s.Rollback, s.DependsOn, s.Routes = 0, Strategy{}, Strategy{}, nil, nil
	s.Release, s.Cron, s.Checks = nil, nil, nil
	s.Env, s.Variables = s.Environ(), nil // wherever a variable comes from
	ports := make([]PortSpec, 0, len(s.Ports))
	for _, p := range s.Ports {
		ports = append(ports, PortSpec{Target: p.Target})
	}
	s.Ports = ports
	ref := struct {
		Service ServiceSpec
		Configs map[string]ConfigSpec
		Secrets map[string]string
		Volumes map[string]VolumeSpec
		Nets    map[string]NetworkSpec
	}{s, map[string]ConfigSpec{}, map[string]string{}, map[string]VolumeSpec{}, map[string]NetworkSpec{}}
	for _, f := range s.Configs {
		ref.Configs[f.Source] = spec.Configs[f.Source]
	}
	for _, source := range s.SecretSources() {
		ref.Secrets[source] = spec.Secrets[source].Version
	}
	for _, m := range s.Mounts {
		if m.Type == MountVolume && m.Source != "" {
			ref.Volumes[m.Source] = spec.Volumes[m.Source]
		}
	}
	for _, n := range s.Networks {
		ref.Nets[n.Network] = spec.Networks[n.Network]
	}
	return hashJSON(ref)[:16]
}

func hashJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("api: encode spec: " + err.Error()) // plain data always encodes
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
