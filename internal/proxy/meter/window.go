package meter

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// Window counts the requests of one environment that ended between its opening and its closing, however long that
// is; a deployment's receipt is made from one. It must be closed.
type Window struct {
	meters *Meters
	of     *account
	opened time.Time
	sum    map[uint64]*tally // by release; under the mutex of the account
	once   sync.Once
	final  Totals
}

// Totals is what a Window counted.
type Totals struct {
	Opened, Closed time.Time // Closed is the time of reading while the window is open
	Count
	Releases []ReleaseCount // the same by release, in rising order; 0 is what no task had
}

// Count is what some requests met.
type Count struct {
	Requests uint64        `json:"requests"` // as in Counters, as all
	Failed   uint64        `json:"failed"`
	Aborted  uint64        `json:"aborted"`
	Longest  time.Duration `json:"longest"`
	Held     uint64        `json:"held"`    // of the requests, those that waited for a target
	Retries  uint64        `json:"retries"` // attempts after the first
}

// ReleaseCount is what the requests of one release met.
type ReleaseCount struct {
	Release uint64 `json:"release"`
	Count
}

// Add adds what other requests met.
func (c *Count) Add(o Count) {
	c.Requests, c.Failed, c.Aborted = c.Requests+o.Requests, c.Failed+o.Failed, c.Aborted+o.Aborted
	c.Longest, c.Held, c.Retries = max(c.Longest, o.Longest), c.Held+o.Held, c.Retries+o.Retries
}

// OpenWindow begins to count. Any number of windows may be open.
func (m *Meters) OpenWindow(env api.EnvRef) *Window {
	m.mu.Lock() // so that nobody can forget the account before the window stands in it
	defer m.mu.Unlock()
	w := &Window{meters: m, of: made(m, m.envs, env), opened: time.Now(), sum: map[uint64]*tally{}}
	w.of.settle(w.opened.Unix())
	w.of.open(w)
	return w
}

// Read gives what the window has counted so far; after Close, what it had counted then.
func (w *Window) Read() Totals {
	now := w.settle()
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	return w.totals(now)
}

// Close ends the counting and gives the result, every time the same.
func (w *Window) Close() Totals {
	w.once.Do(func() { w.final = w.of.close(w, w.settle()) })
	return w.final
}

func (w *Window) settle() (now time.Time) {
	w.meters.mu.RLock()
	defer w.meters.mu.RUnlock()
	now = time.Now()
	w.of.settle(now.Unix())
	return now
}

// add counts what requests of a release met. The caller holds the mutex of the account.
func (w *Window) add(release uint64, t *tally) {
	if w.sum[release] == nil {
		w.sum[release] = new(tally)
	}
	w.sum[release].add(t)
}

// totals is what is in the sums. The caller holds the mutex of the account.
func (w *Window) totals(now time.Time) Totals {
	t := Totals{Opened: w.opened, Closed: now}
	for _, release := range slices.Sorted(maps.Keys(w.sum)) {
		c := w.sum[release].counted()
		t.Add(c)
		t.Releases = append(t.Releases, ReleaseCount{Release: release, Count: c})
	}
	return t
}

func (t *tally) counted() Count {
	c := Count{Longest: t.longest(), Held: t[waitedAt], Retries: t[retriesAt]}
	var kinds [failures]uint64
	c.Requests, c.Failed, _, kinds = t.outcomes()
	c.Aborted = kinds[Aborted]
	return c
}
