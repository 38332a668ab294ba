package api

// Strategy says how one service moves from one release to another.
type Strategy struct {
	Kind            string   `json:"kind,omitempty"`          // Rolling (also ""), BlueGreen, Canary
	Order           string   `json:"order,omitempty"`         // StartFirst, StopFirst; "" is decided by WithDefaults
	Parallelism     int      `json:"parallelism"`             // tasks replaced at a time; 0 is all at once
	Delay           Duration `json:"delay,omitempty"`         // between a task's readiness and the next replacement
	Monitor         Duration `json:"monitor,omitempty"`       // a failure within it after readiness counts against the release
	MaxFailureRatio float64  `json:"maxFailureRatio"`         // failed tasks over replicas that is still tolerated, 0 to 1
	FailureAction   string   `json:"failureAction,omitempty"` // ActionRollback (also ""), ActionContinue

	Steps []CanaryStep  `json:"steps,omitempty"` // of a canary, before all requests; empty: DefaultSteps
	Match *RequestMatch `json:"match,omitempty"` // requests that a canary gets whatever its weight

	// Warm is how long tasks that were replaced stay ready without requests, so that a way back is a switch of routes;
	// nil is DefaultWarm. Bake is how long a release is judged after it has taken over; nil is DefaultBake.
	Warm *Duration `json:"warm,omitempty"`
	Bake *Duration `json:"bake,omitempty"`

	Judge *JudgeSpec `json:"judge,omitempty"` // nil: judged as is usual
}

// The kinds of a Strategy.
const (
	Rolling   = "rolling"    // task by task, Parallelism at a time
	BlueGreen = "blue-green" // all of the new ones beside the old, then all requests at once
	Canary    = "canary"     // a growing share of the requests
)

// The orders and failure actions of a Strategy, in Compose's words.
const (
	StartFirst     = "start-first"
	StopFirst      = "stop-first"
	ActionRollback = "rollback"
	ActionContinue = "continue"
)

// CanaryStep is one share of the requests that a canary is given for a while.
type CanaryStep struct {
	Weight int      `json:"weight"`          // percent of the requests, 0 to 99
	Pause  Duration `json:"pause,omitempty"` // least time until the next step; 0 is DefaultStepPause
	Hold   bool     `json:"hold,omitempty"`  // stays until a user resumes the deployment
}

// RequestMatch chooses requests; all that is given must hold.
type RequestMatch struct {
	Headers map[string]string `json:"headers,omitempty"` // each with this value; "*" is any
	Cookies map[string]string `json:"cookies,omitempty"` // likewise
}

// JudgeSpec changes how releases are judged by their traffic.
type JudgeSpec struct {
	Off bool `json:"off,omitempty"` // only health, crashes and exits count
}

// DefaultSteps is a canary's way when its user names none.
func DefaultSteps() []CanaryStep { return []CanaryStep{{Weight: 5}, {Weight: 25}, {Weight: 50}} }

// Weighted tells whether requests are shared by weight on the way.
func (s *Strategy) Weighted() bool { return s.Kind == BlueGreen || s.Kind == Canary }

// WarmTime gives for how long replaced tasks stay.
func (s *Strategy) WarmTime() Duration {
	if s.Warm != nil {
		return *s.Warm
	}
	return DefaultWarm
}

// BakeTime gives for how long a release is judged after it has taken over.
func (s *Strategy) BakeTime() Duration {
	if s.Bake != nil {
		return *s.Bake
	}
	return DefaultBake
}

// Judged tells whether a release's traffic may turn it back.
func (s *Strategy) Judged() bool {
	return (s.Judge == nil || !s.Judge.Off) && s.FailureAction != ActionContinue
}
