package metrics

import (
	"context"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	keptReleases = 20 // that counters tell apart, up to the committed one

	absorbEvery = 5 * time.Minute // well within what the balancer keeps
	complete    = 3 * time.Second // after its end a second is counted: until then something may still be added
	keptGone    = 10 * time.Minute
)

// Config is what a book is made of.
type Config struct {
	Version  api.Version
	Requests Requests
	World    World
}

// Book holds the counters of the page, which begin at zero when ikada starts.
type Book struct {
	version  api.Version
	requests Requests
	world    World
	began    time.Time
	now      func() time.Time
	lanes    chan struct{} // one for each query that may run

	mu   sync.Mutex
	envs map[api.EnvRef]*account
}

// account is one environment's.
type account struct {
	sums   ledger
	until  time.Time           // seconds before are counted
	failed map[string]struct{} // tasks whose failure is counted, as long as they are known
	ended  uint64              // the newest deployment whose end is counted
	open   map[uint64]struct{} // older ones that had not ended then
	absent time.Time           // since when the environment is gone
}

// New makes a book.
func New(cfg Config) *Book {
	now := time.Now()
	return &Book{version: cfg.Version, requests: cfg.Requests, world: cfg.World, began: now, now: time.Now,
		lanes: make(chan struct{}, queriesAtOnce), envs: map[api.EnvRef]*account{}}
}

// Run counts now and then what nobody asks for, so that nothing is forgotten before, until ctx ends; it returns nil.
func (b *Book) Run(ctx context.Context) error {
	tick := time.NewTicker(absorbEvery)
	defer tick.Stop()
	b.observe()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			b.mu.Lock()
			for _, s := range b.scenes() {
				_ = b.absorb(ctx, s.EnvRef) // what a balancer does not tell now it may tell the next time
			}
			b.mu.Unlock()
		}
	}
}

// observe begins to count environments that are there at the start.
func (b *Book) observe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scenes()
}

// Write writes the page, with the environments that may be seen.
func (b *Book) Write(ctx context.Context, w io.Writer, seen func(api.EnvRef) bool) error {
	page := ledger{}
	page.at("ikada_build_info", label{"version", b.version.Version}, label{"node", b.version.Node}).value = 1
	page.at("ikada_start_time_seconds").value = float64(b.began.UnixMilli()) / 1000
	b.mu.Lock()
	for _, s := range b.scenes() {
		if !seen(s.EnvRef) {
			continue
		}
		if err := b.absorb(ctx, s.EnvRef); err != nil {
			b.mu.Unlock()
			return err
		}
		page.scene(&s)
		for k, v := range b.envs[s.EnvRef].sums {
			c := *v
			page[k] = &c
		}
		page.zero(&s)
	}
	b.mu.Unlock()
	return write(w, page)
}

// scenes reads the world, and counts in it what ended since. The caller holds b.mu.
func (b *Book) scenes() []Scene {
	all := b.world.Scenes()
	now := b.now()
	there := map[api.EnvRef]bool{}
	for i := range all {
		s := &all[i]
		there[s.EnvRef] = true
		a := b.envs[s.EnvRef]
		if a == nil {
			a = &account{sums: ledger{}, until: b.began.Truncate(time.Second), failed: map[string]struct{}{}, open: map[uint64]struct{}{}}
			b.envs[s.EnvRef] = a
		}
		a.count(s, b.began)
	}
	maps.DeleteFunc(b.envs, func(ref api.EnvRef, a *account) bool {
		if there[ref] {
			a.absent = time.Time{}
		} else if a.absent.IsZero() {
			a.absent = now
		}
		return !a.absent.IsZero() && now.Sub(a.absent) > keptGone
	})
	return all
}

// count adds tasks that failed and deployments that ended since ikada started, each once.
func (a *account) count(s *Scene, began time.Time) {
	maps.DeleteFunc(a.sums, func(_ key, of *series) bool {
		i := slices.IndexFunc(of.labels, func(l label) bool { return l.name == "release" })
		if i < 0 {
			return false
		}
		n, err := strconv.ParseUint(of.labels[i].value, 10, 64)
		return err == nil && n > 0 && n+keptReleases < s.Release
	})
	known := map[string]struct{}{}
	for _, t := range s.Tasks {
		fault := t.Fault
		if fault == "" && t.Status.State == api.TaskFailed {
			fault = t.Status.Cause
		}
		if fault == "" || t.Job != nil {
			continue
		}
		known[t.ID] = struct{}{}
		if _, counted := a.failed[t.ID]; counted || !t.Status.FinishedAt.IsZero() && t.Status.FinishedAt.Before(began) {
			continue
		}
		a.sums.at("ikada_task_failures_total", of(s.EnvRef, t.Service, release(t.Release), label{"cause", string(fault)})...).value++
	}
	a.failed = known
	for _, d := range s.Deployments {
		_, waited := a.open[d.Number]
		switch {
		case d.Number <= a.ended && !waited:
		case !d.State.Final():
			a.open[d.Number] = struct{}{}
		default:
			delete(a.open, d.Number)
			if !d.EndedAt.Before(began) {
				a.sums.at("ikada_deployments_total", label{"app", s.App}, label{"env", s.Env}, label{"kind", d.Kind}, label{"outcome", string(d.State)}).value++
			}
		}
		a.ended = max(a.ended, d.Number)
	}
}

// absorb adds the seconds that have become complete. The caller holds b.mu.
func (b *Book) absorb(ctx context.Context, env api.EnvRef) error {
	a := b.envs[env]
	until := b.now().Add(-complete).Truncate(time.Second)
	if !until.After(a.until) {
		return nil
	}
	var fresh []Point
	for _, by := range []string{api.ByRelease, api.ByRoute} {
		points, err := b.requests.Points(ctx, env, by, a.until)
		if err != nil {
			return err
		}
		fresh = append(fresh, points...)
	}
	for i := range fresh {
		if p := &fresh[i]; !p.Time.Before(a.until) && p.Time.Before(until) {
			a.sums.add(env, p)
		}
	}
	for _, name := range []string{"ikada_requests_in_flight", "ikada_requests_held"} {
		maps.DeleteFunc(a.sums, func(_ key, s *series) bool { return s.name == name })
	}
	for i := range fresh { // oldest first: the last second has the last word
		if p := &fresh[i]; p.Route == "" && !p.Time.Before(until) {
			a.sums.at("ikada_requests_in_flight", of(env, p.Service, release(p.Release))...).value = float64(p.InFlight)
			a.sums.at("ikada_requests_held", of(env, p.Service, release(p.Release))...).value = float64(p.Held)
		}
	}
	a.until = until
	return nil
}

func release(n uint64) label { return label{"release", strconv.FormatUint(n, 10)} }

// scene adds what an environment looks like now.
func (l ledger) scene(s *Scene) {
	env := []label{{"app", s.App}, {"env", s.Env}}
	l.at("ikada_release", env...).value = float64(s.Release)
	running := l.at("ikada_deployment_running", env...)
	for _, d := range s.Deployments {
		if d.State == api.DeployRunning {
			running.value = 1
		}
		if d.State != api.DeployRunning && d.Trial != api.TrialOn {
			continue
		}
		for _, r := range d.Checks {
			labels := of(s.EnvRef, r.Owner, release(d.To), label{"check", r.Name})
			switch r.Result {
			case api.VerdictPass:
				l.at("ikada_check_passing", labels...).value = 1
			case api.VerdictFail:
				l.at("ikada_check_passing", labels...).value = 0
			}
		}
	}
	for service, n := range s.Want {
		l.at("ikada_tasks_wanted", of(s.EnvRef, service)...).value = float64(n)
		l.at("ikada_tasks_ready", of(s.EnvRef, service)...)
	}
	for _, t := range s.Tasks {
		if t.Job != nil || t.Status.State.Final() {
			continue
		}
		state := t.Status.State
		if state == "" {
			state = api.TaskPending
		}
		if t.Desired == api.WantWarm && state == api.TaskReady {
			state = "warm"
		}
		l.at("ikada_tasks", of(s.EnvRef, t.Service, release(t.Release), label{"state", string(state)})...).value++
		if state == api.TaskReady && t.Desired == api.WantRunning && !t.Status.Unhealthy {
			l.at("ikada_tasks_ready", of(s.EnvRef, t.Service)...).value++
		}
	}
}

// zero adds counters of what may happen and has not, so that a rule on them has something to see.
func (l ledger) zero(s *Scene) {
	for _, state := range []api.DeploymentState{api.DeploySucceeded, api.DeployRolledBack, api.DeployFailed} {
		l.at("ikada_deployments_total", label{"app", s.App}, label{"env", s.Env}, label{"kind", api.KindDeploy}, label{"outcome", string(state)})
	}
	for _, service := range slices.Sorted(maps.Keys(s.Want)) {
		for _, cause := range []api.Cause{api.CauseExit, api.CauseOOM} {
			l.at("ikada_task_failures_total", of(s.EnvRef, service, release(s.Release), label{"cause", string(cause)})...)
		}
	}
}
