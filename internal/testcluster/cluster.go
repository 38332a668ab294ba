package testcluster

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/control"
	"github.com/ikada/ikada/internal/dispatch"
	"github.com/ikada/ikada/internal/leader"
	"github.com/ikada/ikada/internal/store"
	"github.com/ikada/ikada/internal/store/mem"
	"github.com/ikada/ikada/internal/wire"
)

// Env is the environment that [Cluster.Deploy] deploys to.
var Env = api.EnvRef{App: "shop", Env: "production"}

// Cluster is a store with control planes and nodes around it.
type Cluster struct {
	Store    *mem.Store
	Nodes    []*Node    // changed under mu by the test, which reads it without
	Controls []*Control // likewise; agents reach the first

	t     *testing.T
	log   *slog.Logger
	check *check
	asker asker
	mu    sync.Mutex
}

// Control is one process of the control plane.
type Control struct {
	Link       *Link
	Mirror     *store.Mirror
	Dispatcher *dispatch.Dispatcher

	stop context.CancelFunc
	done []chan error
}

// New starts a cluster with a control plane and nodes of those names, within a synctest bubble; the test's end ends it.
func New(t *testing.T, nodes ...string) *Cluster {
	c := &Cluster{Store: mem.New(0), t: t, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	c.check = newCheck(t, c.Store)
	for i, name := range nodes {
		c.Nodes = append(c.Nodes, c.newNode(name, i))
	}
	t.Cleanup(c.close)
	c.StartControl("s1")
	for _, n := range c.Nodes {
		n.Start()
	}
	synctest.Wait()
	return c
}

// Join adds a node.
func (c *Cluster) Join(name string) *Node {
	n := c.newNode(name, len(c.Nodes))
	c.mu.Lock()
	c.Nodes = append(c.Nodes, n)
	c.mu.Unlock()
	n.Start()
	return n
}

// StartControl starts a process of the control plane; identity is the name of its server.
func (c *Cluster) StartControl(identity string) *Control {
	ctx, stop := context.WithCancel(context.Background())
	link, log := newLink(c.Store), c.log.With("server", identity)
	mirror := store.NewMirror(link, log)
	k := &Control{Link: link, Mirror: mirror, stop: stop, Dispatcher: dispatch.New(dispatch.Config{
		Store: link, Mirror: mirror, Log: log,
		Unseal: func(s *api.SealedSecret) ([]byte, error) { return s.Sealed, nil },
	})}
	election := leader.New(link, "control", identity, log)
	run := func(f func() error) {
		done := make(chan error, 1)
		k.done = append(k.done, done)
		go func() { done <- f() }()
	}
	run(func() error { return mirror.Run(ctx) })
	run(func() error { return k.Dispatcher.Run(ctx) })
	run(func() error {
		return election.Run(ctx, func(ctx context.Context, fence leader.Fence) error {
			return control.New(control.Config{Mirror: mirror, Checks: &c.asker, Log: log}, fence).Run(ctx)
		})
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Controls = append(c.Controls, k)
	return k
}

// KillControl ends a process of the control plane as SIGKILL does.
func (c *Cluster) KillControl(k *Control) {
	k.Link.cut()
	c.stopControl(k)
}

// Depose ends the election of the process that leads without its noticing, as when it was paused for longer than its
// lease: what it writes as a leader from now on must be refused.
func (c *Cluster) Depose(k *Control) {
	c.t.Helper()
	k.Link.deafen()
	var held store.Entry
	c.Update(func(tx store.Tx) (err error) {
		held, _, err = tx.Get(store.Elections + "control")
		return err
	})
	if err := c.Store.Revoke(context.Background(), held.Lease); err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) stopControl(k *Control) {
	c.mu.Lock()
	c.Controls = slices.DeleteFunc(c.Controls, func(o *Control) bool { return o == k })
	c.mu.Unlock()
	k.stop()
	for _, done := range k.done {
		if err := <-done; err != nil && !isCancelled(err) {
			c.t.Errorf("control plane: %v", err)
		}
	}
}

func isCancelled(err error) bool { return errors.Is(err, context.Canceled) }

func (c *Cluster) nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.Nodes)
}

func (c *Cluster) dispatcher() wire.Dispatcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.Controls) == 0 {
		return nil
	}
	return c.Controls[0].Dispatcher
}

func (c *Cluster) close() {
	for _, n := range c.Nodes {
		if n.life != nil {
			n.Kill()
		}
	}
	for len(c.Controls) > 0 {
		c.KillControl(c.Controls[0])
	}
	c.check.close()
	for _, n := range c.Nodes {
		for _, id := range n.Running() {
			n.Runtime.Exit(id, 137)
		}
	}
}

// Node gives a node by its name.
func (c *Cluster) Node(name string) *Node {
	i := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.Name == name })
	return c.Nodes[i]
}

// Bound has the check hold a service's tasks from now on: never fewer than low of them serve, never more than high
// live.
func (c *Cluster) Bound(service string, low, high int) { c.check.bound(service, low, high) }

// AllowDoubt tells the check that tasks of a lost node may be wanted elsewhere too.
func (c *Cluster) AllowDoubt() { c.check.allowDoubt() }

// Update changes the store as a user's request does.
func (c *Cluster) Update(fn func(tx store.Tx) error) {
	c.t.Helper()
	if _, err := c.Store.Update(context.Background(), fn); err != nil {
		c.t.Fatal(err)
	}
}

// Change changes the environment as a user's request does.
func (c *Cluster) Change(fn func(e *api.Environment)) {
	c.t.Helper()
	c.Update(func(tx store.Tx) error {
		e, err := store.Get[api.Environment](tx, store.EnvironmentKey(Env))
		if err != nil {
			return err
		}
		fn(e)
		return store.Put(tx, store.EnvironmentKey(Env), e)
	})
}

// Deploy writes a release of the services and queues the deployment to it, as the API does; it gives both's numbers.
func (c *Cluster) Deploy(spec api.AppSpec) (release, deployment uint64) {
	c.t.Helper()
	spec.App, spec.Env = Env.App, Env.Env
	for _, s := range spec.Services {
		for _, n := range c.Nodes {
			n.Runtime.AddImage(s.Image)
		}
	}
	c.Update(func(tx store.Tx) error {
		e, err := store.Find[api.Environment](tx, store.EnvironmentKey(Env))
		if err != nil {
			return err
		}
		if e == nil {
			e = &api.Environment{EnvRef: Env, CreatedAt: time.Now()}
		}
		e.LastRelease++
		release = e.LastRelease
		r := api.Release{EnvRef: Env, Number: release, Spec: spec, Hash: api.HashSpec(spec), CreatedAt: time.Now()}
		if err := store.Put(tx, store.ReleaseKey(Env, release), r); err != nil {
			return err
		}
		deployment, err = enqueue(tx, e, api.KindDeploy, release)
		return err
	})
	return release, deployment
}

// Rollback queues a deployment to an earlier release, as the API does.
func (c *Cluster) Rollback(release uint64) (deployment uint64) {
	c.t.Helper()
	c.Update(func(tx store.Tx) error {
		e, err := store.Get[api.Environment](tx, store.EnvironmentKey(Env))
		if err != nil {
			return err
		}
		deployment, err = enqueue(tx, e, api.KindRollback, release)
		return err
	})
	return deployment
}

func enqueue(tx store.Tx, e *api.Environment, kind string, to uint64) (uint64, error) {
	e.LastDeployment++
	e.Stopped = false
	if err := store.Put(tx, store.EnvironmentKey(Env), e); err != nil {
		return 0, err
	}
	d := api.Deployment{EnvRef: Env, Number: e.LastDeployment, Kind: kind, From: e.Release, To: to, State: api.DeployQueued,
		CreatedAt: time.Now()}
	return d.Number, store.Put(tx, store.DeploymentKey(Env, d.Number), d)
}
