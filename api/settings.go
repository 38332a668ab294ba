package api

import (
	"maps"
	"regexp"
	"slices"
	"time"
)

// Bounds of what an environment keeps besides its file.
const (
	MaxVariables      = 500       // of an environment, those of all its services together
	MaxVariableBytes  = 32 << 10  // of one value
	MaxVariablesBytes = 256 << 10 // of all names and values together
	MaxSecrets        = 500       // of an environment
)

// EveryService is the key of variables that all services get.
const EveryService = ""

// Settings are what users set for an environment besides its file. Every new release takes them over.
type Settings struct {
	EnvRef
	// Variables are by service, then by name; those of a service win over those of EveryService, and both over the
	// file's environment.
	Variables map[string]map[string]string `json:"variables,omitempty"`
	Secrets   map[string]SecretSetting     `json:"secrets,omitempty"` // by name
}

// SecretSetting is a secret that lives in an environment and not in its file.
type SecretSetting struct {
	Version   string    `json:"version"` // finds the sealed value
	UpdatedAt time.Time `json:"updatedAt"`
	UpdatedBy string    `json:"updatedBy,omitempty"`
}

// VariablesOf gives the variables that a service gets; nil when there is none.
func (s *Settings) VariablesOf(service string) map[string]string {
	if s == nil {
		return nil
	}
	out := maps.Clone(s.Variables[EveryService])
	if own := s.Variables[service]; service != EveryService && len(own) > 0 {
		if out == nil {
			out = map[string]string{}
		}
		maps.Copy(out, own)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

var variableShape = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.-]*$`)

const variableRule = "letters, digits, '_', '.' and '-', beginning with a letter or '_'"

// CheckVariableName tells whether a variable of a process may be set by this name.
func CheckVariableName(field, name string) error {
	if len(name) > 255 || !variableShape.MatchString(name) {
		return FieldError(field, name, variableRule)
	}
	return nil
}

// Environ gives the variables of a service's process that are no secrets: the file's, with the environment's own over
// them.
func (s *ServiceSpec) Environ() map[string]string {
	if len(s.Variables) == 0 {
		return s.Env
	}
	out := maps.Clone(s.Env)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, s.Variables)
	return out
}

// SecretSources gives the secrets that a service uses, as files or as variables, sorted.
func (s *ServiceSpec) SecretSources() []string {
	var out []string
	for _, f := range s.Secrets {
		out = append(out, f.Source)
	}
	for _, source := range s.SecretEnv {
		out = append(out, source)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// SecretRequest sets a secret of an environment.
type SecretRequest struct {
	Value    []byte `json:"value"`
	NoDeploy bool   `json:"noDeploy,omitempty"` // it counts from the next release on
}

// SecretView is a secret of an environment without its value.
type SecretView struct {
	Name      string    `json:"name"`
	Version   string    `json:"version"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
	UpdatedBy string    `json:"updatedBy,omitempty"`
	InFile    bool      `json:"inFile,omitempty"`   // it comes with the Compose file, at each deploy
	Services  []string  `json:"services,omitempty"` // of the committed release, that use it
	Pending   bool      `json:"pending,omitempty"`  // the committed release uses another version of it
}

// SecretValue is a secret in the clear, to those who may see it.
type SecretValue struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Value   []byte `json:"value"`
}

// ConfigRequest changes an environment's variables, by service; EveryService is all of them.
type ConfigRequest struct {
	Set      map[string]map[string]string `json:"set,omitempty"`
	Unset    map[string][]string          `json:"unset,omitempty"`
	NoDeploy bool                         `json:"noDeploy,omitempty"` // it counts from the next release on
}

// VariableView is a variable of an environment.
type VariableView struct {
	Service string `json:"service,omitempty"` // "" is every one
	Name    string `json:"name"`
	Value   string `json:"value"`
	Pending bool   `json:"pending,omitempty"` // the committed release runs with another value
}

// SettingsResponse tells what a change of settings brought.
type SettingsResponse struct {
	Unchanged  bool            `json:"unchanged,omitempty"`  // it was so already
	Deployment *DeployResponse `json:"deployment,omitempty"` // nil: no release uses it yet, or none was to be made
	Warnings   []string        `json:"warnings,omitempty"`
}

// KeyRotation tells what was sealed anew.
type KeyRotation struct {
	Secrets     int `json:"secrets"`
	Credentials int `json:"credentials"`
	Hooks       int `json:"hooks"`
}
