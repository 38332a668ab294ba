package hook

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

const (
	feedMost = 6000 // events that are kept in memory; the store keeps fewer

	// A crash loop: so many failures of a service's tasks within so long. One is told of once until there was none for
	// a while.
	crashes      = 3
	crashWithin  = 10 * time.Minute
	crashSilence = time.Hour
)

// position is a place in the order in which events were written: the revision of the store, and within one the ID. It
// is not the time, which may come from several machines' clocks.
type position struct {
	rev int64
	id  string
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.rev, q.rev), cmp.Compare(p.id, q.id))
}

// news is an event that hooks may be told of.
type news struct {
	at        position
	event     api.Event
	happening string // "" concerns no hook
}

// feed is the events that there are, in the order in which they were written. Safe for concurrent use.
type feed struct {
	mu      sync.Mutex
	list    []news
	grown   chan struct{} // closed and replaced when list has grown
	crashed map[string]*crashCount
}

// crashCount is what is known of a service's failures.
type crashCount struct {
	times []time.Time // within crashWithin
	told  time.Time   // of the last crash loop
}

func newFeed() *feed {
	return &feed{grown: make(chan struct{}), crashed: map[string]*crashCount{}}
}

// add takes events that were written after all that it has.
func (f *feed) add(events []news) {
	if len(events) == 0 {
		return
	}
	slices.SortFunc(events, func(a, b news) int { return a.at.compare(b.at) })
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range events {
		n.happening = f.happening(&n.event)
		f.list = append(f.list, n)
	}
	if over := len(f.list) - feedMost; over > 0 {
		f.list = slices.Clone(f.list[over:])
	}
	close(f.grown)
	f.grown = make(chan struct{})
}

// after gives the first event behind a position that concerns hooks; false, with what is closed once there is more, when
// there is none yet.
func (f *feed) after(p position) (news, bool, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, found := slices.BinarySearchFunc(f.list, p, func(n news, p position) int { return n.at.compare(p) })
	if found {
		i++
	}
	for _, n := range f.list[i:] {
		if n.happening != "" {
			return n, true, nil
		}
	}
	return news{}, false, f.grown
}

// happening tells what an event is to hooks. It depends on the events before, in their order alone.
func (f *feed) happening(e *api.Event) string {
	switch e.Type {
	case "deployment.started":
		return api.HookStart
	case "deployment.succeeded":
		return api.HookSuccess
	case "deployment.rolled_back", "release.failed": // while it rolled out, or on trial
		return api.HookRollback
	case "deployment.failed", "release.no_way_back":
		return api.HookFailure
	case "job.failed":
		return api.HookJobFailed
	case "job.missed", "job.skipped":
		return api.HookJobMissed
	case "deployment.cancelled":
		return api.HookCancel
	case "task.failed":
		if f.crash(e) {
			return api.HookCrashLoop
		}
	}
	return ""
}

// crash counts a failure, and tells whether it makes a crash loop that was not told of.
func (f *feed) crash(e *api.Event) bool {
	key := e.EnvRef.String() + "/" + e.Service
	c := f.crashed[key]
	if c == nil {
		c = &crashCount{}
		f.crashed[key] = c
	}
	c.times = slices.DeleteFunc(append(c.times, e.Time), func(t time.Time) bool { return e.Time.Sub(t) > crashWithin })
	if len(c.times) < crashes {
		return false
	}
	silent := e.Time.Sub(c.told) < crashSilence
	c.told = e.Time // a loop that goes on is one
	return !silent
}
