package api

import "time"

// PlanRequest asks what a deployment would do. Exactly one of Deploy, Promote and Rollback is set.
type PlanRequest struct {
	Deploy   *DeployRequest   `json:"deploy,omitempty"` // a service without an image is one whose image is to be built
	Promote  *PromoteRequest  `json:"promote,omitempty"`
	Rollback *RollbackRequest `json:"rollback,omitempty"`

	KeepImages bool     `json:"keepImages,omitempty"` // what is to be built turns out as what runs; else as something new
	WhatIf     []Hazard `json:"whatIf,omitempty"`     // each is answered by itself
}

// MaxHazards bounds the questions of one PlanRequest.
const MaxHazards = 10

// Hazard is something that goes wrong in a rehearsal.
type Hazard struct {
	Kind string    `json:"kind"`           // HazardLose, HazardFail, HazardCrash
	Name string    `json:"name"`           // of the node, or of the service
	Step int       `json:"step,omitempty"` // of HazardLose: right after that step
	At   *Duration `json:"at,omitempty"`   // of HazardLose: since the beginning; of HazardCrash: since the task was ready
}

// The kinds of a Hazard.
const (
	HazardLose  = "lose"  // the node dies, and no other is told; with neither Step nor At after every step in turn
	HazardFail  = "fail"  // the service's new tasks never become ready
	HazardCrash = "crash" // the service's new tasks exit, without At as soon as they run
)

// String gives the hazard as a command line has it: "lose=n2@3".
func (h Hazard) String() string {
	text := h.Kind + "=" + h.Name
	switch {
	case h.Step > 0:
		text += "@" + itoa(h.Step)
	case h.At != nil:
		text += "@" + h.At.String()
	}
	return text
}

// PlanResponse tells what a deployment would do, as far as that can be known. Nothing of it was written.
type PlanResponse struct {
	DeployResponse
	Changes []Change `json:"changes"`         // from the committed release
	Notes   []string `json:"notes,omitempty"` // what was assumed
	Rehearsal
	WhatIf []Answer `json:"whatIf,omitempty"` // in the order of the request
}

// Rehearsal is how a deployment went that was played by the planner's own rules.
type Rehearsal struct {
	State     DeploymentState `json:"state"`            // in which it ended; running: it did not
	Reason    string          `json:"reason,omitempty"` // why it did not succeed
	Committed uint64          `json:"committed"`        // release of the environment at the end; 0 is none
	Took      Duration        `json:"took"`             // from now to its end, with whatever came before it
	Gaps      []Gap           `json:"gaps,omitempty"`   // in which a service had no task ready that had some before
	Steps     []PlanStep      `json:"steps"`            // what happens at one moment has one number
	Tasks     []PlanTask      `json:"tasks,omitempty"`  // that are wanted when the deployment has ended, by service and slot
	Cut       bool            `json:"cut,omitempty"`    // there was more to come
}

// Succeeds tells whether the deployment reaches its release.
func (r *Rehearsal) Succeeds() bool { return r.State == DeploySucceeded }

// Gap is a time in which nothing of a service could answer.
type Gap struct {
	Service string   `json:"service"`
	From    Duration `json:"from"`
	For     Duration `json:"for"`
	Open    bool     `json:"open,omitempty"` // it had not ended when the rehearsal did
}

// PlanStep is one thing that happens in a rehearsal.
type PlanStep struct {
	Number  int      `json:"number"`
	At      Duration `json:"at"`   // since the beginning
	Type    string   `json:"type"` // as of the event that the real thing writes, where there is one: "task.ready"
	Service string   `json:"service,omitempty"`
	Task    string   `json:"task,omitempty"` // its name: "web.2"
	Node    string   `json:"node,omitempty"`
	Release uint64   `json:"release,omitempty"`
	Text    string   `json:"text"`
}

// PlanTask is a task that is there when a rehearsed deployment has ended.
type PlanTask struct {
	Service string  `json:"service"`
	Slot    int     `json:"slot"`
	Release uint64  `json:"release"`
	Node    string  `json:"node,omitempty"`
	Desired Desired `json:"desired"` // running or warm
}

// The types of steps that are no events.
const (
	PlanStart  = "task.start"
	PlanWait   = "task.wait" // no node, or held back
	PlanDrain  = "task.drain"
	PlanWarm   = "task.warm"
	PlanResume = "deployment.resume" // a person would have to
	PlanRoute  = "route.changed"
	PlanTrial  = "release.trial" // its end
	PlanLose   = "node.dies"
	PlanReturn = "node.back"
)

// Answer says what would become of a deployment in which something goes wrong.
type Answer struct {
	Hazard    Hazard `json:"hazard"`
	Cases     []Case `json:"cases"` // one for each step after which it was tried
	Worst     int    `json:"worst"` // index in Cases
	Rehearsal        // of the worst
}

// Case is one time at which a hazard was tried.
type Case struct {
	Step   int             `json:"step,omitempty"` // after which; 0: at no step in particular
	At     Duration        `json:"at"`
	State  DeploymentState `json:"state"`
	Reason string          `json:"reason,omitempty"`
	Took   Duration        `json:"took"`
	Gaps   []Gap           `json:"gaps,omitempty"`
}

// Gone gives for how long in all a service had nothing ready.
func (c *Case) Gone() time.Duration {
	var sum time.Duration
	for _, g := range c.Gaps {
		sum += g.For.Std()
	}
	return sum
}
