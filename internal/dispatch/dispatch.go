// Package dispatch is the server side of agent sessions: it sends every node its tasks and the route table, keeps
// its lease, and writes down what its agent reports.
//
// It is the only writer of task statuses, balancer statuses, node leases and the services' virtual addresses, and
// decides nothing about tasks. Safe for concurrent use. Start at [Dispatcher.Open] and [Dispatcher.Run].
package dispatch

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/plan/route"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/wire"
)

// LeaseTime is how long a node counts as alive after its session broke.
const LeaseTime = 10 * time.Second

// Config is what a dispatcher is made of.
type Config struct {
	Store  store.Store
	Mirror *store.Mirror
	Unseal func(s *api.SealedSecret) ([]byte, error) // decrypts a secret's value

	// Addresses is the IPv4 range of services' virtual addresses; zero: they have none.
	Addresses netip.Prefix

	Log *slog.Logger
}

// Dispatcher serves the sessions of all nodes.
type Dispatcher struct {
	cfg Config

	mu       sync.Mutex
	table    *api.RouteTable
	sessions map[string]*session // by node
	stopped  bool
	guards   sync.WaitGroup // of the sessions' leases
}

// New makes a dispatcher; sessions get nothing until Run.
func New(cfg Config) *Dispatcher {
	return &Dispatcher{cfg: cfg, sessions: map[string]*session{}}
}

// Run keeps all sessions current until ctx ends, then ends them.
func (d *Dispatcher) Run(ctx context.Context) error {
	sub := d.cfg.Mirror.Subscribe()
	defer sub.Close()
	defer d.stop()
	select {
	case <-ctx.Done():
		return nil
	case <-d.cfg.Mirror.Ready():
	}
	d.reroute(ctx)
	d.mu.Lock()
	for _, s := range d.sessions {
		d.send(s)
	}
	d.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.Wake():
		}
		dirty := sub.Take()
		moved := routing(dirty) && d.reroute(ctx)
		d.mu.Lock()
		for node, s := range d.sessions {
			if _, touched := dirty.Nodes[node]; touched || moved {
				d.send(s)
			}
		}
		d.mu.Unlock()
	}
}

// stop ends all sessions, and those that are still to come.
func (d *Dispatcher) stop() {
	d.mu.Lock()
	d.stopped = true
	for _, s := range d.sessions {
		s.end()
	}
	d.mu.Unlock()
	d.guards.Wait()
}

// routing tells whether the change may concern the route table. What balancers report does not, else every table
// would be followed by another.
func routing(dirty *store.Dirty) bool {
	for key := range dirty.Keys {
		for _, prefix := range []string{store.Environments, store.Releases, store.Deployments, store.Tasks, store.Statuses} {
			if strings.HasPrefix(key, prefix) {
				return true
			}
		}
	}
	return false
}

// reroute makes the route table anew, once every service has its virtual address; it tells whether it has changed. A
// service for which there is no address is found all the same: its name gives its tasks' own.
func (d *Dispatcher) reroute(ctx context.Context) (moved bool) {
	rev, envs := d.environments()
	if lacking := d.lacking(envs); len(lacking) > 0 {
		if err := d.allot(ctx, lacking); err != nil && ctx.Err() == nil {
			d.cfg.Log.Error("give services virtual addresses", "error", err)
		}
		rev, envs = d.environments()
	}
	return d.route(route.Table(uint64(rev), envs))
}

// environments gives what the route table is made of, with the revision of the store at which it was so.
func (d *Dispatcher) environments() (rev int64, envs []route.Env) {
	d.cfg.Mirror.Read(func(s *store.State) {
		rev = s.Rev
		envs = make([]route.Env, 0, len(s.Environments))
		for ref, env := range s.Environments {
			envs = append(envs, route.NewEnv(env, s.DeploymentsOf(ref),
				func(number uint64) *api.Release { return s.Release(ref, number) }, s.TasksOf(ref),
				func(task string) *api.TaskStatus { return s.Statuses[task] }))
		}
	})
	return rev, envs
}

// route takes a route table for the newest unless it says the same as the one before; it tells whether it does not.
func (d *Dispatcher) route(t *api.RouteTable) (moved bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.table != nil && d.table.Alike(t) {
		return false
	}
	d.table = t
	return true
}

// send gives a session the newest assignments; d.mu is held.
func (d *Dispatcher) send(s *session) {
	if d.table == nil {
		return
	}
	a := wire.Assignments{Table: d.table}
	d.cfg.Mirror.Read(func(st *store.State) {
		tasks := st.TasksOn(s.node)
		a.Tasks = make([]wire.Assignment, 0, len(tasks))
		for _, t := range tasks {
			a.Tasks = append(a.Tasks, wire.Assignment{Task: *t, Status: st.Statuses[t.ID]})
		}
		if n := st.Nodes[s.node]; n != nil {
			a.Volumes = n.Drop
		}
	})
	s.offer(a)
}

// Open implements [wire.Dispatcher].
func (d *Dispatcher) Open(ctx context.Context, node api.Node) (wire.Session, error) {
	lease, err := d.cfg.Store.Grant(ctx, LeaseTime)
	if err != nil {
		return nil, err
	}
	s, err := d.open(ctx, node, lease)
	if err != nil {
		lease.Abandon() // it may hold the node's key already
		return nil, err
	}
	return s, nil
}

func (d *Dispatcher) open(ctx context.Context, node api.Node, lease store.Lease) (*session, error) {
	rev, err := d.cfg.Store.Update(ctx, func(tx store.Tx) error { return join(tx, node, lease.ID()) })
	if err != nil {
		return nil, err
	}
	if err := d.cfg.Mirror.Wait(ctx, rev); err != nil {
		return nil, err
	}
	s := &session{d: d, node: node.Name, lease: lease, out: make(chan wire.Assignments, 1), over: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return nil, api.Errorf(api.Unavailable, "the control plane is stopping")
	}
	if old := d.sessions[node.Name]; old != nil {
		old.end()
	}
	d.sessions[node.Name] = s
	d.guards.Go(s.guard)
	d.send(s)
	return s, nil
}

// join writes down that a node is there, alive for as long as its lease. What users and the control loop set stays.
func join(tx store.Tx, node api.Node, lease int64) error {
	was, err := store.Find[api.Node](tx, store.NodeKey(node.Name))
	if err != nil {
		return err
	}
	if was != nil {
		node.Drained, node.Drop = was.Drained, was.Drop
		if len(was.Labels) > 0 && len(node.Labels) == 0 {
			node.Labels = was.Labels
		}
	} else if err := store.AddEvent(tx, api.Event{Node: node.Name, Type: "node.joined",
		Message: "node " + node.Name + " joined"}); err != nil {
		return err
	}
	node.SeenAt, node.Down = time.Now().UTC().Round(0), false
	if err := store.Put(tx, store.NodeKey(node.Name), node); err != nil {
		return err
	}
	tx.PutLeased(store.LeaseKey(node.Name), nil, lease)
	return nil
}
