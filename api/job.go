package api

import (
	"maps"
	"time"
)

// Command is what a job runs in the place of its service's own.
type Command struct {
	// Entrypoint and Command replace the service's where not nil.
	Entrypoint []string          `json:"entrypoint,omitzero"`
	Command    []string          `json:"command,omitzero"`
	Env        map[string]string `json:"env,omitempty"` // added to the service's
}

// ReleaseCommand is run once in a deployment, with the new release's image, config and secrets, before a task of it is
// made; a deployment whose command fails is taken back.
type ReleaseCommand struct {
	Command
	Timeout Duration `json:"timeout,omitempty"` // 0 is DefaultReleaseTimeout
}

// CronSpec is a command that the committed release runs by a schedule.
type CronSpec struct {
	Command
	Schedule string `json:"schedule"`           // five fields, six with seconds first, or @hourly and the like, or @every D
	Timezone string `json:"timezone,omitempty"` // of the IANA database; "" is UTC

	// Concurrency says what becomes of a run that is due while the one before is not over: CronForbid (the default)
	// leaves it out, CronAllow starts it beside, CronReplace stops the one before first.
	Concurrency string   `json:"concurrency,omitempty"`
	Timeout     Duration `json:"timeout,omitempty"` // 0: none

	// Missed says what becomes of runs that were due while nobody could start them: MissedSkip (the default) leaves them
	// out, MissedOnce makes up for the last of them, unless it is later than StartingDeadline (0: however late).
	Missed           string   `json:"missed,omitempty"`
	StartingDeadline Duration `json:"startingDeadline,omitempty"`
}

// What a CronSpec may say of runs that overlap or were missed.
const (
	CronForbid  = "forbid"
	CronAllow   = "allow"
	CronReplace = "replace"
	MissedSkip  = "skip"
	MissedOnce  = "once"
)

// Bounds of jobs.
const (
	DefaultReleaseTimeout = Duration(10 * time.Minute)
	AttachLease           = Duration(30 * time.Second) // how long an attached job outlives its client's last word
	MaxCrons              = 50                         // of a service
	MaxJobs               = 50                         // of an environment, at once
	KeepJobs              = 10                         // ended jobs kept of each cron, of each release command, and of one-off runs
)

// JobKind is why a job runs.
type JobKind string

// The kinds of a job.
const (
	JobRun     JobKind = "run"     // somebody asked for it
	JobRelease JobKind = "release" // a deployment asks for it
	JobCron    JobKind = "cron"    // its time has come
	JobCheck   JobKind = "check"   // a release is checked by it
)

// JobState is where a job stands. All but pending and running are final.
type JobState string

// The states of a job.
const (
	JobPending   JobState = "pending" // its process does not run yet; Reason says why
	JobRunning   JobState = "running"
	JobSucceeded JobState = "succeeded" // exit code 0
	JobFailed    JobState = "failed"
	JobTimedOut  JobState = "timed out"
	JobStopped   JobState = "stopped" // on somebody's word, or since nobody is left who wants it
	JobLost      JobState = "lost"    // its node or its container disappeared: how far it got is not known
)

// Final tells whether the state is an end.
func (s JobState) Final() bool { return s != JobPending && s != JobRunning }

// Job is one run of a command to its end, by a task of its own. It is never run again: when nobody knows how it ended,
// that is what it says. Users own Stop, Until, Begun and Result; the control plane owns the rest.
type Job struct {
	ID string `json:"id"` // its task's too
	EnvRef
	Kind       JobKind   `json:"kind"`
	Service    string    `json:"service"`
	Name       string    `json:"name"` // of the cron; else the kind
	Release    uint64    `json:"release"`
	Deployment uint64    `json:"deployment,omitempty"` // whose release command or check it is
	Command    Command   `json:"command"`
	Timeout    Duration  `json:"timeout,omitempty"` // from its process's start; 0: none
	Hosts      Hosts     `json:"hosts,omitempty"`   // names that its task knows by these addresses
	Due        time.Time `json:"due,omitzero"`      // by the schedule; zero for one that was asked for
	CreatedAt  time.Time `json:"createdAt"`
	CreatedBy  string    `json:"createdBy,omitempty"`

	// Terminal: its command gets a client's standard input and output, and maybe a terminal, in place of a log. The task
	// is made and waits; the command runs once the client is there.
	Terminal bool       `json:"terminal,omitempty"`
	Until    time.Time  `json:"until,omitzero"`   // it is stopped when this has passed: its client has gone
	Stop     string     `json:"stop,omitempty"`   // why it is to stop
	Begun    bool       `json:"begun,omitempty"`  // a Terminal's command was begun, which is done once
	Result   *JobResult `json:"result,omitempty"` // of a Terminal's command

	Made      bool      `json:"made,omitempty"` // its task was made: it has no other
	State     JobState  `json:"state"`
	Reason    string    `json:"reason,omitempty"` // what it waits for, or how it ended
	Cause     Cause     `json:"cause,omitempty"`  // class of failure
	ExitCode  *int      `json:"exitCode,omitempty"`
	StartedAt time.Time `json:"startedAt,omitzero"`
	EndedAt   time.Time `json:"endedAt,omitzero"`
}

// Title names the job as its task is named: "web.release", "web.cleanup".
func (j *Job) Title() string { return j.Service + "." + j.Name }

// Cron is how far a schedule has come. The control plane owns it.
type Cron struct {
	EnvRef
	Service   string    `json:"service"`
	Name      string    `json:"name"`
	Schedule  string    `json:"schedule"`
	Timezone  string    `json:"timezone,omitempty"`
	Since     time.Time `json:"since"`               // what was due until then has been seen to
	Suspended bool      `json:"suspended,omitempty"` // the environment is down
	SkippedAt time.Time `json:"skippedAt,omitzero"`  // when the last run was due that was left out
	Skipped   string    `json:"skipped,omitempty"`   // why it was
}

// JobResult is how a command ended that ran before its client's eyes.
type JobResult struct {
	Code  int       `json:"code"`
	Error string    `json:"error,omitempty"` // why it could not be run
	At    time.Time `json:"at"`
}

// JobRequest asks for a one-off run of a command with the committed release of a service.
type JobRequest struct {
	Service string `json:"service"`
	Command
	Timeout  Duration `json:"timeout,omitempty"`
	Attached bool     `json:"attached,omitempty"` // it is stopped when its client has gone; see AttachLease
	Terminal bool     `json:"terminal,omitempty"` // see Job; an attached one
}

// JobList is an environment's schedules and jobs.
type JobList struct {
	Crons []CronView `json:"crons"` // by service and name
	Jobs  []Job      `json:"jobs"`  // the newest first
}

// CronView is a schedule with what became of its runs.
type CronView struct {
	Cron
	Spec CronSpec  `json:"spec"`
	Next time.Time `json:"next,omitzero"`
	Last *Job      `json:"last,omitempty"` // the newest
}

// JobEvent is one piece of what a job does: where it stands, or a line of its output.
type JobEvent struct {
	Job  *Job     `json:"job,omitempty"`
	Line *LogLine `json:"line,omitempty"`
	Raw  []byte   `json:"raw,omitempty"` // the line's text where that is not valid UTF-8
}

// TaskJob marks a task as a job's.
type TaskJob struct {
	Kind     JobKind `json:"kind"`
	Name     string  `json:"name"`
	Command  Command `json:"command"`
	Terminal bool    `json:"terminal,omitempty"`
	Hosts    Hosts   `json:"hosts,omitempty"` // further names, over those that the service has anyway
}

// Hosts are host names with their addresses.
type Hosts map[string]string

// ForJob gives what a job's task of the service runs: the same image, environment, limits, mounts, networks and secrets
// with another command, without a check, a restart, ports and routes, and with a log in any case.
func (s ServiceSpec) ForJob(c Command) ServiceSpec {
	s = s.WithDefaults()
	if c.Entrypoint != nil {
		s.Entrypoint = c.Entrypoint
		if c.Command == nil {
			s.Command = []string{}
		}
	}
	if c.Command != nil {
		s.Command = c.Command
	}
	if len(c.Env) > 0 { // it wins over whatever the service has by these names
		s.Env, s.Variables, s.SecretEnv = maps.Clone(s.Environ()), nil, maps.Clone(s.SecretEnv)
		if s.Env == nil {
			s.Env = map[string]string{}
		}
		maps.Copy(s.Env, c.Env)
		maps.DeleteFunc(s.SecretEnv, func(name, _ string) bool { _, own := c.Env[name]; return own })
	}
	s.Replicas = 1
	s.Restart = RestartPolicy{Condition: RestartNone}
	s.Health = &HealthSpec{Disabled: true}
	s.Ports, s.Expose, s.Routes = nil, nil, nil
	s.Hostname, s.TTY, s.StdinOpen, s.Exclusive = "", false, false, false
	s.Placement.MaxPerNode = 0
	s.Logging.Disabled = false
	s.Release, s.Cron, s.Checks = nil, nil, nil
	return s
}
