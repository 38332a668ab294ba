// Package deploy plans one environment: which tasks to create, to drain, to stop and to forget, and how its
// deployment moves on. Rolling out, rolling back, healing and scaling are one plan, made again whenever something
// changed: [Make] takes a [World] and returns a [Plan].
//
// The package is pure: no I/O, no clock, no random source. It assigns no nodes and no IDs; the control loop does.
// Start at [Make].
package deploy

import (
	"cmp"
	"sort"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/verdict"
)

// World is everything that the plan of one environment depends on. Make changes nothing of it, but for what
// Hashes remembers.
type World struct {
	Now        time.Time
	Env        api.Environment
	Deployment *api.Deployment         // the running one, else the queued one to begin, else nil
	Releases   map[uint64]*api.Release // all that the environment, the deployment and the tasks name
	Tasks      []Task                  // all of the environment, also ended ones; those of jobs do not count
	Problems   map[string]string       // service → why one of its published ports could not be opened
	Commands   map[string]Command      // service → its release command in the deployment, once it was made
	Pressure   map[string]string       // node → why nothing stays warm there, such as a lack of memory

	// Bake is the deployment that brought the committed release while that is still judged; nil when none. While
	// another deployment is there its trial rests.
	Bake    *api.Deployment
	Traffic map[string]Traffic // service → what its requests met; what is not there was not counted; nil: nobody counts

	// Hashes is what plans of the environment have worked out before; Make adds to it. nil: every plan begins anew.
	Hashes *Hashes

	Answers map[CheckKey]Answer // the last ones to questions of this deployment or trial
	Asking  map[CheckKey]bool   // questions that are under way
	Unasked bool                // in a rehearsal: nobody is there to ask, and checks are taken to pass
}

// Traffic is what a service's requests met, by release and second.
type Traffic map[uint64][]verdict.Second

// Task is a task as the control plane sees it.
type Task struct {
	api.Task
	Status   api.TaskStatus
	Lost     bool // its node's lease ran out
	Serving  bool // every live balancer may pick it; true also where no balancer has to
	Unpicked bool // every live balancer confirmed that it picks it no more; its requests may still be in flight
	Released bool // every live balancer confirmed that it picks it no more, and none of its requests is in flight
}

// Plan is what to do, and when to look again.
type Plan struct {
	Create     []api.Task       // without ID and Node
	Update     []api.Task       // Desired, DesiredAt, Reason or Fault changed
	Forget     []string         // IDs of ended tasks that nobody needs any more
	Env        *api.Environment // when changed
	Deployment *api.Deployment  // when changed
	Bake       *api.Deployment  // World.Bake when changed
	Follow     *api.Deployment  // to be queued: the way back from a release that failed later
	Events     []api.Event      // without ID and Time
	Commands   []string         // services whose release command is to be run now
	Ask        []Question       // checks to be asked now
	Wake       time.Time        // zero: only when something changes
}

// Empty tells whether there is nothing to write. Questions are not written down; their answers are.
func (p *Plan) Empty() bool {
	return len(p.Create)+len(p.Update)+len(p.Forget)+len(p.Events)+len(p.Commands) == 0 && p.Env == nil && p.Deployment == nil &&
		p.Bake == nil && p.Follow == nil
}

func (p *Plan) wake(now, at time.Time) {
	if at.After(now) && (p.Wake.IsZero() || at.Before(p.Wake)) {
		p.Wake = at
	}
}

// live tells whether the task has not ended. A task whose node is lost counts as live: it may well go on there.
func (t *Task) live() bool { return !t.Status.State.Final() }

// running tells whether the control plane wants the task to go on.
func (t *Task) running() bool { return t.Desired == api.WantRunning }

// ready tells whether the task has come up and is there, also where it is to be warm or to leave.
func (t *Task) ready() bool { return !t.Lost && t.Status.State == api.TaskReady }

// up tells whether the task can serve requests.
func (t *Task) up() bool { return t.ready() && t.running() && !t.Status.Unhealthy }

// healthy tells whether the task serves requests now.
func (t *Task) healthy() bool { return t.up() && t.Serving }

// started tells whether the task's process runs.
func (t *Task) started() bool {
	return !t.Status.State.Before(api.TaskRunning) && t.Status.State != "" && t.Status.State != api.TaskUnknown
}

// mayServe tells of a task that is to be warm whether a balancer may still send it requests.
func (t *Task) mayServe() bool { return !t.Unpicked && !t.Lost && t.live() }

// completed tells whether the task ran to its end with success.
func (t *Task) completed() bool { return t.Status.State == api.TaskStopped && t.running() }

// failed tells whether the task ended, or is being ended, by its own fault.
func (t *Task) failed() bool {
	return (t.Status.State == api.TaskFailed && t.running() || t.Fault != "") && !t.astray()
}

// astray tells whether the task ended with its node or its container, which says nothing about its release.
func (t *Task) astray() bool {
	return t.Fault == api.CauseLost || t.Fault == "" && t.Status.State == api.TaskFailed && t.Status.Cause == api.CauseLost
}

// fault gives the sentence that says why the task failed.
func (t *Task) fault() string { return t.Name() + ": " + t.why() }

// why is fault without the task's name.
func (t *Task) why() string {
	if t.Fault != "" && t.Reason != "" {
		return t.Reason
	}
	return cmp.Or(t.Status.Message, "failed")
}

func sortTasks(ts []*Task) {
	sort.Slice(ts, func(i, j int) bool {
		if ts[i].Slot != ts[j].Slot {
			return ts[i].Slot < ts[j].Slot
		}
		if !ts[i].CreatedAt.Equal(ts[j].CreatedAt) {
			return ts[i].CreatedAt.Before(ts[j].CreatedAt)
		}
		if ts[i].Attempt != ts[j].Attempt { // made in one instant
			return ts[i].Attempt < ts[j].Attempt
		}
		return ts[i].ID < ts[j].ID
	})
}
