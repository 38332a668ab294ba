package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ikada/ikada/api"
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
)

// search is one request's or connection's way to a target, over retries and over waits for a table that has one.
type search struct {
	proxy *Proxy
	find  func(*table) *pool

	pool    *pool // that the last table gave, whose meters count the request in flight
	version uint64
	tried   []*target // that refused it under that table
	until   time.Time // end of the wait; zero while it has not waited
}

// next gives a target in whose count in flight the caller now is: it must release it. It waits while there is none.
// After an error the search is over; end must be called in any case.
func (s *search) next(ctx context.Context) (*target, error) {
	for {
		tab, t, err := s.pick()
		if t != nil || err != nil {
			return t, err
		}
		if err := s.wait(ctx, tab); err != nil {
			return nil, err
		}
	}
}

// pick finds the pool in the newest table, chooses a target and counts the request there, all under one read lock:
// the package's promise about Apply rests on this.
func (s *search) pick() (*table, *target, error) {
	s.proxy.routing.RLock()
	defer s.proxy.routing.RUnlock()
	tab := s.proxy.table
	p := s.find(tab)
	if p == nil && tab.applied {
		return tab, nil, errNoRoute
	}
	s.enter(p)
	if tab.version != s.version {
		s.version, s.tried = tab.version, nil
	}
	if p == nil || len(s.tried) >= maxDials {
		return tab, nil, nil
	}
	t := p.pick(s.tried)
	if t != nil {
		t.inFlight.Add(1)
	}
	return tab, t, nil
}

// refused notes that the target given last accepted no connection.
func (s *search) refused(t *target) { s.tried = append(s.tried, t) }

// enter moves the request's count in flight to the meters of p.
func (s *search) enter(p *pool) {
	if p == s.pool {
		return
	}
	if s.pool != nil {
		s.pool.meter.inFlight.Add(-1)
		s.pool.env.inFlight.Add(-1)
	}
	if p != nil {
		p.meter.inFlight.Add(1)
		p.env.inFlight.Add(1)
	}
	s.pool = p
}

// end takes the request out of the gauges.
func (s *search) end() { s.enter(nil) }

// wait holds the request until a newer table is in force.
func (s *search) wait(ctx context.Context, tab *table) error {
	held, hold, why := &s.proxy.meters.early, s.proxy.cfg.FirstTable, errNoTable
	if s.pool != nil {
		held, hold, why = &s.pool.meter.held, s.pool.hold, errNoTask
		if len(s.tried) > 0 {
			why = errRefused
		}
	}
	if s.until.IsZero() {
		s.until = time.Now().Add(hold)
	}
	left := time.Until(s.until)
	if left <= 0 {
		return why
	}
	defer held.Add(-1)
	if held.Add(1) > int64(s.proxy.cfg.Queue) {
		return fmt.Errorf("%w, and %w", why, errQueue)
	}
	if s.pool != nil {
		env := s.pool.env
		env.held.Add(1)
		defer env.held.Add(-1)
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-tab.superseded:
		return nil
	case <-timer.C:
		return why
	case <-ctx.Done():
		return ctx.Err()
	case <-s.proxy.life.Done():
		return errStopping
	}
}

// byListener finds the pool of a published port.
func byListener(addr string) func(*table) *pool {
	return func(t *table) *pool { return t.pools[t.listeners[addr].Pool] }
}

// owner names the environment and service of a search that found its pool.
func (s *search) owner() (api.EnvRef, string) {
	if s.pool == nil {
		return api.EnvRef{}, ""
	}
	return s.pool.EnvRef, s.pool.service
}
