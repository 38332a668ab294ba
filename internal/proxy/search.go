package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/balance"
	"github.com/ikada/ikada/internal/proxy/meter"
	"github.com/ikada/ikada/internal/proxy/policy"
)

// maxDials is how many targets one table's pool may refuse a request before it waits for another table.
const maxDials = 3

// Why a search ended without a target.
var (
	errNoRoute  = errors.New("no route matches")
	errStopping = errors.New("the balancer is stopping")
	errQueue    = errors.New("too many requests wait for a task already")
	errNoTask   = errors.New("no task is ready")
	errRefused  = errors.New("no task accepts connections")
	errNoTable  = errors.New("the balancer has no routes yet")
	errGaveUp   = errors.New("the client left while it waited")
)

// seeker is what a search is for: it knows which entry of a table it came in by, and who still waits for the answer.
type seeker interface {
	// find gives the entry of a table, nil for none. It must not block.
	find(*table) *entry
	// prefers gives the key of the task that the client had before, "" for none.
	prefers(*entry) string
	// matches tells whether the match takes the request.
	matches(*policy.Match) bool
	// gone is closed when nobody waits any more; nil: that is not known.
	gone() <-chan struct{}
}

// search is one request's or connection's way to a target, over retries and over waits for a table that has one.
type search struct {
	proxy  *Proxy
	seeker seeker
	shard  int // of the meters

	table   *table                    // the one that entry is of, until there is a target: a connection may outlive many tables
	entry   *entry                    // that the last table gave
	version uint64                    // of that table
	leaf    *meter.Leaf               // where it counts as in flight; its target's once it has one
	tried   [maxDials]*balance.Member // that refused it under that table
	tries   int
	refusal refusal       // the last one, under whichever table
	until   time.Duration // on the proxy's clock, end of the wait; zero while it has not waited
}

// refusal is a target that accepted no connection, and why.
type refusal struct {
	target *target
	err    error
}

// begin forgets the search before.
func (s *search) begin() {
	*s = search{proxy: s.proxy, seeker: s.seeker, shard: s.shard}
}

// enterTable finds the entry; it waits for the first table of all.
func (s *search) enterTable() (*entry, error) {
	for {
		s.proxy.routing.RLock()
		tab, e := s.look()
		s.proxy.routing.RUnlock()
		if e != nil {
			return e, nil
		}
		if tab.applied {
			return nil, errNoRoute
		}
		if err := s.wait(tab); err != nil {
			return nil, err
		}
	}
}

// look finds the entry in the table in force, nil when that has none. It looks once in each table; routing is held.
func (s *search) look() (*table, *entry) {
	tab := s.proxy.table
	if tab == s.table {
		return tab, s.entry
	}
	e := s.seeker.find(tab)
	if e == nil {
		return tab, nil
	}
	if tab.version != s.version {
		s.version, s.tries = tab.version, 0
	}
	s.table, s.entry = tab, e
	return tab, e
}

// next gives a target in whose count in flight the caller now is: it must release it. It waits while there is none.
// After an error the search is over; end must be called in any case.
func (s *search) next() (*target, error) {
	for {
		tab, t, err := s.pick()
		if t != nil || err != nil {
			s.table = nil
			return t, err
		}
		if err := s.wait(tab); err != nil {
			return nil, err
		}
	}
}

// pick finds the entry in the newest table, chooses a target and counts the request there, all under one read lock:
// the package's promise about Apply rests on this.
func (s *search) pick() (*table, *target, error) {
	s.proxy.routing.RLock()
	defer s.proxy.routing.RUnlock()
	tab, e := s.look()
	switch {
	case e != nil:
	case tab.applied:
		return tab, nil, errNoRoute
	default:
		return tab, nil, nil
	}
	i := -1
	if s.tries < maxDials {
		matched := e.pool.match != nil && s.seeker.matches(e.pool.match)
		i = e.pool.pick(s.tried[:s.tries], s.seeker.prefers(e), matched, s.proxy.clock())
	}
	if i < 0 {
		s.moveTo(e.none)
		return tab, nil, nil
	}
	t := e.pool.targets[i]
	t.member.InFlight.Add(1)
	s.moveTo(e.leaves[i])
	return tab, t, nil
}

// refused notes that the target given last is not to be tried again.
func (s *search) refused(t *target, err error) {
	s.refusal = refusal{t, err}
	if s.tries < maxDials {
		s.tried[s.tries] = t.member
		s.tries++
	}
}

// moveTo moves the request's count in flight to another leaf.
func (s *search) moveTo(l *meter.Leaf) {
	if l == s.leaf {
		return
	}
	if s.leaf != nil {
		s.leaf.End(s.shard)
	}
	if l != nil {
		l.Begin(s.shard)
	}
	s.leaf = l
}

// end takes the request out of the gauges.
func (s *search) end() {
	s.moveTo(nil)
	s.table = nil
}

// wait holds the request until a newer table is in force.
func (s *search) wait(tab *table) error {
	held, hold, why := &s.proxy.early, s.proxy.cfg.FirstTable, errNoTable
	if s.leaf != nil {
		held, hold, why = s.entry.pool.held, s.entry.pool.hold, errNoTask
		if s.tries > 0 {
			why = errRefused
		}
	}
	now := s.proxy.clock()
	if s.until == 0 {
		s.until = now + hold
	}
	left := s.until - now
	if left <= 0 {
		return why
	}
	defer held.Add(-1)
	if held.Add(1) > int64(s.proxy.cfg.Queue) {
		return fmt.Errorf("%w, and %w", why, errQueue)
	}
	if s.leaf != nil {
		s.leaf.Hold(s.shard)
		defer s.leaf.Unhold(s.shard)
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-tab.superseded:
		return nil
	case <-timer.C:
		return why
	case <-s.seeker.gone():
		return errGaveUp
	case <-s.proxy.life.Done():
		return errStopping
	}
}

// owner names the environment and service of a search that found its pool.
func (s *search) owner() (api.EnvRef, string) {
	if s.entry == nil {
		return api.EnvRef{}, ""
	}
	return s.entry.pool.EnvRef, s.entry.pool.Service
}
