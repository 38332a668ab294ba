// Package rehearse plays a deployment before it is made: it takes a copy of the real world and lets time pass in it, by
// the planners that decide in the real one (round.Make, route.Table), with agents, balancers and nodes that do what
// they are known to do, and it writes down what happens. Things may be made to go wrong on the way.
//
// What it cannot know it assumes: tasks start as fast as those before them ([PaceOf]), requests are answered as before,
// and the control plane stays where it is, unless every node is gone.
//
// The package is pure: no I/O, no clock, no random source. Start at [Run], then stage.go.
package rehearse

import (
	"maps"
	"slices"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/place"
)

// Setting is what a rehearsal begins with. Run changes nothing of it.
type Setting struct {
	Now         time.Time
	Env         api.Environment
	Deployments []*api.Deployment // those that run, wait or are on trial, by number
	Deployment  uint64            // the one that is rehearsed, queued
	Releases    map[uint64]*api.Release
	Tasks       []*api.Task // of the environment
	Statuses    map[string]*api.TaskStatus
	Jobs        []*api.Job
	Nodes       []place.Node      // with what other environments have placed on them
	Pressure    map[string]string // as in deploy.World
	Lease       time.Duration     // how long a node that died counts as alive
}

// Bounds of a rehearsal, against worlds that never come to rest.
const (
	maxTime  = 7 * 24 * time.Hour // of the world's
	maxPlans = 20_000
	maxSteps = 4_000
	maxRound = 1_000 // plans at one moment
)

// Run plays the deployment with what goes wrong in it, nil for nothing.
func Run(s Setting, h *Trouble) api.Rehearsal {
	st := newStage(s, h)
	st.run()
	return st.result()
}

// Trouble is what goes wrong in a rehearsal.
type Trouble struct {
	Lose  string        // node that dies
	At    time.Duration // when, since the beginning
	Fail  string        // service whose new tasks never become ready
	Crash string        // service whose new tasks exit
	After time.Duration // so long after they were ready; 0: as soon as they run
}

// returns is after what time the last node is taken to come back.
const returns = time.Minute

// actor is a task with what its agent says of it.
type actor struct {
	api.Task
	status api.TaskStatus
	spoken bool // the agent has said something
}

// node is a node with its balancer.
type node struct {
	place.Node
	died   time.Time // zero: it lives
	status api.BalancerStatus
	left   map[string]time.Time // task → since when it is no longer picked
}

// stage is the world in which a rehearsal plays.
type stage struct {
	set     Setting
	trouble Trouble
	pace    map[string]Pace

	now         time.Time
	env         api.Environment
	deployments []*api.Deployment
	tasks       []*actor // by creation
	byID        map[string]*actor
	jobs        []*api.Job
	nodes       []*node
	wake        time.Time // when the last plan is to be looked at again
	back        time.Time // when the last node comes back; zero: none is awaited
	ids, plans  int

	steps  []api.PlanStep
	shares map[string]string // service → how its requests are shared
	gaps   gaps
	over   bool           // the deployment has ended
	left   []api.PlanTask // by then
	cut    bool
}

func newStage(s Setting, h *Trouble) *stage {
	st := &stage{set: s, now: s.Now, env: s.Env, byID: map[string]*actor{}, shares: map[string]string{}}
	st.env.Scale = maps.Clone(s.Env.Scale)
	if h != nil {
		st.trouble = *h
	}
	st.pace = paces(&s)
	for _, d := range s.Deployments {
		c := *d
		st.deployments = append(st.deployments, &c)
	}
	for _, t := range s.Tasks {
		a := &actor{Task: *t}
		if status := s.Statuses[t.ID]; status != nil {
			a.status, a.spoken = *status, true
		}
		st.tasks = append(st.tasks, a)
		st.byID[t.ID] = a
	}
	for _, j := range s.Jobs {
		c := *j
		st.jobs = append(st.jobs, &c)
	}
	for i := range s.Nodes {
		n := &node{Node: s.Nodes[i], left: map[string]time.Time{}}
		if n.Down {
			n.died = s.Now.Add(-s.Lease)
		}
		st.nodes = append(st.nodes, n)
	}
	slices.SortFunc(st.nodes, func(a, b *node) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return st
}

// target gives the deployment that is rehearsed.
func (st *stage) target() *api.Deployment {
	for _, d := range st.deployments {
		if d.Number == st.set.Deployment {
			return d
		}
	}
	return nil
}

// result sums up what was played.
func (st *stage) result() api.Rehearsal {
	r := api.Rehearsal{Steps: st.steps, Committed: st.env.Release, Tasks: st.left, Cut: st.cut, Gaps: st.gaps.list(st.since(st.now))}
	number := 0
	for i := range r.Steps {
		if i == 0 || r.Steps[i].At != r.Steps[i-1].At {
			number++
		}
		r.Steps[i].Number = number
	}
	if d := st.target(); d != nil {
		r.State, r.Reason = d.State, d.Reason
		r.Took = st.since(st.now)
		if !d.EndedAt.IsZero() {
			r.Took = st.since(d.EndedAt)
		}
	}
	return r
}

func (st *stage) since(t time.Time) api.Duration { return api.Duration(t.Sub(st.set.Now)) }
