package api

import "time"

// Receipt is a deployment's proof: what its environment's requests met while it ran, as the balancer counted.
type Receipt struct {
	Requests    uint64           `json:"requests"`
	Failed      uint64           `json:"failed"`             // no answer, or an answer of 500 and above
	LongestWait Duration         `json:"longestWait"`        // longest time to an answer's first byte
	Held        uint64           `json:"held,omitempty"`     // of the requests, those that waited for a task to be ready
	Retried     uint64           `json:"retried,omitempty"`  // attempts after a request's first
	Releases    []ReleaseReceipt `json:"releases,omitempty"` // the same by the release that answered, in rising order
	Partial     string           `json:"partial,omitempty"`  // why requests may be missing from it
	Swap        Duration         `json:"swap,omitempty"`     // start until only the target's tasks were left
	Took        Duration         `json:"took,omitempty"`     // start to end
	Rollback    string           `json:"rollback,omitempty"` // how ready a way back is, in words
	WayBack     *WayBack         `json:"wayBack,omitempty"`  // the same; nil when there is none
}

// ReleaseReceipt is what the requests met that one release answered while a deployment ran.
type ReleaseReceipt struct {
	Release     uint64   `json:"release"` // 0: no task had them
	Requests    uint64   `json:"requests"`
	Failed      uint64   `json:"failed"`
	LongestWait Duration `json:"longestWait"`
	Held        uint64   `json:"held,omitempty"`
	Retried     uint64   `json:"retried,omitempty"`
}

// WayBack is how ready a rollback was when the deployment ended.
type WayBack struct {
	Release uint64    `json:"release"`
	Warm    int       `json:"warm,omitempty"`   // its tasks that were kept ready
	Until   time.Time `json:"until,omitzero"`   // the first of them ends then; earlier when memory is short, or at the next deployment
	Cold    []string  `json:"cold,omitempty"`   // services that differ and have no warm task: theirs have to be started
	Starts  Duration  `json:"starts,omitempty"` // about how long that takes, by how long the deployment's own tasks took; 0 is unknown
}

// Content is what a release ships.
type Content struct {
	Release   uint64            `json:"release"`
	Commit    string            `json:"commit,omitempty"`  // of the source
	Message   string            `json:"message,omitempty"` // kept with the release
	From      *Origin           `json:"from,omitempty"`    // where it was promoted from
	CreatedAt time.Time         `json:"createdAt,omitzero"`
	CreatedBy string            `json:"createdBy,omitempty"`
	Images    map[string]string `json:"images,omitempty"` // by service, pinned by digest
}

// ContentOf gives what a release ships, nil for none.
func ContentOf(r *Release) *Content {
	if r == nil {
		return nil
	}
	c := Content{Release: r.Number, Commit: r.Commit, Message: r.Message, From: r.From, CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy,
		Images: make(map[string]string, len(r.Spec.Services))}
	for name, spec := range r.Spec.Services {
		c.Images[name] = spec.Image
	}
	return &c
}

// Build is how long a client had an image built. Its times are the client's: only how long ago counts.
type Build struct {
	Services []string `json:"services"` // that run the image, by name
	Image    string   `json:"image"`
	Ago      Duration `json:"ago"`  // from its beginning until the deployment was asked for
	Took     Duration `json:"took"` // with sending the files
}

// MaxBuilds bounds the builds of a request.
const MaxBuilds = 500

// Step is one part of a deployment's way.
type Step struct {
	Name    string    `json:"name"`              // Step…
	Service string    `json:"service,omitempty"` // "": of the whole deployment
	Weight  int       `json:"weight,omitempty"`  // of StepShare: percent of the requests
	At      time.Time `json:"at"`                // when it began
	Took    Duration  `json:"took,omitempty"`    // 0 while it goes on, or when it took no time that could be seen
	Ended   bool      `json:"ended,omitempty"`
	Note    string    `json:"note,omitempty"` // how it ended, where that is not plain
}

// KeepSteps bounds a deployment's steps: what comes after them is not noted.
const KeepSteps = 400

// The steps of a deployment.
const (
	StepBuild   = "build"           // by the client, before all others
	StepQueue   = "queue"           // from the request until the deployment began
	StepCommand = "release command" // from its start to its end
	StepPull    = "pull"            // until the image of the first new task was there
	StepStart   = "start"           // from the first new task's making until its process ran
	StepCheck   = "health check"    // from there until the first new task was ready
	StepRoll    = "roll"            // from there, or from the first warm task's return, until all tasks are the target's and ready
	StepShare   = "share"           // a part of the requests, by weight, until the next one
	StepDrain   = "drain"           // from the first old task's leaving until the last had ended or stood by
	StepMonitor = "monitor"         // from the last old task's leaving until the deployment ended
	StepBack    = "way back"        // from the turn until the deployment ended
	StepTrial   = "trial"           // for as long as the release was judged after it had taken over
)
