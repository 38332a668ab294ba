package testcluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/agent"
	networkfake "github.com/ikada/ikada/internal/network/fake"
	runtimefake "github.com/ikada/ikada/internal/runtime/fake"
	"github.com/ikada/ikada/internal/wire"
)

// Node is a machine. What is in it outlives its agent.
type Node struct {
	api.Node
	Runtime  *runtimefake.Runtime
	Network  *networkfake.Network
	Balancer *Balancer
	Dir      string // of the tasks' files and of the volumes
	Secrets  string // in memory

	c     *Cluster
	life  *life // of the running agent; nil when there is none
	mu    sync.Mutex
	apart bool // nothing gets through to the control plane
	sick  map[string]bool
	trap  *trap
}

// life is one incarnation of a node's agent: once it is dead, nothing that it does has an effect.
type life struct {
	agent *agent.Agent
	stop  context.CancelFunc
	done  chan error

	mu      sync.Mutex
	dead    bool
	session *session
}

func (l *life) ended() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return api.Errorf(api.Unavailable, "the agent was killed")
	}
	return nil
}

// trap stops an agent right before or right after one of its calls.
type trap struct {
	point string
	skip  int
	hit   chan struct{}
}

func (c *Cluster) newNode(name string, n int) *Node {
	subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + n), 0, 0}), 16)
	network, err := networkfake.New(subnet)
	if err != nil {
		c.t.Fatal(err)
	}
	secrets, err := os.MkdirTemp("/dev/shm", "ikada-test-")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = os.RemoveAll(secrets) })
	node := &Node{c: c, Runtime: runtimefake.New(nil), Network: network, Dir: c.t.TempDir(), Secrets: secrets, sick: map[string]bool{},
		Node: api.Node{Name: name, Hostname: name, Arch: "amd64", OS: "linux", CPUMilli: 4000, Memory: 8 << 30}}
	node.Balancer = newBalancer(func(t *api.RouteTable) { c.check.table(node, t) })
	return node
}

// Start starts the node's agent.
func (n *Node) Start() {
	ctx, stop := context.WithCancel(context.Background())
	l := &life{stop: stop, done: make(chan error, 1)}
	l.agent = agent.New(agent.Config{
		Node: n.Node, Dispatcher: door{n, l}, Runtime: nodeRuntime{n.Runtime, n, l}, Network: nodeNetwork{n.Network, n, l},
		Balancer: n.Balancer, FilesDir: filepath.Join(n.Dir, "tasks"), SecretsDir: n.Secrets,
		VolumesDir: filepath.Join(n.Dir, "volumes"), Log: n.c.log.With("node", n.Name),
	})
	n.life = l
	go func() { l.done <- l.agent.Run(ctx) }()
}

// Settled is closed once the control plane knows what became of the tasks of before the last start.
func (n *Node) Settled() <-chan struct{} { return n.life.agent.Settled() }

// Stop stops the agent in order; its containers go on.
func (n *Node) Stop() {
	l := n.life
	n.life = nil
	l.stop()
	if err := <-l.done; err != nil && !isCancelled(err) {
		n.c.t.Errorf("agent of %s: %v", n.Name, err)
	}
}

// Shutdown stops the agent, then all containers.
func (n *Node) Shutdown() {
	a := n.life.agent
	n.Stop()
	if err := a.StopAll(context.Background()); err != nil {
		n.c.t.Errorf("stop containers of %s: %v", n.Name, err)
	}
}

// Kill ends the agent as SIGKILL does; its containers go on.
func (n *Node) Kill() {
	n.life.mu.Lock()
	n.life.dead = true
	s := n.life.session
	n.life.mu.Unlock()
	if s != nil {
		s.cut()
	}
	n.mu.Lock()
	n.trap = nil
	n.mu.Unlock()
	n.Stop()
}

// Trap stops the agent at a point, "before create" or "after create" for each of pull, attach, create, signal, remove,
// detach and report, when it has been there skip times; it gives a channel that is closed then. The agent waits there
// until it is killed.
func (n *Node) Trap(point string, skip int) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trap = &trap{point: point, skip: skip, hit: make(chan struct{})}
	return n.trap.hit
}

// at is where an agent may be trapped.
func (n *Node) at(ctx context.Context, l *life, point string) error {
	if n.trapped(point) {
		<-ctx.Done()
	}
	return l.ended()
}

func (n *Node) trapped(point string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.trap == nil || n.trap.point != point {
		return false
	}
	if n.trap.skip--; n.trap.skip == -1 {
		close(n.trap.hit)
	}
	return n.trap.skip < 0
}

// around makes a call that an agent may be trapped before or after.
func (n *Node) around(ctx context.Context, l *life, call string, f func() error) error {
	if err := n.at(ctx, l, "before "+call); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return n.at(ctx, l, "after "+call)
}

// Lose cuts the node off: it hears nothing and is not heard, but goes on.
func (n *Node) Lose() {
	n.mu.Lock()
	n.apart = true
	n.mu.Unlock()
	n.CutSession()
}

// Find ends what Lose began.
func (n *Node) Find() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.apart = false
}

// CutSession breaks the agent's connection; the agent opens another.
func (n *Node) CutSession() {
	n.life.mu.Lock()
	s := n.life.session
	n.life.mu.Unlock()
	if s != nil {
		s.cut()
	}
}

// SetSick makes the check of a task fail, or pass again.
func (n *Node) SetSick(task string, sick bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sick[task] = sick
}

// Running gives the IDs of the containers that run, sorted.
func (n *Node) Running() []string {
	list, _ := n.Runtime.List(context.Background())
	var ids []string
	for _, s := range list {
		if s.Running {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// door is an agent's way to the control plane.
type door struct {
	n *Node
	l *life
}

func (d door) Open(ctx context.Context, node api.Node) (wire.Session, error) {
	if err := d.l.ended(); err != nil {
		return nil, err
	}
	d.n.mu.Lock()
	apart := d.n.apart
	d.n.mu.Unlock()
	dispatcher := d.n.c.dispatcher()
	if apart || dispatcher == nil {
		return nil, api.Errorf(api.Unavailable, "the control plane does not answer")
	}
	inner, err := dispatcher.Open(ctx, node)
	if err != nil {
		return nil, err
	}
	s := &session{Session: inner, n: d.n, l: d.l, out: make(chan wire.Assignments), broken: make(chan struct{})}
	go s.forward()
	d.l.mu.Lock()
	d.l.session = s
	d.l.mu.Unlock()
	return s, nil
}

// session is a session that can be cut.
type session struct {
	wire.Session
	n      *Node
	l      *life
	out    chan wire.Assignments
	once   sync.Once
	broken chan struct{}
}

func (s *session) forward() {
	defer close(s.out)
	for {
		select {
		case <-s.broken:
			return
		case a, ok := <-s.Session.Assignments():
			if !ok {
				return
			}
			select {
			case <-s.broken:
				return
			case s.out <- a:
			}
		}
	}
}

func (s *session) cut() {
	s.once.Do(func() {
		close(s.broken)
		s.Session.Close() // the other end notices
	})
}

func (s *session) Assignments() <-chan wire.Assignments { return s.out }

func (s *session) Report(ctx context.Context, r wire.Report) error {
	return s.n.around(ctx, s.l, "report", func() error {
		select {
		case <-s.broken:
			return api.Errorf(api.Unavailable, "the session is cut")
		default:
			return s.Session.Report(ctx, r)
		}
	})
}

func (s *session) Close() { s.cut() }

// nodeRuntime is the runtime as one incarnation of an agent reaches it.
type nodeRuntime struct {
	*runtimefake.Runtime
	n *Node
	l *life
}

func (r nodeRuntime) Pull(ctx context.Context, ref string, progress func(done, total int64)) error {
	return r.n.around(ctx, r.l, "pull", func() error { return r.Runtime.Pull(ctx, ref, progress) })
}

func (r nodeRuntime) Create(ctx context.Context, c agent.Container) error {
	return r.n.around(ctx, r.l, "create", func() error { return r.Runtime.Create(ctx, c) })
}

func (r nodeRuntime) Signal(ctx context.Context, id, signal string) error {
	return r.n.around(ctx, r.l, "signal", func() error {
		r.n.c.check.signal(r.n, id)
		return r.Runtime.Signal(ctx, id, signal)
	})
}

func (r nodeRuntime) Remove(ctx context.Context, id string) error {
	return r.n.around(ctx, r.l, "remove", func() error { return r.Runtime.Remove(ctx, id) })
}

func (r nodeRuntime) Exec(ctx context.Context, id string, x agent.Exec) (int, error) {
	if err := r.l.ended(); err != nil {
		return 0, err
	}
	r.n.mu.Lock()
	sick := r.n.sick[id]
	r.n.mu.Unlock()
	if sick {
		_, _ = fmt.Fprintln(x.Stdout, "not well")
		return 1, nil
	}
	return r.Runtime.Exec(ctx, id, x)
}

// nodeNetwork is the network as one incarnation of an agent reaches it.
type nodeNetwork struct {
	*networkfake.Network
	n *Node
	l *life
}

func (w nodeNetwork) Attach(ctx context.Context, e agent.Endpoint) (a agent.Attachment, err error) {
	err = w.n.around(ctx, w.l, "attach", func() (err error) {
		a, err = w.Network.Attach(ctx, e)
		return err
	})
	return a, err
}

func (w nodeNetwork) Detach(ctx context.Context, id string) error {
	return w.n.around(ctx, w.l, "detach", func() error { return w.Network.Detach(ctx, id) })
}

// tick is how often Until looks.
const tick = 20 * time.Millisecond

// SetPull has f asked before every pull; its error becomes the pull's.
func (n *Node) SetPull(f func(ref string) error) { n.Runtime.SetFaults(runtimefake.Faults{Pull: f}) }
