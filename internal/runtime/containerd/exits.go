package containerd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	eventtypes "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/typeurl/v2"
	"github.com/fsnotify/fsnotify"

	"github.com/ikada/ikada/internal/agent"
	"github.com/ikada/ikada/internal/runtime/shimexit"
)

const (
	// exitRescan is how often the records are read without having been told of one.
	exitRescan = 2 * time.Second
	// createRescan is how soon the records are read again when one was of a container that is being made.
	createRescan = 10 * time.Millisecond
	// resubscribe is the pause before events are asked for again after containerd went away.
	resubscribe = 50 * time.Millisecond
)

func exitOf(r shimexit.Record) *agent.Exit {
	code := r.Code
	return &agent.Exit{ID: r.ID, Code: &code, OOM: r.OOM, At: r.At}
}

// Exits delivers the ends of containers from two sources. The shims' records are the first: they come at once, whatever
// containerd does. Its events and a look at its tasks after each connection are the second: they tell of containers
// whose shim was killed before it could write, and of those that ended with the machine.
func (r *Runtime) Exits(ctx context.Context) <-chan agent.Exit {
	out := make(chan agent.Exit, 64)
	ctx = inNamespace(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.watchRecords(ctx, out) })
	wg.Go(func() { r.watchEvents(ctx, out) })
	go func() {
		wg.Wait()
		close(out)
	}()
	return out
}

// watchRecords delivers each record once.
func (r *Runtime) watchRecords(ctx context.Context, out chan<- agent.Exit) {
	var events <-chan fsnotify.Event
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		if err := w.Add(r.cfg.exitDir()); err == nil {
			events = w.Events
		}
	}
	tick := time.NewTicker(exitRescan)
	defer tick.Stop()
	told := map[string]bool{}
	for {
		later, err := r.tellRecords(ctx, told, out)
		if err != nil {
			r.cfg.log().Error("exit records cannot be read", "error", err)
		}
		var again <-chan time.Time
		if later {
			again = time.After(createRescan)
		}
		for changed := false; !changed; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				changed = true
			case <-again:
				changed = true
			case e := <-events:
				changed = strings.HasSuffix(e.Name, ".json") && !strings.HasPrefix(filepath.Base(e.Name), ".")
			}
		}
	}
}

// tellRecords delivers the records that are not in told, and forgets there those that are gone. Those of containers that
// are being made are left for later: an attempt that is made again leaves one behind that is not the container's.
func (r *Runtime) tellRecords(ctx context.Context, told map[string]bool, out chan<- agent.Exit) (later bool, err error) {
	ids, err := shimexit.List(r.cfg.exitDir())
	if err != nil {
		return false, err
	}
	here := map[string]bool{}
	var errs []error
	for _, id := range ids {
		here[id] = true
		if told[id] {
			continue
		}
		if r.isCreating(id) {
			later = true
			continue
		}
		rec, ok, err := shimexit.Read(r.cfg.exitDir(), id)
		if err != nil {
			errs = append(errs, err)
		}
		if !ok {
			continue
		}
		if !deliver(ctx, out, *exitOf(rec)) {
			return false, nil
		}
		told[id] = true
	}
	for id := range told {
		if !here[id] {
			delete(told, id)
		}
	}
	return later, errors.Join(errs...)
}

// watchEvents listens to containerd; each time that it answers anew, it first looks for what was missed.
func (r *Runtime) watchEvents(ctx context.Context, out chan<- agent.Exit) {
	for ctx.Err() == nil {
		sub, cancel := context.WithCancel(ctx)
		events, errs := r.client.Subscribe(sub, `topic=="/tasks/exit"`)
		err := r.tellLost(ctx, out)
		var again time.Duration
		if err == nil {
			again, err = r.sweep(ctx)
		}
		next := time.After(again)
		for err == nil {
			select {
			case <-next:
				again, err = r.sweep(ctx)
				next = time.After(again)
			case e := <-events:
				if e == nil {
					continue
				}
				err = r.recordEvent(ctx, e.Event)
			case err = <-errs:
				if err == nil {
					err = errors.New("subscription ended")
				}
			}
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(resubscribe):
		}
	}
}

// recordEvent records an end that containerd announces and no shim has recorded: that of a container whose shim died, which
// containerd then kills. watchRecords delivers it.
func (r *Runtime) recordEvent(ctx context.Context, encoded typeurl.Any) error {
	v, err := typeurl.UnmarshalAny(encoded)
	if err != nil {
		return nil //nolint:nilerr // an event that this version does not know
	}
	e, ok := v.(*eventtypes.TaskExit)
	if !ok || e.ID != e.ContainerID {
		return nil
	}
	if _, known, err := shimexit.Read(r.cfg.exitDir(), e.ContainerID); known || err != nil {
		return err
	}
	// Not of a container that was just removed, record and all, and whose event comes late; nor of one that was made
	// again since.
	c, err := r.client.ContainerService().Get(ctx, e.ContainerID)
	if err != nil || c.Labels[labelTask] == "" || r.isCreating(e.ContainerID) {
		return nil //nolint:nilerr // if it is there all the same, the sweep finds its end
	}
	if now, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: e.ContainerID}); err == nil &&
		isRunning(now.Process.GetStatus()) && now.Process.GetPid() != e.Pid {
		return nil
	}
	return shimexit.Write(r.cfg.exitDir(), shimexit.Record{
		ID: e.ContainerID, Code: int(e.ExitStatus), At: e.ExitedAt.AsTime(),
	})
}

// tellLost delivers the containers that neither run nor have a record: their exit code cannot be learnt any more.
func (r *Runtime) tellLost(ctx context.Context, out chan<- agent.Exit) error {
	states, err := r.list(ctx)
	if err != nil {
		return fmt.Errorf("look for lost containers: %w", err)
	}
	for _, s := range states {
		if s.Running || s.Exit != nil {
			continue
		}
		// The list of tasks may be older than this container's start: ask once more for it alone.
		at := time.Now()
		if again, err := r.isLost(ctx, s.ID); err != nil || !again {
			continue
		}
		if !deliver(ctx, out, agent.Exit{ID: s.ID, At: at}) {
			return ctx.Err()
		}
	}
	return nil
}

// isLost asks for one container alone, until no Create that ended meanwhile can have made the answer old.
func (r *Runtime) isLost(ctx context.Context, id string) (bool, error) {
	for {
		made := r.made()
		running, err := r.mayRun(ctx, id)
		if err != nil || running || r.isCreating(id) {
			return false, err
		}
		if _, err := r.client.ContainerService().Get(ctx, id); err != nil {
			return false, nil //nolint:nilerr // removed meanwhile, or asked about again at the next look
		}
		_, ended, err := shimexit.Read(r.cfg.exitDir(), id)
		if err != nil || ended {
			return false, err
		}
		if r.made() == made {
			return true, nil
		}
	}
}

func deliver(ctx context.Context, out chan<- agent.Exit, e agent.Exit) bool {
	select {
	case out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
