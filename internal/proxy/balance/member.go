package balance

import (
	"sync/atomic"
	"time"
)

const (
	slowStart = 5 * time.Second

	// Weights of a member are in thousandths.
	fullWeight  = 1000
	firstWeight = 100
)

// Member is one target of a pool: what is in flight there and what was seen of it. It lives on across tables, in one
// pool; a target that has left and comes back is a new one.
type Member struct {
	// InFlight is how many requests and connections the member has now. The caller counts them.
	InFlight atomic.Int64

	release  uint64
	pool     atomic.Pointer[pool]     // nil before its first group
	ejection atomic.Pointer[ejection] // the last one, whether it is over or not; nil: none
	ramp     atomic.Int64             // when the last slow start began or begins; long ago when there was none
	failures atomic.Int32             // requests that failed since the last answer
	seen     sightings
	record   record // guarded by the pool's lock
}

// NewMember gives a member that has seen nothing yet. Release is what [NewGroup] finds its weight by.
func NewMember(release uint64, now time.Duration) *Member {
	m := &Member{release: release}
	m.ramp.Store(int64(now - slowStart))
	return m
}

// Answered notes the head of an answer, wait after the request was sent. A status of 500 or more counts against the
// member.
func (m *Member) Answered(status int, wait, now time.Duration) {
	if m.failures.Load() != 0 {
		m.failures.Store(0)
	}
	m.seen.answer(status, wait)
	if p := m.pool.Load(); p != nil && int64(now) >= p.due.Load() {
		p.judgeIfDue(now)
	}
}

// Failed notes a request that got no answer through the member's fault: refused, reset, timed out or broken off. Who
// gave up waiting is no failure.
func (m *Member) Failed(now time.Duration) {
	m.seen.failure()
	n := m.failures.Add(1)
	p := m.pool.Load()
	if p == nil {
		return
	}
	if n >= failuresInRow {
		p.failing(m, int(n), now)
	}
	if int64(now) >= p.due.Load() {
		p.judgeIfDue(now)
	}
}

// Ejected tells whether the member is to get no requests now. [Group.Pick] sees to it; it is for callers that choose
// by other means, as by a cookie.
func (m *Member) Ejected(now time.Duration) bool {
	e := m.ejection.Load()
	return e != nil && now < e.until
}

// weight gives the part of a full member's requests that it is to have, in thousandths.
func (m *Member) weight(now time.Duration) int64 {
	age := int64(now) - m.ramp.Load()
	switch {
	case age >= int64(slowStart):
		return fullWeight
	case age <= 0:
		return firstWeight
	}
	return firstWeight + (fullWeight-firstWeight)*age/int64(slowStart)
}

// Phase is what a member is allowed.
type Phase uint8

// Phases of a member.
const (
	Serving  Phase = iota // it has its full share
	Starting              // a share that grows
	Ejected               // nothing
)

func (p Phase) String() string {
	switch p {
	case Starting:
		return "starting"
	case Ejected:
		return "ejected"
	}
	return "serving"
}

// State is what a member is allowed, and why, for status and logs.
type State struct {
	Phase  Phase
	Since  time.Duration // when the phase began
	Until  time.Duration // when the phase ends; zero for Serving
	Weight float64       // part of a full share: 1 for Serving, 0 for Ejected
	Why    string        // of an ejection: a sentence with the numbers, without a full stop
	Times  int           // of an ejection: how many in a row this one makes; one that was forgiven is not counted
}

// State tells what the member is allowed at a time.
func (m *Member) State(now time.Duration) State {
	if e := m.ejection.Load(); e != nil && now < e.until {
		return State{Phase: Ejected, Since: e.from, Until: e.until, Why: e.why, Times: e.times}
	}
	began := time.Duration(m.ramp.Load())
	if w := m.weight(now); w < fullWeight {
		return State{Phase: Starting, Since: began, Until: began + slowStart, Weight: float64(w) / fullWeight}
	}
	return State{Phase: Serving, Since: began + slowStart, Weight: 1}
}
