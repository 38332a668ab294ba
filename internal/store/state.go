package store

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// State is what a Mirror has decoded, as of one revision. The maps must be read only inside Mirror.Read; the values
// and the slices that methods give are shared, never changed, and may be kept.
type State struct {
	Rev          int64
	Environments map[api.EnvRef]*api.Environment
	Tasks        map[string]*api.Task           // by ID
	Statuses     map[string]*api.TaskStatus     // by task ID; one may outlive its task for a moment
	Nodes        map[string]*api.Node           // by name
	Leases       map[string]int64               // by name of the node, which is alive while it is here; the lease's ID
	Balancers    map[string]*api.BalancerStatus // by name of the node

	releases    index[api.EnvRef, api.Release]
	deployments index[api.EnvRef, api.Deployment]
	jobs        index[api.EnvRef, api.Job]
	crons       index[api.EnvRef, api.Cron]
	tasksByEnv  index[api.EnvRef, api.Task]
	tasksByNode index[string, api.Task]
	objects     map[string]object // every mirrored key
}

// object is what a key holds: its revision and the decoded value, for a lease its ID.
type object struct {
	rev   int64
	value any
}

func newState() *State {
	byID := func(a, b *api.Task) int { return strings.Compare(a.ID, b.ID) }
	return &State{
		Environments: map[api.EnvRef]*api.Environment{},
		Tasks:        map[string]*api.Task{},
		Statuses:     map[string]*api.TaskStatus{},
		Nodes:        map[string]*api.Node{},
		Leases:       map[string]int64{},
		Balancers:    map[string]*api.BalancerStatus{},
		releases: newIndex[api.EnvRef](func(a, b *api.Release) int {
			return cmp.Compare(a.Number, b.Number)
		}),
		deployments: newIndex[api.EnvRef](func(a, b *api.Deployment) int {
			return cmp.Compare(a.Number, b.Number)
		}),
		jobs: newIndex[api.EnvRef](func(a, b *api.Job) int { return strings.Compare(a.ID, b.ID) }),
		crons: newIndex[api.EnvRef](func(a, b *api.Cron) int {
			return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Name, b.Name))
		}),
		tasksByEnv:  newIndex[api.EnvRef](byID),
		tasksByNode: newIndex[string](byID),
		objects:     map[string]object{},
	}
}

// TasksOf gives the tasks of an environment, sorted by ID.
func (s *State) TasksOf(r api.EnvRef) []*api.Task { return s.tasksByEnv.groups[r] }

// JobsOf gives the jobs of an environment, sorted by ID.
func (s *State) JobsOf(r api.EnvRef) []*api.Job { return s.jobs.groups[r] }

// CronsOf gives the states of an environment's schedules, sorted by service and name.
func (s *State) CronsOf(r api.EnvRef) []*api.Cron { return s.crons.groups[r] }

// TasksOn gives the tasks that are placed on a node, sorted by ID; "" gives those with no node yet.
func (s *State) TasksOn(node string) []*api.Task { return s.tasksByNode.groups[node] }

// ReleasesOf gives the releases of an environment, sorted by number.
func (s *State) ReleasesOf(r api.EnvRef) []*api.Release { return s.releases.groups[r] }

// DeploymentsOf gives the deployments of an environment, sorted by number.
func (s *State) DeploymentsOf(r api.EnvRef) []*api.Deployment { return s.deployments.groups[r] }

// Release gives one release of an environment; nil when there is none.
func (s *State) Release(r api.EnvRef, number uint64) *api.Release {
	list := s.ReleasesOf(r)
	i, found := slices.BinarySearchFunc(list, number, func(v *api.Release, n uint64) int { return cmp.Compare(v.Number, n) })
	if !found {
		return nil
	}
	return list[i]
}

// Deployment gives one deployment of an environment; nil when there is none.
func (s *State) Deployment(r api.EnvRef, number uint64) *api.Deployment {
	list := s.DeploymentsOf(r)
	i, found := slices.BinarySearchFunc(list, number, func(v *api.Deployment, n uint64) int { return cmp.Compare(v.Number, n) })
	if !found {
		return nil
	}
	return list[i]
}

// decodeObject decodes the entry of a mirrored kind; nil when the kind is not mirrored.
func decodeObject(e Entry) (any, error) {
	kind := strings.TrimPrefix(e.Key, Root)
	kind = Root + kind[:strings.IndexByte(kind, '/')+1]
	switch kind {
	case Environments:
		return boxed(decode[api.Environment](e))
	case Releases:
		return boxed(decode[api.Release](e))
	case Deployments:
		return boxed(decode[api.Deployment](e))
	case Tasks:
		return boxed(decode[api.Task](e))
	case Statuses:
		return boxed(decode[api.TaskStatus](e))
	case Jobs:
		return boxed(decode[api.Job](e))
	case Crons:
		return boxed(decode[api.Cron](e))
	case Nodes:
		return boxed(decode[api.Node](e))
	case Balancers:
		return boxed(decode[api.BalancerStatus](e))
	case Leases:
		return nodeLease{node: strings.TrimPrefix(e.Key, Leases), id: e.Lease}, nil
	}
	return nil, nil
}

type nodeLease struct {
	node string
	id   int64
}

func boxed[T any](v *T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// set replaces what a key holds, nil for nothing, and notes in d whom that concerns.
func (s *State) set(key string, rev int64, value any, d *Dirty) {
	old, had := s.objects[key]
	if !had && value == nil {
		return
	}
	d.Keys[key] = struct{}{}
	if had {
		s.touched(old.value, value, d)
		s.remove(old.value)
		delete(s.objects, key)
	}
	if value != nil {
		s.insert(value)
		s.objects[key] = object{rev: rev, value: value}
		s.touched(value, old.value, d)
	}
}

func (s *State) insert(value any) {
	switch v := value.(type) {
	case *api.Environment:
		s.Environments[v.EnvRef] = v
	case *api.Release:
		s.releases.put(v.EnvRef, v)
	case *api.Deployment:
		s.deployments.put(v.EnvRef, v)
	case *api.Job:
		s.jobs.put(v.EnvRef, v)
	case *api.Cron:
		s.crons.put(v.EnvRef, v)
	case *api.Task:
		s.Tasks[v.ID] = v
		s.tasksByEnv.put(v.EnvRef, v)
		s.tasksByNode.put(v.Node, v)
	case *api.TaskStatus:
		s.Statuses[v.Task] = v
	case *api.Node:
		s.Nodes[v.Name] = v
	case *api.BalancerStatus:
		s.Balancers[v.Node] = v
	case nodeLease:
		s.Leases[v.node] = v.id
	}
}

func (s *State) remove(value any) {
	switch v := value.(type) {
	case *api.Environment:
		delete(s.Environments, v.EnvRef)
	case *api.Release:
		s.releases.drop(v.EnvRef, v)
	case *api.Deployment:
		s.deployments.drop(v.EnvRef, v)
	case *api.Job:
		s.jobs.drop(v.EnvRef, v)
	case *api.Cron:
		s.crons.drop(v.EnvRef, v)
	case *api.Task:
		delete(s.Tasks, v.ID)
		s.tasksByEnv.drop(v.EnvRef, v)
		s.tasksByNode.drop(v.Node, v)
	case *api.TaskStatus:
		delete(s.Statuses, v.Task)
	case *api.Node:
		delete(s.Nodes, v.Name)
	case *api.BalancerStatus:
		delete(s.Balancers, v.Node)
	case nodeLease:
		delete(s.Leases, v.node)
	}
}

// touched notes the environments and nodes that a value concerns, given what stands (or stood) in its place; s holds
// value's neighbours. It is asked about the old value and about the new one.
func (s *State) touched(value, other any, d *Dirty) {
	switch v := value.(type) {
	case *api.Environment:
		d.environment(v.EnvRef)
	case *api.Release:
		d.environment(v.EnvRef)
	case *api.Deployment:
		d.environment(v.EnvRef)
	case *api.Job:
		d.environment(v.EnvRef)
	case *api.Cron:
		d.environment(v.EnvRef)
	case *api.Task:
		d.environment(v.EnvRef)
		d.node(v.Node)
	case *api.TaskStatus:
		d.node(v.Node)
		s.touchedTask(v.Task, d)
	case *api.BalancerStatus:
		// A hand-over waits for a balancer to pick a task, to stop picking it, or to end its requests.
		d.node(v.Node)
		was, _ := other.(*api.BalancerStatus)
		for _, id := range v.Picks {
			if was == nil || !slices.Contains(was.Picks, id) {
				s.touchedTask(id, d)
			}
		}
		for leave, n := range v.Drains {
			if was == nil || !sameCount(was.Drains, leave, n) {
				s.touchedTask(api.LeavingTask(leave), d)
			}
		}
	case *api.Node:
		d.node(v.Name)
		if was, ok := other.(*api.Node); !ok || !sameNode(v, was) {
			s.touchedAll(d) // tasks may be placed there now, or no longer
		}
	case nodeLease:
		d.node(v.node)
		if was, ok := other.(nodeLease); !ok || was != v {
			s.touchedAll(d) // no hand-over waits for a dead balancer; every one waits for a live one
		}
	}
}

func (s *State) touchedTask(id string, d *Dirty) {
	if t := s.Tasks[id]; t != nil {
		d.environment(t.EnvRef)
	}
}

func (s *State) touchedAll(d *Dirty) {
	for r := range s.Environments {
		d.environment(r)
	}
}

func sameCount(counts map[string]int, id string, n int) bool {
	was, ok := counts[id]
	return ok && was == n
}

// sameNode tells whether nothing but the heartbeat has changed.
func sameNode(a, b *api.Node) bool {
	x, y := *a, *b
	x.SeenAt, y.SeenAt = time.Time{}, time.Time{}
	return reflect.DeepEqual(x, y)
}

// apply makes the changes, already decoded, and gives whom they concern.
func (s *State) apply(changes []decoded, rev int64) *Dirty {
	d := newDirty()
	for _, c := range changes {
		s.set(c.key, c.rev, c.value, d)
	}
	s.Rev = rev
	return d
}

// replace makes the state that of a snapshot, and gives whom the differences concern.
func (s *State) replace(snapshot []decoded, rev int64) *Dirty {
	missing := maps.Clone(s.objects)
	var changes []decoded
	for _, c := range snapshot {
		if old, had := s.objects[c.key]; !had || old.rev != c.rev {
			changes = append(changes, c)
		}
		delete(missing, c.key)
	}
	for _, key := range slices.Sorted(maps.Keys(missing)) {
		changes = append(changes, decoded{key: key})
	}
	return s.apply(changes, rev)
}

// everything gives all keys as dirty, with whom they concern.
func (s *State) everything() *Dirty {
	d := newDirty()
	for key, o := range s.objects {
		d.Keys[key] = struct{}{}
		s.touched(o.value, nil, d)
	}
	return d
}

// decoded is a key's new value; nil when it was deleted.
type decoded struct {
	key   string
	rev   int64
	value any
}
