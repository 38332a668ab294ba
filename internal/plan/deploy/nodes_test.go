package deploy

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// As in the product: for how long a node counts as alive that is not heard of, and has to join after an election.
const (
	leaseTime = 10 * time.Second
	joinTime  = 15 * time.Second
)

// node is a machine with an agent and a balancer.
type node struct {
	name  string
	bit   uint8     // in a task's sets of nodes
	cutAt time.Time // since when nobody hears from it; zero: it is heard

	// When its agent is told again what is wanted, and reports; when its balancer takes the next table, and confirms.
	hears, reports, takes, confirms time.Time

	// What of these is now.
	hearing, reporting, taking, confirming bool
}

func (n *node) cut() bool { return !n.cutAt.IsZero() }

// simTask is a task with what is true of it. What the embedded Task says is what the control plane knows.
type simTask struct {
	Task
	image   string
	job     bool           // it runs to its end
	routed  bool           // balancers send requests to it
	wasLost bool           // its node was silent for too long: what balancers say of it was not waited for
	gone    bool           // its node is not heard of any more, whatever other tasks of it are
	wish    api.Desired    // what its agent was last told
	toldAt  time.Time      // when its agent first heard of it
	known   api.TaskStatus // how it is
	older   api.TaskStatus // reported before the last one

	picking, leaving uint8 // nodes whose balancers have it in their table as a target, or as one that leaves
	picked, freed    uint8 // nodes whose balancers have confirmed that, and that no request is in flight

	leave, freedOf [8]string // as which leaving task it stands in a balancer's table, and as which it was confirmed
}

// agents lets every node do what the time and the wishes allow.
func (s *sim) agents() {
	for _, n := range s.nodes {
		n.hearing, n.reporting = s.due(n, &n.hears), s.due(n, &n.reports)
		n.taking, n.confirming = s.due(n, &n.takes) || n.hearing, s.due(n, &n.confirms) // the table comes first
	}
	for _, t := range s.tasks {
		if t.Status.State.Final() && t.picking|t.picked|t.freed == 0 {
			continue
		}
		if t.Node == "" && t.running() && s.place(t) {
			if s.dirty = true; !t.NotBefore.After(s.now) {
				t.Reason = ""
			}
		}
		if t.gone {
			s.perceive(t)
			continue
		}
		if n := s.node(t.Node); n != nil {
			s.agent(n, t)
		}
		s.balancers(t)
		s.perceive(t)
	}
	s.runCommands()
	s.listen()
}

// due tells whether a node does something now, and when next.
func (s *sim) due(n *node, at *time.Time) bool {
	if n.cut() || s.now.Before(*at) {
		return false
	}
	if s.lag > 0 {
		*at = s.now.Add(time.Duration(s.chance.Int64N(int64(s.lag))))
	}
	return true
}

func (s *sim) node(name string) *node {
	for _, n := range s.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// alive tells whether the node's lease goes on.
func (s *sim) alive(n *node) bool { return !n.cut() || s.now.Before(n.cutAt.Add(leaseTime)) }

// joined tells whether the leader has been in office for long enough to count a node as lost.
func (s *sim) joined() bool { return s.elected.IsZero() || s.now.Sub(s.elected) > joinTime }

// place gives a task a node; false when there is none.
func (s *sim) place(t *simTask) bool {
	if s.broken[t.image] == "unplaced" {
		t.Reason = "no node fits: 1 lacking memory"
		return false
	}
	for i := range s.nodes {
		if n := s.nodes[(s.nextID+i)%len(s.nodes)]; s.alive(n) {
			t.Node = n.name
			return true
		}
	}
	t.Reason = fmt.Sprintf("no node fits: %d down", len(s.nodes))
	return false
}

// agent does a node's part for a task: it hears, it acts, it reports.
func (s *sim) agent(n *node, t *simTask) {
	if n.hearing {
		if t.wish == "" {
			t.toldAt = s.now
		}
		t.wish = t.Desired
	}
	s.act(t)
	if !n.reporting || t.known == t.Status {
		return
	}
	if s.chance != nil && s.chance.IntN(30) == 0 {
		s.deliver(t, t.older)
	}
	s.deliver(t, t.known)
}

// deliver takes a report down, unless the status would go backwards.
func (s *sim) deliver(t *simTask, st api.TaskStatus) {
	if st.State.Before(t.Status.State) || t.Status.State.Final() {
		s.meet("report that is too old")
		return
	}
	if st != t.Status {
		t.older, t.Status, s.dirty = t.Status, st, true
	}
}

func (s *sim) act(t *simTask) {
	st := &t.known
	if st.State.Final() {
		return
	}
	switch t.wish {
	case "":
		return
	case api.WantWarm:
		return
	case api.WantDraining:
		st.State = api.TaskDraining
		return
	case api.WantStopped:
		if s.picksOf(t) && !t.wasLost && !strings.Contains(t.Reason, "still in flight") {
			s.wrong("%s is stopped while a balancer picks it: picking %b, leaving %b, picked %b, freed %b, %s", t.ID, t.picking, t.leaving, t.picked, t.freed, t.Reason)
		}
		st.State, st.FinishedAt = api.TaskStopped, s.now
		return
	}
	begin := latest(t.CreatedAt, t.NotBefore, t.toldAt)
	if s.now.Before(begin) {
		return
	}
	how := s.broken[t.image]
	if how == "pull" && st.State == "" {
		s.end(t, api.CausePull, "image "+t.image+" cannot be pulled: not found")
		return
	}
	if st.State == "" {
		st.State, st.StartedAt = api.TaskRunning, begin
	}
	switch {
	case how == "exit" && st.State == api.TaskRunning:
		s.end(t, api.CauseExit, "exited with code 1")
	case how == "late" && st.State == api.TaskReady && s.now.Sub(st.ReadyAt) >= 2*time.Second:
		s.end(t, api.CauseExit, "exited with code 3")
	case how == "oom" && st.State == api.TaskReady && s.now.Sub(st.ReadyAt) >= time.Second:
		s.end(t, api.CauseOOM, "killed for memory: its limit is 96 MiB")
	case how == "never" && st.State == api.TaskRunning && s.now.Sub(begin) >= s.patience:
		s.end(t, api.CauseUnhealthy, fmt.Sprintf("not ready after %s", s.patience))
	case how == "never" || how == "exit" || st.State != api.TaskRunning || s.now.Sub(begin) < s.boot:
	case t.job:
		st.State, st.FinishedAt = api.TaskStopped, s.now
	default:
		st.State, st.ReadyAt = api.TaskReady, s.now
	}
}

// end has a task's process end.
func (s *sim) end(t *simTask, cause api.Cause, why string) {
	t.known.State, t.known.Cause, t.known.Message, t.known.FinishedAt = api.TaskFailed, cause, why, s.now
	if s.lag == 0 {
		s.deliver(t, t.known)
	}
}

func (s *sim) exit(t *simTask, why string) { s.end(t, api.CauseExit, why) }

// sicken has a ready task's check fail.
func (s *sim) sicken(t *simTask) {
	t.known.Unhealthy, t.known.Message = true, "unhealthy: GET / failed 3 times"
	if s.lag == 0 {
		s.deliver(t, t.known)
	}
}

// picksOf tells whether a balancer that is alive may send requests to the task.
func (s *sim) picksOf(t *simTask) bool {
	for _, n := range s.nodes {
		if !n.cut() && !n.taking && t.picking&n.bit != 0 {
			return true
		}
	}
	return false
}

// balancers has every balancer take its table as far as it concerns the task, and confirm it. A balancer may have taken
// a table that it has not confirmed yet.
func (s *sim) balancers(t *simTask) {
	for _, n := range s.nodes {
		if n.taking {
			t.picking, t.leaving = t.picking&^n.bit, t.leaving&^n.bit
			switch {
			case t.Status.State.Final():
			case t.Desired != api.WantRunning:
				t.leaving |= n.bit
				t.leave[bits.TrailingZeros8(n.bit)] = t.Leave()
			case t.Status.State == api.TaskReady && !t.Status.Unhealthy:
				t.picking |= n.bit
			}
		}
		if n.confirming {
			t.picked = t.picked&^n.bit | t.picking&n.bit
			t.freed &^= n.bit
			if t.leaving&n.bit != 0 && !s.busy[t.ID] {
				t.freed |= n.bit
				t.freedOf[bits.TrailingZeros8(n.bit)] = t.leave[bits.TrailingZeros8(n.bit)]
			}
		}
	}
}

// perceive says of a task what the control plane makes of its node's lease and of what balancers confirmed.
func (s *sim) perceive(t *simTask) {
	lost, serving, unpicked, released := t.gone, t.Serving, t.Unpicked, t.Released
	if !t.gone {
		alive, blind := uint8(0), false
		for _, n := range s.nodes {
			switch {
			case s.alive(n):
				alive |= n.bit
			case !s.joined():
				blind = true // its balancer may well serve
			case n.name == t.Node:
				lost = true
			}
		}
		serving = !t.routed || !blind && t.picked&alive == alive
		unpicked = !blind && t.picked&alive == 0
		freed := t.freed
		for i, leave := range t.freedOf {
			if leave != t.Leave() {
				freed &^= 1 << i
			}
		}
		released = !blind && freed&alive == alive
	}
	if lost = lost && !t.Status.State.Final(); lost {
		t.wasLost = true
	}
	if lost != t.Lost || serving != t.Serving || unpicked != t.Unpicked || released != t.Released {
		t.Lost, t.Serving, t.Unpicked, t.Released, s.dirty = lost, serving, unpicked, released, true
	}
}

// runCommands has release commands go on.
func (s *sim) runCommands() {
	d := s.current()
	if d == nil || s.ends == nil {
		return
	}
	commands := s.commands[d.Number]
	for _, name := range sortedServices(s.releases[d.To]) {
		c, ok := commands[name]
		if !ok || c.State.Final() {
			continue
		}
		was := c.State
		if c.State = s.ends(); d.Backwards {
			c.State = api.JobStopped
		}
		if c.State.Final() {
			c.EndedAt, c.Reason = s.now, string(c.State)
			if c.State != api.JobSucceeded && !d.Backwards {
				s.meet("release command failed")
			}
		}
		commands[name] = c
		s.dirty = s.dirty || c.State != was
	}
}

// cutOff has nobody hear from a node any more.
func (s *sim) cutOff(n *node) { n.cutAt, s.dirty = s.now, true }

// comeBack has a node be heard again; what ran on it is gone when it was rebooted.
func (s *sim) comeBack(n *node, rebooted bool) {
	n.cutAt, s.dirty = time.Time{}, true
	n.hears, n.takes = s.now, s.now // with its session it gets the newest of everything
	for _, t := range s.tasks {
		if t.Node == n.name && rebooted && t.known.State != "" && !t.known.State.Final() {
			s.end(t, api.CauseLost, "its container was gone when ikada started: the node was shut down or restarted")
		}
	}
}

// elect has another leader plan: all that it knows is what was written down.
func (s *sim) elect() {
	s.meet("leader changed")
	if d := s.current(); d != nil && d.State == api.DeployRunning {
		s.meet("leader changed in the middle of a deployment")
		if len(d.Ailing) > 0 {
			s.meet("leader changed beside an ailing service")
		}
	}
	stored := struct {
		Env      api.Environment
		Deps     []*api.Deployment
		Releases map[uint64]*api.Release
		Tasks    []api.Task
		Statuses []api.TaskStatus
	}{Env: s.env, Deps: s.deps, Releases: s.releases}
	for _, t := range s.tasks {
		stored.Tasks, stored.Statuses = append(stored.Tasks, t.Task.Task), append(stored.Statuses, t.Status)
	}
	b, err := json.Marshal(stored)
	if err != nil {
		panic(err)
	}
	tasks, statuses := stored.Tasks, stored.Statuses
	stored.Env, stored.Deps, stored.Releases, stored.Tasks, stored.Statuses = api.Environment{}, nil, nil, nil, nil
	if err := json.Unmarshal(b, &stored); err != nil {
		panic(err)
	}
	s.env, s.deps, s.releases = stored.Env, stored.Deps, stored.Releases
	for i, t := range s.tasks {
		if stored.Tasks[i] != tasks[i] || stored.Statuses[i] != statuses[i] {
			panic(fmt.Sprintf("%+v was not stored as it is: %+v", tasks[i], stored.Tasks[i]))
		}
		t.Task.Task, t.Status = stored.Tasks[i], stored.Statuses[i]
	}
	s.elected, s.hashes, s.dirty = s.now, Hashes{}, true
	for _, p := range s.posed {
		if p.forget() {
			s.meet("question lost with its leader")
		}
		if len(p.asking) > 0 {
			s.meet("check's command under another leader")
		}
	}
	s.logf("another leader")
}

// story gives what the sim has logged.
func (s *sim) story() string { return strings.Join(s.log, "\n") }
