package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/process"
	"github.com/ikada/ikada/internal/proxy/inside"
)

const (
	retryPause = 20 * time.Millisecond // after the process did not answer
	callTime   = 10 * time.Second      // for an answer that does not wait for anything

	announceTime = 2 * time.Second // for the process to take an announcement; a task's start waits for it
)

// Balancer is the node's side of the balancer's process, and of those that it replaced and that end what they began.
// It fulfils agent.Balancer.
type Balancer struct {
	cfg        Config
	log        *slog.Logger
	supervisor *process.Supervisor
	current    *peer
	changed    chan struct{}
	config     string        // path of the process's configuration; no other process has it among its arguments
	stopped    chan struct{} // closed when Run has returned
	unfinished string        // socket of a process that an earlier ikada began to replace; of Start, then of Apply

	applying sync.Mutex // one table at a time
	telling  sync.Mutex // one announcement at a time

	mu       sync.Mutex
	table    *api.RouteTable
	status   Status              // of the current process
	boot     string              // of the process that has the table and the sockets
	held     map[string]*os.File // copies of the listening sockets
	retiring map[string]*peer    // by socket
	said     map[string]Status   // retiring socket → what it said last
	windows  map[string]api.EnvRef
	bridge   *inside.Bridge // the newest announcement; nil before the first
	told     uint64         // version of the last that was sent
}

// New makes the node's side; dir holds the process's configuration, its log and its ID.
func New(cfg Config, dir string, command []string, log *slog.Logger) (*Balancer, error) {
	b, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{filepath.Dir(cfg.Socket), dir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make directory for balancer: %w", err)
		}
	}
	path := filepath.Join(dir, "proxy.json")
	if old, err := os.ReadFile(path); err != nil || !bytes.Equal(old, b) { // what need not be written cannot fail on a full disk
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return nil, fmt.Errorf("configure balancer: %w", err)
		}
	}
	bal := &Balancer{
		cfg: cfg, log: log, current: newPeer(cfg.Socket), changed: make(chan struct{}, 1), config: path, stopped: make(chan struct{}),
		held: map[string]*os.File{}, retiring: map[string]*peer{}, said: map[string]Status{}, windows: map[string]api.EnvRef{},
	}
	bal.supervisor = process.NewSupervisor(process.Config{
		Name: "balancer", Command: append(slices.Clone(command), path), PIDPath: cfg.Socket + ".pid",
		LogPath: filepath.Join(dir, "proxy.log"), Log: log,
		Ready: func(ctx context.Context) error {
			_, err := bal.peer().status(ctx, nil)
			return err
		},
	})
	return bal, nil
}

// peer gives the current process, for one call.
func (b *Balancer) peer() *peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current
}

// Start returns once a process answers: the one that runs already, else a new one. One of another version or
// configuration is replaced as soon as there is a table for its successor.
func (b *Balancer) Start(ctx context.Context) error {
	if err := b.findReplaced(ctx); err != nil {
		return err
	}
	if err := b.supervisor.Start(ctx); err != nil {
		return err
	}
	st, err := b.peer().status(ctx, nil)
	if err != nil {
		return fmt.Errorf("ask balancer: %w", err)
	}
	b.mu.Lock()
	b.status = st
	b.told = max(b.told, st.Bridge) + 1 // whatever was announced so far is announced again
	b.mu.Unlock()
	return nil
}

// PID gives the process's ID.
func (b *Balancer) PID() int { return b.supervisor.PID() }

// Problem says what ails the process: that it does not start, or runs and does not answer; "" when nothing does.
func (b *Balancer) Problem() string { return b.problem(callTime) }

// problem is Problem, with how long an answer may take.
func (b *Balancer) problem(within time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	pid := b.PID()
	if _, err := b.peer().status(ctx, nil); errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("the balancer, process %d, does not answer: requests may wait, and deployments do", pid)
	}
	return b.supervisor.Problem()
}

// Run keeps the process running and its status known until ctx ends, and leaves it running then.
func (b *Balancer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(b.stopped)
	wg.Go(func() { b.follow(ctx) })
	wg.Go(func() { b.followRetiring(ctx) })
	return b.supervisor.Run(ctx)
}

// Stop ends the process and all that it replaced, with the connections they still have. Run must have returned.
func (b *Balancer) Stop(ctx context.Context) error {
	b.mu.Lock()
	closeAll(b.held)
	clear(b.held)
	b.mu.Unlock()
	return errors.Join(b.supervisor.Stop(ctx), process.StopAll(ctx, b.config))
}

// follow asks for the status again and again. A process that is new gets the sockets and the table first.
func (b *Balancer) follow(ctx context.Context) {
	var seen *uint64
	for ctx.Err() == nil {
		p := b.peer()
		st, err := p.status(ctx, seen)
		if p != b.peer() {
			seen = nil // it was replaced meanwhile
			continue
		}
		if err != nil {
			seen = nil
			pause(ctx, retryPause)
			continue
		}
		seen = &st.Seq
		b.mu.Lock()
		fresh := b.table != nil && st.Boot != b.boot
		if !fresh {
			b.note(st)
		}
		// One of another version is about to be replaced and may not know what a bridge is.
		late := !fresh && b.bridge != nil && st.Bridge != b.told && st.Build == b.cfg.build()
		b.mu.Unlock()
		if late {
			if err := b.announce(ctx); err != nil {
				b.log.Warn("tell balancer who is on the bridge", "error", err)
				pause(ctx, retryPause)
			}
		}
		if fresh {
			err := b.welcome(ctx, st.Boot)
			if err != nil {
				b.log.Warn("equip balancer", "error", err)
				seen = nil
				pause(ctx, retryPause)
			}
		}
		b.signal()
	}
}

// welcome equips a process that is new, unless an Apply has done so meanwhile.
func (b *Balancer) welcome(ctx context.Context, boot string) error {
	b.applying.Lock()
	defer b.applying.Unlock()
	b.mu.Lock()
	known := b.boot == boot
	b.mu.Unlock()
	if known {
		return nil
	}
	b.log.Warn("balancer is new: it gets its sockets and its table", "boot", boot)
	return b.equip(ctx)
}

// equip gives a process that has nothing yet the listening sockets, the table and the open windows.
func (b *Balancer) equip(ctx context.Context) error {
	b.mu.Lock()
	table, held := b.table, maps.Clone(b.held)
	windows, known := maps.Clone(b.windows), b.bridge != nil
	b.mu.Unlock()
	if err := giveListeners(ctx, b.cfg.Socket, held); err != nil {
		return err
	}
	if known { // before the table, with which the sockets that nothing wants are closed
		if err := b.announce(ctx); err != nil {
			return err
		}
	}
	for name, env := range windows {
		if _, err := b.peer().window(ctx, name, env); err != nil {
			return err
		}
	}
	return b.put(ctx, table)
}

// Announce tells the process who is on the node's bridge, in place of what was said before. It returns once names are
// answered by it, or it is clear that they cannot be right now: the process is told again as soon as it answers.
func (b *Balancer) Announce(bridge inside.Bridge) {
	b.mu.Lock()
	b.bridge = &bridge
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), announceTime)
	defer cancel()
	if err := b.announce(ctx); err != nil {
		b.log.Debug("tell balancer who is on the bridge", "error", err) // follow does it
	}
}

// announce sends the newest announcement. Versions begin where the process is that an earlier ikada spoke to.
func (b *Balancer) announce(ctx context.Context) error {
	b.telling.Lock()
	defer b.telling.Unlock()
	b.mu.Lock()
	b.told = max(b.told, b.status.Bridge) + 1
	bridge := *b.bridge
	bridge.Version = b.told
	b.mu.Unlock()
	st, err := b.peer().bridge(ctx, &bridge)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(st)
	return nil
}

// give gives the current process a table; one that came into being since the last table gets first what it needs to go
// on where its predecessor stopped, else it could not open the ports of which copies are held here.
func (b *Balancer) give(ctx context.Context, t *api.RouteTable) error {
	st, err := b.peer().status(ctx, nil)
	if err != nil {
		return err
	}
	b.mu.Lock()
	fresh := b.boot != "" && b.boot != st.Boot
	b.mu.Unlock()
	if fresh {
		return b.equip(ctx)
	}
	return b.put(ctx, t)
}

// put gives the current process a table and keeps copies of the sockets that it listens on then.
func (b *Balancer) put(ctx context.Context, t *api.RouteTable) error {
	st, err := b.peer().table(ctx, t)
	if err != nil {
		return err
	}
	files, err := fetchListeners(ctx, b.cfg.Socket)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.note(st)
	b.boot = st.Boot
	old := b.held
	b.held = files
	b.mu.Unlock()
	closeAll(old)
	return nil
}

// note keeps a status unless a newer one of the same process is known: answers may overtake each other. b.mu is held.
func (b *Balancer) note(st Status) {
	if st.Boot != b.status.Boot || !st.before(b.status) {
		b.status = st
	}
}

// Apply implements agent.Balancer: it returns once every process has confirmed the table.
func (b *Balancer) Apply(t *api.RouteTable) {
	b.applying.Lock()
	defer b.applying.Unlock()
	b.mu.Lock()
	if b.table != nil && t.Version <= b.table.Version {
		b.mu.Unlock()
		return
	}
	first := b.table == nil
	b.table = t
	adopted := b.status
	b.mu.Unlock()
	ctx := context.Background() // it is not given up: a process that died comes back
	if first {
		if err := b.renew(ctx, adopted); err != nil {
			b.log.Error("replace balancer", "error", err)
		}
	}
	for {
		ctx, cancel := context.WithTimeout(ctx, callTime)
		err := b.give(ctx, t)
		cancel()
		if err == nil {
			break
		}
		b.log.Warn("give balancer its table", "version", t.Version, "error", err)
		select {
		case <-b.stopped:
			return // this process ends; the next one gives it a newer table
		case <-time.After(retryPause):
		}
	}
	b.askRetiring(func(p *peer) (Status, error) { return p.table(ctx, t) })
	b.signal()
}

// followRetiring asks the processes that were replaced what they still have in flight, until they are gone.
func (b *Balancer) followRetiring(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		b.askRetiring(func(p *peer) (Status, error) { return p.status(ctx, nil) })
	}
}

// askRetiring asks the processes that were replaced, and notes what each has in flight.
func (b *Balancer) askRetiring(ask func(*peer) (Status, error)) {
	b.mu.Lock()
	retiring := maps.Clone(b.retiring)
	b.mu.Unlock()
	for socket, p := range retiring {
		st, err := ask(p)
		b.noteRetiring(socket, st, err)
	}
}

// noteRetiring keeps what a replaced process has in flight; one that does not answer has ended.
func (b *Balancer) noteRetiring(socket string, st Status, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.retiring[socket] == nil {
		return // it has ended since it said this
	}
	if err == nil {
		if last := b.said[socket]; !st.before(last) {
			b.said[socket] = st
			if !maps.Equal(last.Drains, st.Drains) {
				b.signal()
			}
		}
		return
	}
	if !gone(err) {
		return
	}
	delete(b.retiring, socket)
	delete(b.said, socket)
	_ = os.Remove(socket)
	_ = os.Remove(filesPath(socket))
	b.signal()
}

// Status implements agent.Balancer. What replaced processes have in flight counts too.
func (b *Balancer) Status() api.BalancerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.status.BalancerStatus
	st.Drains = maps.Clone(st.Drains)
	if st.Drains == nil {
		st.Drains = map[string]int{}
	}
	for _, said := range b.said {
		for task, n := range said.Drains {
			st.Drains[task] += n
		}
	}
	return st
}

// Changed implements agent.Balancer.
func (b *Balancer) Changed() <-chan struct{} { return b.changed }

func (b *Balancer) signal() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Ports gives the TCP ports that are listened on.
func (b *Balancer) Ports() []uint16 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.status.Ports)
}

// Window opens the window of a name, unless it is open, and gives what it has counted.
func (b *Balancer) Window(name string, env api.EnvRef) (Totals, error) {
	b.mu.Lock()
	b.windows[name] = env
	retiring := maps.Clone(b.retiring)
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	t, err := b.peer().window(ctx, name, env)
	for _, p := range retiring {
		if o, err := p.window(ctx, name, env); err == nil {
			t.add(&o)
		}
	}
	return t, err
}

// CloseWindow ends a window.
func (b *Balancer) CloseWindow(name string) {
	b.mu.Lock()
	delete(b.windows, name)
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	if err := b.peer().closeWindow(ctx, name); err != nil {
		b.log.Debug("close window", "error", err) // the process drops it by itself in the end
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
