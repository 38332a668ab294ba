package api

import (
	"fmt"
	"time"
)

// DeploymentState is where a deployment stands.
type DeploymentState string

// The states of a deployment. All but queued and running are final.
const (
	DeployQueued     DeploymentState = "queued"
	DeployRunning    DeploymentState = "running"
	DeploySucceeded  DeploymentState = "succeeded"
	DeployRolledBack DeploymentState = "rolled back"
	DeployFailed     DeploymentState = "failed"
	DeployCancelled  DeploymentState = "cancelled"
	DeploySuperseded DeploymentState = "superseded"
)

// Final tells whether the state is an end.
func (s DeploymentState) Final() bool { return s != DeployQueued && s != DeployRunning }

// Deployment moves an environment from one release to another.
type Deployment struct {
	EnvRef
	Number    uint64          `json:"number"` // per environment
	Kind      string          `json:"kind"`   // KindDeploy, KindRollback
	From      uint64          `json:"from"`   // release committed when it started; 0 is none
	To        uint64          `json:"to"`
	State     DeploymentState `json:"state"`
	Restart   bool            `json:"restart,omitempty"`   // of tasks alone: no release command runs
	Backwards bool            `json:"backwards,omitempty"` // on its way back to From, because of Reason
	Cancel    bool            `json:"cancel,omitempty"`    // a user asked to cancel it; who stands in Reason
	PausedAt  time.Time       `json:"pausedAt,omitzero"`   // a user paused it; it goes on when ResumedAt is later
	ResumedAt time.Time       `json:"resumedAt,omitzero"`  // a user had it go on, also from a step that holds
	Reason    string          `json:"reason,omitempty"`    // why it ended as it did, or goes backwards
	Rollouts  []Rollout       `json:"rollouts,omitempty"`  // by service name
	Scale     map[string]int  `json:"scale,omitempty"`     // numbers set by hand that To takes away; the way back gives them back
	Ailing    []Ailment       `json:"ailing,omitempty"`    // services that To leaves as they are and that were failing when it began, by name
	Receipt   Receipt         `json:"receipt,omitzero"`
	CreatedAt time.Time       `json:"createdAt"`
	CreatedBy string          `json:"createdBy,omitempty"`
	StartedAt time.Time       `json:"startedAt,omitzero"`
	SwappedAt time.Time       `json:"swappedAt,omitzero"` // when only tasks of the target were left
	EndedAt   time.Time       `json:"endedAt,omitzero"`
	Trial     Trial           `json:"trial,omitempty"`
	BakedAt   time.Time       `json:"bakedAt,omitzero"`   // until when the target is on trial, or was
	Verdicts  []Verdict       `json:"verdicts,omitempty"` // by service name; the last word on each
	Checks    []CheckResult   `json:"checks,omitempty"`   // the app's, then those of its services by name
	Turns     []Verdict       `json:"turns,omitempty"`    // those that said something else than the one before of their service, by time; at most KeepTurns
	Follow    uint64          `json:"follow,omitempty"`   // of a target that failed on trial: the deployment that leads back

	Target   *Content `json:"target,omitempty"`   // what To ships, noted when the deployment began
	Replaced *Content `json:"replaced,omitempty"` // what From had; nil when there was none
	Builds   []Build  `json:"builds,omitempty"`   // of the target's images, by the client that asked for it
	Steps    []Step   `json:"steps,omitempty"`    // in the order in which they began; at most KeepSteps
}

// Ailment is why a service was failing when a deployment began whose target has it run the same as before. The deployment
// leaves such a service as it is: it neither judges its tasks nor waits for them, forwards or back, and they are healed
// as at any other time.
type Ailment struct {
	Service string `json:"service"`
	Reason  string `json:"reason"` // "exited with code 1 (7 times)"
}

// String says what was wrong, and what the deployment makes of it, in one sentence.
func (a Ailment) String() string {
	return a.Service + " was failing before this deployment began and is left as it is: " + a.Reason
}

// Ailment gives why the service was failing when the deployment began, "" when it was not or is changed.
func (d *Deployment) Ailment(service string) string {
	for _, a := range d.Ailing {
		if a.Service == service {
			return a.Reason
		}
	}
	return ""
}

// Trial is where a release stands that has taken over: it is judged for a while longer.
type Trial string

// The stages of a Trial. One that fails turns its deployment's state into DeployRolledBack.
const (
	TrialOn         Trial = "on trial"
	TrialVerified   Trial = "verified"
	TrialUnverified Trial = "unverified" // there was not enough to tell
	TrialFailed     Trial = "failed"
	TrialEnded      Trial = "ended" // by another deployment
)

// UntilTrial has a deployment watched until its trial has ended too.
const UntilTrial = "trial"

// Paused tells whether a user has paused the deployment.
func (d *Deployment) Paused() bool { return d.PausedAt.After(d.ResumedAt) }

// Back says in words where the deployment goes when it is turned back: "goes back to release 3".
func (d *Deployment) Back() string {
	if d.From == 0 {
		return "is taken back; there is no release before it"
	}
	return fmt.Sprintf("goes back to release %d", d.From)
}

// The kinds of a deployment.
const (
	KindDeploy   = "deploy"
	KindRollback = "rollback"
)

// RolloutState is where a service stands within a deployment.
type RolloutState string

// The states of a rollout.
const (
	RolloutWaiting    RolloutState = "waiting" // for a service it depends on, or a release command
	RolloutRolling    RolloutState = "rolling"
	RolloutPaused     RolloutState = "paused" // by a user, or at a step that holds
	RolloutMonitoring RolloutState = "monitoring"
	RolloutDone       RolloutState = "done"
	RolloutLeft       RolloutState = "left as it is" // one of Deployment.Ailing that has not come up since
)

// Rollout is a deployment's progress for one service.
type Rollout struct {
	Service string       `json:"service"`
	State   RolloutState `json:"state"`
	Want    int          `json:"want"`           // tasks of the target that are wanted
	New     int          `json:"new"`            // tasks of the target that live
	Ready   int          `json:"ready"`          // of those, serving
	Old     int          `json:"old"`            // other tasks that still live
	Warm    int          `json:"warm,omitempty"` // tasks besides, out of the way and ready to take over again
	Failed  int          `json:"failed"`         // tasks of the target that failed in this deployment
	Job     string       `json:"job,omitempty"`  // ID of the service's release command
	Reason  string       `json:"reason,omitempty"`

	// Of a service whose requests are shared by weight: the percent that the target's tasks get, the step that is on,
	// from 1, and since when. The last step is all requests.
	Weight int       `json:"weight,omitempty"`
	Step   int       `json:"step,omitempty"`
	Steps  int       `json:"steps,omitempty"`
	StepAt time.Time `json:"stepAt,omitzero"`
}
