// Package job plans the jobs of one environment: which to begin because a deployment asks for it or their time has
// come, whose task to make or to stop, how each has ended, and whose record to forget. A job has one task in its life:
// what cannot be known to have run to its end is lost, never run again.
//
// The package is pure: no I/O, no clock, no random source. When a schedule is due comes in its argument; the control
// loop reckons it, gives IDs, and gives nodes to tasks. Start at [Make].
package job

import (
	"time"

	"github.com/ikada/ikada/api"
)

// World is everything that the plan of an environment's jobs depends on. Make changes nothing of it.
type World struct {
	Now        time.Time
	Heard      time.Time // until then no client counts as gone: it may be about to come back after a restart
	Joined     time.Time // until then nodes may still have to say what has ended while nobody listened
	Env        api.Environment
	Deployment *api.Deployment         // the running one, as it will be written; nil when there is none
	Releases   map[uint64]*api.Release // all that the environment, the deployment and the jobs name
	Jobs       []api.Job               // all of the environment
	Tasks      []Task                  // all that jobs have
	Begin      []string                // services whose release command the deployment is to begin
	Checks     []Check                 // that are to be made now
	Judged     uint64                  // the deployment whose checks have a say, running or on trial; 0: none
	Crons      []Cron                  // those of the committed release, and those whose state is kept
}

// Task is a job's task as the control plane sees it.
type Task struct {
	api.Task
	Status api.TaskStatus
	Lost   bool // its node's lease ran out
}

// Check is a release's check that runs a command.
type Check struct {
	Service    string
	Name       string // of its job
	Release    uint64 // whose image runs it
	Deployment uint64
	Command    api.Command
	Timeout    api.Duration
	Hosts      api.Hosts
}

// Cron is one schedule.
type Cron struct {
	State api.Cron      // as it is kept; without Schedule when it is new
	Spec  *api.CronSpec // of the committed release; nil when that has no such cron
	Due   time.Time     // the last moment after State.Since, and not after now, at which it was due; zero: none
	More  int           // moments before Due, and after State.Since, at which it was due; counted up to some bound
	Look  time.Time     // when to look again: at the first after now, or before; zero: never
}

// Plan is what to do, and when to look again.
type Plan struct {
	Create      []api.Job  // without ID; their tasks are made by the next plan
	Update      []api.Job  // changed
	Forget      []string   // IDs of ended jobs, and their tasks, that are history no more
	Tasks       []api.Task // to create, without node
	Change      []api.Task // Desired, DesiredAt and Reason changed
	Drop        []string   // IDs of tasks whose record goes
	Crons       []api.Cron // new and changed
	ForgetCrons []api.Cron
	Events      []api.Event // without ID and Time
	Wake        time.Time   // zero: only when something changes
}

// Empty tells whether there is nothing to write.
func (p *Plan) Empty() bool {
	return len(p.Create)+len(p.Update)+len(p.Forget)+len(p.Tasks)+len(p.Change)+len(p.Drop)+len(p.Crons)+len(p.ForgetCrons)+len(p.Events) == 0
}

func (p *Plan) wake(now, at time.Time) {
	if at.After(now) && (p.Wake.IsZero() || at.Before(p.Wake)) {
		p.Wake = at
	}
}
