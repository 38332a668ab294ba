package meter

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

// Second is what ended within one second.
type Second struct {
	Time     time.Time     `json:"time"` // its beginning
	Requests uint64        `json:"requests"`
	Failed   uint64        `json:"failed"`
	Longest  time.Duration `json:"longest"`
}

// Dimension says what a series keeps apart.
type Dimension int

// Each keeps apart what the one before does, but that releases and tasks are told over all pools and routes.
const (
	ByEnv     Dimension = iota
	ByService           // and environment
	ByPool              // and service
	ByRoute             // and pool
	ByRelease           // and service
	ByTask              // and release
)

// of gives the part of a source that the dimension keeps apart.
func (d Dimension) of(s Source) Source {
	switch d {
	case ByRoute:
		return Source{Env: s.Env, Service: s.Service, Pool: s.Pool, Route: s.Route}
	case ByPool:
		return Source{Env: s.Env, Service: s.Service, Pool: s.Pool}
	case ByService:
		return Source{Env: s.Env, Service: s.Service}
	case ByRelease:
		return Source{Env: s.Env, Service: s.Service, Release: s.Release}
	case ByTask:
		return Source{Env: s.Env, Service: s.Service, Release: s.Release, Task: s.Task}
	}
	return Source{Env: s.Env}
}

// Selection says whose requests a series is of: those whose source equals it in every field that is not empty.
type Selection Source

func (sel *Selection) matches(s *Source) bool {
	return (sel.Env == api.EnvRef{} || sel.Env == s.Env) &&
		(sel.Service == "" || sel.Service == s.Service) &&
		(sel.Pool == "" || sel.Pool == s.Pool) &&
		(sel.Route == "" || sel.Route == s.Route) &&
		(sel.Release == 0 || sel.Release == s.Release) &&
		(sel.Task == "" || sel.Task == s.Task)
}

// Point is one second of one member of a dimension.
type Point struct {
	Time     time.Time        `json:"time"`   // its beginning
	Source   Source           `json:"source"` // only what the dimension keeps apart
	Requests uint64           `json:"requests"`
	Failed   uint64           `json:"failed"`
	Status   [classes]uint64  `json:"status"`   // by first digit, as in Counters
	Failures [failures]uint64 `json:"failures"` // by kind; at None those of no kind
	Latency  Histogram        `json:"latency"`  // of the waits for the first byte, which slow clients do not lengthen
	Longest  time.Duration    `json:"longest"`
	In       uint64           `json:"in"` // bytes
	Out      uint64           `json:"out"`
	Retries  uint64           `json:"retries"`
	InFlight int64            `json:"inFlight"` // at the end of the second, or now
	Held     int64            `json:"held"`     // of those
}

// Seconds gives, oldest first, the seconds from since to now in which a request of the environment ended; at most
// the last 600. The current second is not complete.
func (m *Meters) Seconds(env api.EnvRef, since time.Time) []Second {
	var all []Second
	sums := m.collect(ByEnv, Selection{Env: env}, since, time.Now().Unix(), false)
	for _, k := range sortedKeys(sums) {
		requests, bad, _, _ := sums[k].outcomes()
		if requests == 0 {
			continue // some were in flight, and none ended
		}
		all = append(all, Second{
			Time: time.Unix(k.second, 0), Requests: requests, Failed: bad, Longest: sums[k].longest(),
		})
	}
	return all
}

// Series gives, oldest first, the seconds from since to now in which the selected requests ended or were in flight,
// apart by a dimension; at most the last 600. The current second is not complete. A point takes more than a kilobyte:
// select what is needed.
func (m *Meters) Series(by Dimension, sel Selection, since time.Time) []Point {
	sums := m.collect(by, sel, since, time.Now().Unix(), true)
	all := make([]Point, 0, len(sums))
	for _, k := range sortedKeys(sums) {
		t := sums[k]
		p := Point{
			Time: time.Unix(k.second, 0), Source: k.source, Latency: *t.latency(), Longest: t.longest(),
			In: t[inAt], Out: t[outAt], Retries: t[retriesAt], InFlight: int64(t[inFlightAt]), Held: int64(t[heldAt]),
		}
		p.Requests, p.Failed, p.Status, p.Failures = t.outcomes()
		all = append(all, p)
	}
	return all
}

// pointKey tells the points of a series apart.
type pointKey struct {
	second int64
	source Source
}

func sortedKeys(sums map[pointKey]*tally) []pointKey {
	keys := make([]pointKey, 0, len(sums))
	for k := range sums {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b pointKey) int {
		s, t := &a.source, &b.source
		return cmp.Or(cmp.Compare(a.second, b.second), strings.Compare(s.Env.App, t.Env.App),
			strings.Compare(s.Env.Env, t.Env.Env), strings.Compare(s.Service, t.Service), strings.Compare(s.Pool, t.Pool),
			strings.Compare(s.Route, t.Route), cmp.Compare(s.Release, t.Release), strings.Compare(s.Task, t.Task))
	})
	return keys
}

// collect adds up what the selected leaves, and those that have gone, have in their histories; with live also what is
// in flight now.
func (m *Meters) collect(by Dimension, sel Selection, since time.Time, now int64, live bool) map[pointKey]*tally {
	c := collection{by: by, since: sinceUnix(since), now: now, sums: map[pointKey]*tally{}}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if sel.Env != (api.EnvRef{}) {
		if a := m.envs[sel.Env]; a != nil {
			c.account(a, &sel, live)
		}
		return c.sums
	}
	for _, a := range m.envs {
		c.account(a, &sel, live)
	}
	return c.sums
}

// collection is a series that is being made.
type collection struct {
	by         Dimension
	since, now int64
	sums       map[pointKey]*tally
}

func (c *collection) add(s Source, second int64, t *tally) {
	k := pointKey{second, c.by.of(s)}
	if sum := c.sums[k]; sum != nil {
		sum.add(t)
		return
	}
	sum := *t
	c.sums[k] = &sum
}

func (c *collection) account(a *account, sel *Selection, live bool) {
	for l := range a.leaves {
		if sel.matches(&l.source) {
			c.leaf(l, live)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for s, h := range a.gone {
		if sel.matches(&s) {
			h.each(c.since, c.now, func(second int64, t *tally) { c.add(s, second, t) })
		}
	}
}

func (c *collection) leaf(l *Leaf, live bool) {
	h, inFlight, held := l.copyHistory(c.since, c.now)
	h.each(c.since, c.now, func(second int64, t *tally) { c.add(l.source, second, t) })
	if live && inFlight > 0 {
		c.add(l.source, c.now, &tally{inFlightAt: uint64(inFlight), heldAt: uint64(held)})
	}
}
