package balance

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	failuresInRow = 3
	firstEjection = 5 * time.Second
	maxEjection   = time.Minute
)

// ejection is a time in which a member gets no requests; immutable.
type ejection struct {
	from, until time.Duration
	why         string
	times       int
}

// spare lets go who was ejected under a larger group and is one too many in this one, the soonest due first.
func (p *pool) spare(now time.Duration) {
	var out []*Member
	for _, m := range p.group.may {
		if m.Ejected(now) {
			out = append(out, m)
		}
	}
	over := len(out) - len(p.group.may)/2
	if over <= 0 {
		return
	}
	slices.SortStableFunc(out, func(a, b *Member) int {
		return cmp.Compare(a.ejection.Load().until, b.ejection.Load().until)
	})
	for _, m := range out[:over] {
		m.ramp.Store(int64(now))
		m.ejection.Store(nil)
	}
}

// eject takes a member out, if there may be one more.
func (p *pool) eject(m *Member, now time.Duration, why string) {
	out := 0
	for _, o := range p.group.may {
		if o.Ejected(now) {
			out++
		}
	}
	if m.Ejected(now) || out >= len(p.group.may)/2 {
		return
	}
	r := &m.record
	if now >= r.clean {
		r.times = 0
	}
	r.times++
	length := maxEjection
	if r.times < 16 {
		length = min(length, firstEjection<<(r.times-1))
	}
	e := &ejection{from: now, until: now + length, why: why, times: r.times}

	// It is forgiven when it has been fine for as long as it was out, at least as long as it takes to find out that it
	// is not fine.
	r.clean = e.until + slowStart + waitWindow + length
	r.forget()
	m.failures.Store(failuresInRow - 1) // so that the first one ends its next try, unless it answered before
	m.ramp.Store(int64(e.until))
	m.ejection.Store(e)
	p.due.Store(min(p.due.Load(), int64(e.until)))
	p.group.enroll(now)
}

// failing ejects a member whose last requests failed, if at least half of the others answer.
func (p *pool) failing(m *Member, failures int, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.group.may, m) {
		return
	}
	fine := 0
	for _, o := range p.group.may {
		if o == m || o.failures.Load() > 0 || o.Ejected(now) {
			continue
		}
		if o.record.collect(&o.seen); o.record.answered {
			fine++
		}
	}
	if 2*fine < len(p.group.may)-1 {
		return
	}
	why := fmt.Sprintf("its last %d requests failed", failures)
	r := &m.record
	r.collect(&m.seen)
	if seen := r.latest.bad + r.rate[0].bad + r.rate[1].bad; seen < failuresInRow && now < r.clean {
		why = "it failed again after an ejection"
	}
	p.eject(m, now, why)
}
