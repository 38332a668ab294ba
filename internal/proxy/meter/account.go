package meter

import (
	"slices"
	"sync"
	"time"
)

// Counters is what a pool or an environment has met since Boot came into being; only InFlight and Held go down.
//
// A request counts when it has ended: when its answer has been sent, or it became clear that there is none. An
// upgraded connection counts when it is switched, a TCP connection when its target has accepted it. A request that
// no route matches belongs to no environment and counts nowhere; a client that leaves while it is held, before any
// target has it, has failed.
type Counters struct {
	Boot     string          `json:"boot"`     // another value: the counters began anew from zero
	Requests uint64          `json:"requests"` // all that ended
	Failed   uint64          `json:"failed"`   // no answer, an answer of 500 and above, or one that broke off at the target
	Aborted  uint64          `json:"aborted"`  // the client left while a target worked on it or answered; not failed
	Status   [classes]uint64 `json:"status"`   // by first digit of the status; 0 is TCP, and requests without an answer
	InFlight int64           `json:"inFlight"` // requests now being held or answered
	Held     int64           `json:"held"`     // of those, waiting for a target
	Longest  time.Duration   `json:"longest"`  // longest wait for an answer's first byte, or until its failure was clear
}

// account is the sums of a pool or an environment. Leaves add to it what they have settled, so that it stays right when
// they go.
type account struct {
	boot   string
	leaves map[*Leaf]struct{} // under the mutex of Meters

	mu      sync.Mutex
	total   tally
	used    int64 // unix second of the last addition
	windows []*Window
	gone    map[Source]*history // of an environment: what folded leaves have left, by source without its task
}

// add counts what a leaf of a release has settled.
func (a *account) add(now int64, release uint64, t *tally) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = max(a.used, now)
	a.total.add(t)
	for _, w := range a.windows {
		w.add(release, t)
	}
}

// addGone counts in the history of a release what a folded leaf still gets.
func (a *account) addGone(s Source, second, now int64, t *tally) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.goneOf(s).add(second, now, t)
}

// foldGone takes over the history of a leaf that goes.
func (a *account) foldGone(s Source, h *history, now int64) {
	if len(h.seconds) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.goneOf(s).merge(h, now)
}

func (a *account) goneOf(s Source) *history {
	s.Task = Gone
	h := a.gone[s]
	if h == nil {
		if a.gone == nil {
			a.gone = map[Source]*history{}
		}
		h = &history{}
		a.gone[s] = h
	}
	return h
}

// trim drops what gone tasks have left and is too old.
func (a *account) trim(now int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s, h := range a.gone {
		if h.trim(now); len(h.seconds) == 0 {
			delete(a.gone, s)
		}
	}
}

// idle tells whether nothing depends on the account any more.
func (a *account) idle(now int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.leaves) == 0 && len(a.windows) == 0 && now-a.used > kept
}

// settle has all leaves add what they have counted so far.
func (a *account) settle(now int64) {
	for l := range a.leaves {
		l.mu.Lock()
		l.settleAll(now)
		l.mu.Unlock()
	}
}

// counters gives the sums; settle comes before it.
func (a *account) counters() Counters {
	c := Counters{Boot: a.boot}
	for l := range a.leaves {
		inFlight, held := l.gauges()
		c.InFlight += inFlight
		c.Held += held
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var kinds [failures]uint64
	c.Requests, c.Failed, c.Status, kinds = a.total.outcomes()
	c.Aborted, c.Longest = kinds[Aborted], a.total.longest()
	return c
}

func (a *account) open(w *Window) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.windows = append(a.windows, w)
}

// close takes a window out and gives what it has counted.
func (a *account) close(w *Window, now time.Time) Totals {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.windows = slices.DeleteFunc(a.windows, func(o *Window) bool { return o == w })
	a.used = max(a.used, now.Unix())
	return w.totals(now)
}
