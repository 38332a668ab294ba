package meter

import (
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
	sum    tally // under the mutex of the account
	once   sync.Once
	final  Totals
}

// Totals is what a Window counted.
type Totals struct {
	Opened, Closed            time.Time     // Closed is the time of reading while the window is open
	Requests, Failed, Aborted uint64        // as in Counters
	Longest                   time.Duration // as in Counters, of these requests
}

// OpenWindow begins to count. Any number of windows may be open.
func (m *Meters) OpenWindow(env api.EnvRef) *Window {
	m.mu.Lock() // so that nobody can forget the account before the window stands in it
	defer m.mu.Unlock()
	w := &Window{meters: m, of: made(m, m.envs, env), opened: time.Now()}
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

// totals is what is in the sum. The caller holds the mutex of the account.
func (w *Window) totals(now time.Time) Totals {
	t := Totals{Opened: w.opened, Closed: now, Longest: w.sum.longest()}
	var kinds [failures]uint64
	t.Requests, t.Failed, _, kinds = w.sum.outcomes()
	t.Aborted = kinds[Aborted]
	return t
}
