package api

import "time"

// Event is something that happened, worth telling a user of.
type Event struct {
	ID   string    `json:"id"` // sorts by time
	Time time.Time `json:"time"`
	EnvRef
	Service string `json:"service,omitempty"`
	Task    string `json:"task,omitempty"`
	Node    string `json:"node,omitempty"`

	Deployment uint64 `json:"deployment,omitempty"` // its number, of what happens to one
	Job        string `json:"job,omitempty"`        // name of the job or schedule that it is about; Task is the job's ID, where there is one

	Type    string `json:"type"`    // "deployment.started", "task.failed", …
	Level   string `json:"level"`   // LevelInfo, LevelWarn, LevelError
	Message string `json:"message"` // a whole sentence
}

// The levels of an Event.
const (
	LevelInfo  = "info"
	LevelWarn  = "warn"
	LevelError = "error"
)

// LogLine is one line of a task's output.
type LogLine struct {
	Time    time.Time `json:"time"`
	Stream  string    `json:"stream"` // "stdout", "stderr"
	Service string    `json:"service"`
	Task    string    `json:"task"`
	Slot    int       `json:"slot"`
	Job     string    `json:"job,omitempty"`     // name of the job whose task it is
	Text    string    `json:"text"`              // without its newline
	Partial bool      `json:"partial,omitempty"` // the line was longer than a piece; the next line goes on with it
}
