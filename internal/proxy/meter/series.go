package meter

import (
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
func (d Dimension) of(s *Source) Source {
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
	Lost     uint64           `json:"lost,omitempty"` // attempts that the target did not answer, made again elsewhere; not among Requests
	InFlight int64            `json:"inFlight"`       // at the end of the second, or now
	Held     int64            `json:"held"`           // of those
}

// Seconds gives, oldest first, the seconds from since to now in which a request of the environment ended; at most
// the last 600. The current second is not complete.
func (m *Meters) Seconds(env api.EnvRef, since time.Time) []Second {
	var all []Second
	for k, t := range m.collect(ByEnv, Selection{Env: env}, since, false).all() {
		requests, bad, _, _ := t.outcomes()
		if requests == 0 {
			continue // some were in flight, and none ended
		}
		all = append(all, Second{Time: time.Unix(k.second, 0), Requests: requests, Failed: bad, Longest: t.longest()})
	}
	return all
}

// Series gives, oldest first, the seconds from since to now in which the selected requests ended or were in flight,
// apart by a dimension; at most the last 600. The current second is not complete. A point takes more than a kilobyte:
// select what is needed.
func (m *Meters) Series(by Dimension, sel Selection, since time.Time) []Point {
	return m.collect(by, sel, since, false).points()
}

// Sums gives the same with all seconds of a member added up to one point, whose Time is the first second. What is in
// flight is what is so now. It takes no more memory for a long time than for a short one.
func (m *Meters) Sums(by Dimension, sel Selection, since time.Time) []Point {
	return m.collect(by, sel, since, true).points()
}

func (c *collection) points() []Point {
	var all []Point
	for k, t := range c.all() {
		p := Point{
			Time: time.Unix(k.second, 0), Source: *k.source, Latency: *t.latency(), Longest: t.longest(),
			In: t[inAt], Out: t[outAt], Retries: t[retriesAt], Lost: t[lostAt], InFlight: int64(t[inFlightAt]), Held: int64(t[heldAt]),
		}
		p.Requests, p.Failed, p.Status, p.Failures = t.outcomes()
		all = append(all, p)
	}
	return all
}

// collect adds up what the selected leaves, and those that have gone, have in their histories; each second for itself,
// or the whole.
func (m *Meters) collect(by Dimension, sel Selection, since time.Time, whole bool) *collection {
	m.mu.RLock()
	defer m.mu.RUnlock()
	now := time.Now().Unix()
	c := &collection{by: by, since: now - kept + 1, now: now, whole: whole, members: map[Source]*member{}}
	if !since.IsZero() {
		c.since = max(c.since, since.Unix())
	}
	if c.since > now {
		return c
	}
	for env, a := range m.envs {
		if sel.Env == env || sel.Env == (api.EnvRef{}) {
			c.account(a, &sel)
		}
	}
	return c
}
