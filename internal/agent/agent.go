package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/wire"
)

// Config is what an agent is made of.
type Config struct {
	Node       api.Node
	Dispatcher wire.Dispatcher
	Runtime    Runtime
	Network    Network
	Balancer   Balancer
	FilesDir   string // configs of tasks
	SecretsDir string // secrets of tasks; a tmpfs is mounted here, so that none reaches a disk
	VolumesDir string // named volumes
	Log        *slog.Logger

	// Memory gives how many bytes of the node's memory are available without swapping, and how many there are. nil: the
	// node is never short of it.
	Memory func() (available, total uint64, err error)
	// Problems gives what ails the node, a sentence each with what to do, the same words for as long as it lasts. nil:
	// nothing ever does.
	Problems func() []string
}

// Agent runs the tasks of one node.
type Agent struct {
	cfg   Config
	log   *slog.Logger
	files *files

	adopted bool          // what an earlier agent left is sorted out; used by Run only
	settled chan struct{} // closed once the control plane knows what became of it

	mu       sync.Mutex
	tasks    map[string]*task
	releases map[releaseKey]*api.Release
	table    *api.RouteTable
	session  wire.Session
	events   []api.Event // not reported yet
	dropped  []string    // volumes that are gone, not reported yet
	problems []string    // of the node

	short atomic.Bool   // of memory
	dirty chan struct{} // something is to be reported
	wg    sync.WaitGroup
}

type releaseKey struct {
	env    api.EnvRef
	number uint64
}

// New makes an agent; Run starts it.
func New(cfg Config) *Agent {
	return &Agent{
		cfg: cfg, log: cfg.Log, files: &files{dir: cfg.FilesDir, secrets: cfg.SecretsDir, volumes: cfg.VolumesDir},
		tasks: map[string]*task{}, releases: map[releaseKey]*api.Release{},
		dirty: make(chan struct{}, 1), settled: make(chan struct{}),
	}
}

// Run takes over what runs on the node and follows the control plane until ctx ends. Tasks go on after that.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.files.prepare(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer a.wg.Wait()
	defer cancel()
	found, err := a.survey(ctx)
	if err != nil {
		return err
	}
	a.removeVolumes(a.files.leftAside())
	if a.cfg.Memory != nil {
		a.wg.Go(func() { a.watchMemory(ctx) })
	}
	if a.cfg.Problems != nil {
		a.wg.Go(func() { a.watchProblems(ctx) })
	}
	for ctx.Err() == nil {
		s, err := a.cfg.Dispatcher.Open(ctx, a.cfg.Node)
		if err != nil {
			a.log.Warn("open session", "node", a.cfg.Node.Name, "error", err)
			pause(ctx, time.Second)
			continue
		}
		a.follow(ctx, s, found)
		s.Close()
	}
	return nil
}

// Settled is closed once the control plane knows, of every task that it gave the node when Run began, whether an earlier
// agent's container goes on or how it ended. Until then it takes tasks to run whose node was shut down or restarted.
func (a *Agent) Settled() <-chan struct{} { return a.settled }

// survey asks the runtime what is there from before, until it answers.
func (a *Agent) survey(ctx context.Context) (map[string]ContainerState, error) {
	for {
		list, err := a.cfg.Runtime.List(ctx)
		if err == nil {
			found := make(map[string]ContainerState, len(list))
			for _, c := range list {
				found[c.ID] = c
				if v := c.Labels[labelVolumes]; v != "" {
					a.files.use(c.ID, strings.Split(v, ",")...)
				}
			}
			return found, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		a.log.Warn("list containers", "error", err)
		pause(ctx, 200*time.Millisecond)
	}
}

// follow serves one session. The first assignments of all decide which of the found containers go on; the others,
// which nobody wants any more, are removed.
func (a *Agent) follow(life context.Context, s wire.Session, found map[string]ContainerState) {
	ctx, cancel := context.WithCancel(life) // of the session; tasks live on without it
	a.mu.Lock()
	a.session = s
	for _, t := range a.tasks {
		t.report()
	}
	a.mu.Unlock()
	a.poke() // what ails the node is told to each session
	var reporter sync.WaitGroup
	reporter.Go(func() { a.reports(ctx, s) })
	defer reporter.Wait()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return
		case as, ok := <-s.Assignments():
			if !ok {
				return
			}
			a.apply(life, as, found)
			if !a.adopted {
				a.adopted = true
				a.wg.Go(func() { a.settle(life) })
				a.adopt(life, as, found)
			}
		}
	}
}

// settle waits until each of the first tasks is settled.
func (a *Agent) settle(life context.Context) {
	a.mu.Lock()
	first := slices.Collect(maps.Values(a.tasks))
	a.mu.Unlock()
	for _, t := range first {
		select {
		case <-t.settled:
		case <-life.Done():
			return
		}
	}
	close(a.settled)
}

// adopt ends what no assignment names, and starts to listen for exits.
func (a *Agent) adopt(life context.Context, as wire.Assignments, found map[string]ContainerState) {
	keep := make([]string, 0, len(as.Tasks))
	wanted := map[string]bool{}
	for _, t := range as.Tasks {
		wanted[t.ID] = true
		if t.Status == nil || !t.Status.State.Final() {
			keep = append(keep, t.ID)
		}
	}
	for id := range found {
		if wanted[id] {
			continue
		}
		a.log.Warn("remove unknown container", "task", id)
		if err := a.cfg.Runtime.Remove(life, id); err != nil {
			a.log.Error("remove unknown container", "task", id, "error", err)
		}
		a.removeLogs(life, id)
	}
	if err := a.cfg.Network.Reconcile(life, keep); err != nil {
		a.log.Error("reconcile network", "error", err)
	}
	a.files.reconcile(keep)
	// Logs outlive containers: some tasks may have been dropped while nobody was here to remove theirs.
	if err := a.cfg.Runtime.SweepLogs(life, func(id string) bool { return wanted[id] }); err != nil {
		a.log.Error("sweep logs", "error", err)
	}
	a.wg.Go(func() { a.exits(life) })
}

// exits hands the runtime's exits to their tasks, as long as the agent runs.
func (a *Agent) exits(ctx context.Context) {
	for e := range a.cfg.Runtime.Exits(ctx) {
		a.mu.Lock()
		t := a.tasks[e.ID]
		a.mu.Unlock()
		if t != nil {
			t.exit(e)
		}
	}
}

// apply puts a set of assignments in force: the route table first, since a drain waits for it.
func (a *Agent) apply(life context.Context, as wire.Assignments, found map[string]ContainerState) {
	if as.Table != nil {
		// First the way to the balancer, then what it does with what comes: nobody knows the name of a new service yet.
		if err := a.cfg.Network.Expose(as.Table.Inside); err != nil {
			a.log.Error("expose services", "error", err)
		}
		a.cfg.Balancer.Apply(as.Table)
		a.mu.Lock()
		a.table = as.Table
		a.mu.Unlock()
		a.poke()
	}
	a.dropVolumes(as.Volumes) // before a task of a new environment can make one of the same name
	a.mu.Lock()
	defer a.mu.Unlock()
	wanted := make(map[string]bool, len(as.Tasks))
	for _, w := range as.Tasks {
		wanted[w.ID] = true
		if t := a.tasks[w.ID]; t != nil {
			t.assign(w.Task)
			continue
		}
		t := newTask(a, w)
		if c, ok := found[w.ID]; ok {
			t.found = &c
			delete(found, w.ID)
		}
		a.tasks[w.ID] = t
		a.wg.Go(func() {
			t.run(life)
			a.leave(t)
		})
	}
	for id, t := range a.tasks {
		if !wanted[id] {
			t.forget()
		}
	}
	a.dropReleases(as)
}

// leave takes out a task that has ended for good; until then it hears of its container's exit.
func (a *Agent) leave(t *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tasks, t.task.ID)
}

// dropVolumes removes the volumes that destroyed environments left. They are out of sight when it returns; their
// content may take longer.
func (a *Agent) dropVolumes(names []string) {
	var aside []string
	for _, name := range names {
		a.mu.Lock()
		known := slices.Contains(a.dropped, name)
		a.mu.Unlock()
		if known { // and the control plane has not heard of it: what bears the name now is new
			continue
		}
		dir, err := a.files.setAside(name)
		if err != nil {
			a.log.Error("remove volume", "volume", name, "error", err)
			continue
		}
		a.mu.Lock()
		a.dropped = append(a.dropped, name)
		a.mu.Unlock()
		if dir != "" {
			aside = append(aside, dir)
			a.event(api.Event{Type: "volume.removed", Message: fmt.Sprintf("volume %s is removed from node %s", name, a.cfg.Node.Name)})
		}
		a.poke()
	}
	a.removeVolumes(aside)
}

// removeVolumes removes, in the background, what was set aside. What it does not get to is found again at the next
// start.
func (a *Agent) removeVolumes(dirs []string) {
	for _, dir := range dirs {
		a.wg.Go(func() {
			if err := os.RemoveAll(dir); err != nil {
				a.log.Error("remove volume", "path", dir, "error", err)
			}
		})
	}
}

// release gives a release, from memory when it was asked for before.
func (a *Agent) release(ctx context.Context, env api.EnvRef, number uint64) (*api.Release, error) {
	key := releaseKey{env, number}
	a.mu.Lock()
	r, s := a.releases[key], a.session
	a.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := s.Release(ctx, env, number)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.releases[key] = r
	a.mu.Unlock()
	return r, nil
}

// dropReleases forgets releases that no task names any more.
func (a *Agent) dropReleases(as wire.Assignments) {
	used := map[releaseKey]bool{}
	for _, t := range as.Tasks {
		used[releaseKey{t.EnvRef, t.Release}] = true
	}
	for k := range a.releases {
		if !used[k] {
			delete(a.releases, k)
		}
	}
}

func (a *Agent) removeLogs(ctx context.Context, id string) {
	if err := a.cfg.Runtime.RemoveLogs(ctx, id); err != nil {
		a.log.Warn("remove logs", "task", id, "error", err)
	}
}

// poke tells the reporter that there is something to report.
func (a *Agent) poke() {
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
