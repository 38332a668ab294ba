package api

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// MaxHooks is how many web hooks there may be.
const MaxHooks = 50

// The formats of a web hook's messages.
const (
	HookJSON  = "json"  // a HookMessage
	HookSlack = "slack" // {"text": …}, which Slack, Mattermost and others take
)

// HookFormats are the formats.
var HookFormats = []string{HookJSON, HookSlack}

// What a web hook may be told of.
const (
	HookStart     = "start"      // a deployment has begun
	HookSuccess   = "success"    // a deployment has succeeded
	HookRollback  = "rollback"   // a deployment was taken back
	HookFailure   = "failure"    // a deployment has failed, with nothing to go back to
	HookCancel    = "cancel"     // a deployment was cancelled by a user
	HookCrashLoop = "crash-loop" // tasks of a service fail again and again
	HookJobFailed = "job-failed" // a job has failed, run out of its time, or is lost
	HookJobMissed = "job-missed" // a run that was due by a schedule was left out
	HookTest      = "test"       // `ikada hook test`
)

// HookHappenings are what a web hook may be told of, and is unless it asks for less.
var HookHappenings = []string{HookStart, HookSuccess, HookRollback, HookFailure, HookCancel, HookCrashLoop, HookJobFailed, HookJobMissed}

// Hook is an address that is told of what happens. The address itself is kept sealed: it often is as good as a password.
type Hook struct {
	Name      string    `json:"name"`
	Host      string    `json:"host"`   // scheme and host of the address
	Format    string    `json:"format"` // HookJSON, HookSlack
	On        []string  `json:"on"`     // of HookHappenings
	Scope     string    `json:"scope"`  // of environments, as in a Grant
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy,omitempty"`
}

// Wants tells whether the hook is to be told of something in an environment.
func (h *Hook) Wants(happening string, ref EnvRef) bool {
	return slices.Contains(h.On, happening) && Grants{{RoleView, h.Scope}}.Allow(RoleView, ref)
}

// SealedHook is a hook as it is kept: with address and secret encrypted.
type SealedHook struct {
	Hook
	Sealed []byte `json:"sealed"`
}

// HookTarget is where a hook's messages go, and what they are signed with.
type HookTarget struct {
	URL    string `json:"url"`
	Secret string `json:"secret"`
}

// HookState is how far a hook has been told.
type HookState struct {
	Rev       int64     `json:"rev"`             // of the store, at which the last event that is done with was written
	Event     string    `json:"event,omitempty"` // its ID; events of one revision go by that
	Attempts  int       `json:"attempts,omitempty"`
	NextAt    time.Time `json:"nextAt,omitzero"` // of the next attempt, when the last has failed
	LastAt    time.Time `json:"lastAt,omitzero"` // of the last attempt
	Problem   string    `json:"problem,omitempty"`
	Delivered uint64    `json:"delivered"`
	Dropped   uint64    `json:"dropped"` // given up
}

// HookView is a hook with how it does.
type HookView struct {
	Hook
	State HookState `json:"state"`
}

// HookRequest asks for a hook.
type HookRequest struct {
	Name   string   `json:"name"`
	URL    string   `json:"url"`
	Format string   `json:"format,omitempty"` // "" is HookJSON
	On     []string `json:"on,omitempty"`     // none is all
	Scope  string   `json:"scope,omitempty"`  // "" is every environment
}

// NewHook is a hook at the only moment at which its secret is known.
type NewHook struct {
	Hook
	Secret string `json:"secret"`
}

// HookResult is what became of one attempt.
type HookResult struct {
	Status  int      `json:"status,omitempty"` // of HTTP; 0 when there was no answer
	Took    Duration `json:"took"`
	Problem string   `json:"problem,omitempty"` // "" is delivered
}

var hookName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// maxHookURL is the longest address, in bytes.
const maxHookURL = 2048

// Hook checks the request and gives the hook that it asks for, without when and by whom.
func (r HookRequest) Hook() (Hook, error) {
	h := Hook{Name: r.Name, Format: r.Format, On: r.On, Scope: r.Scope}
	if !hookName.MatchString(h.Name) {
		return h, FieldError("name", h.Name, "1 to 63 characters of a-z, 0-9 and '-', the first and last a letter or digit")
	}
	u, err := url.Parse(r.URL)
	if err != nil || len(r.URL) > maxHookURL || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Fragment != "" {
		return h, FieldError("url", "", fmt.Sprintf("http:// or https:// with a host, at most %d bytes", maxHookURL)) // its value may be secret
	}
	h.Host = u.Scheme + "://" + u.Host
	if h.Format == "" {
		h.Format = HookJSON
	}
	if !slices.Contains(HookFormats, h.Format) {
		return h, FieldError("format", h.Format, strings.Join(HookFormats, " or "))
	}
	if len(h.On) == 0 {
		h.On = HookHappenings
	}
	h.On = slices.Compact(slices.Sorted(slices.Values(h.On)))
	for _, on := range h.On {
		if !slices.Contains(HookHappenings, on) {
			return h, FieldError("on", on, strings.Join(HookHappenings, ", "))
		}
	}
	if h.Scope == "" {
		h.Scope = "*/*"
	}
	if err := (Grant{RoleView, h.Scope}).Validate(); err != nil {
		return h, err
	}
	return h, nil
}

// HookMessage is what a hook of the format json is sent.
type HookMessage struct {
	ID      string    `json:"id"` // the same at every attempt
	Hook    string    `json:"hook"`
	Time    time.Time `json:"time"` // when it happened
	On      string    `json:"on"`   // of HookHappenings, or HookTest
	Cluster string    `json:"cluster,omitempty"`
	EnvRef
	Service    string          `json:"service,omitempty"`
	Level      string          `json:"level"`
	Message    string          `json:"message"` // a whole sentence
	Deployment *HookDeployment `json:"deployment,omitempty"`
	Job        *HookJob        `json:"job,omitempty"`
}

// HookJob is the job that a message is about. Of a run that was left out, there are only service and name.
type HookJob struct {
	Service   string    `json:"service"`
	Name      string    `json:"name"` // of the cron; else the kind
	ID        string    `json:"id,omitempty"`
	Kind      JobKind   `json:"kind,omitempty"`
	Release   uint64    `json:"release,omitempty"`
	State     JobState  `json:"state,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	ExitCode  *int      `json:"exitCode,omitempty"`
	By        string    `json:"by,omitempty"`
	Due       time.Time `json:"due,omitzero"` // by the schedule
	StartedAt time.Time `json:"startedAt,omitzero"`
	EndedAt   time.Time `json:"endedAt,omitzero"`
}

// HookDeployment is the deployment that a message is about, as it was when the message was sent.
type HookDeployment struct {
	Number  uint64          `json:"number"`
	Kind    string          `json:"kind"` // KindDeploy, KindRollback
	From    uint64          `json:"from"`
	Release uint64          `json:"release"`
	Commit  string          `json:"commit,omitempty"` // of the release
	Note    string          `json:"note,omitempty"`   // kept with the release
	By      string          `json:"by,omitempty"`
	State   DeploymentState `json:"state"`
	Reason  string          `json:"reason,omitempty"`
	Receipt Receipt         `json:"receipt,omitzero"`

	Trial    Trial     `json:"trial,omitempty"`
	Verdicts []Verdict `json:"verdicts,omitempty"` // the last ones, with their numbers
	Follow   uint64    `json:"follow,omitempty"`   // the deployment that leads back from one that failed on trial
}
