package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	judgeEvery = 250 * time.Millisecond

	failuresInRow = 3
	badInRow      = 5
	minAnswers    = 20 // for rules about windows

	rateWindow = 5 * time.Second
	waitWindow = 10 * time.Second

	slowTimes  = 5 // as slow as the others
	slowMargin = 50 * time.Millisecond

	firstEjection = 5 * time.Second
	maxEjection   = time.Minute
)

// ejection is a time in which a member gets no requests; immutable.
type ejection struct {
	from, until time.Duration
	why         string
	times       int
}

// pool is what the groups of one pool share, one table after the other. It judges the members of the newest.
type pool struct {
	random func() uint64
	due    atomic.Int64 // when to judge next

	mu         sync.Mutex // guards what follows, and the records of members; whoever holds it may write rosters
	group      *Group
	rateTurned time.Duration // when the newer half of the window began
	waitTurned time.Duration
}

func newPool() *pool { return &pool{random: rand.Uint64} }

// replace puts a group in the place of the one before.
func (p *pool) replace(g *Group, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.group = g
	for i := range g.shares {
		seats := g.shares[i].seats
		serving := slices.ContainsFunc(seats, func(m seat) bool { return m.record.joined })
		for _, m := range seats {
			m.pool.Store(p)
			if m.record.joined {
				continue
			}
			m.record.joined = true
			if serving {
				m.ramp.Store(int64(now))
			}
		}
	}
	p.spare(now)
	g.enroll(now)
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
		return int(a.ejection.Load().until - b.ejection.Load().until)
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
	m.failures.Store(failuresInRow - 1)
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
	if 2*fine >= len(p.group.may)-1 {
		p.eject(m, now, fmt.Sprintf("its last %d requests failed", failures))
	}
}

// judgeIfDue is called by whoever finds that it is time.
func (p *pool) judgeIfDue(now time.Duration) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	if int64(now) >= p.due.Load() {
		p.judge(now)
	}
}

// judge looks at all members of the group at once. Its caller holds the lock.
func (p *pool) judge(now time.Duration) {
	g := p.group
	p.due.Store(int64(now + judgeEvery))
	for _, m := range g.may {
		m.record.collect(&m.seen)
		if e := m.ejection.Load(); e != nil && now < e.until {
			m.record.forget() // answers to what was sent before
			p.due.Store(min(p.due.Load(), int64(e.until)))
		}
	}
	p.followRuns()
	p.turn(now)
	p.judgeRuns(now)
	p.judgeRates(now)
	p.judgeWaits(now)
	if r := g.roster.Load(); p.changed(r, now) {
		g.enroll(now)
	}
}

// changed tells whether a roster is out of date: somebody is back, or has its full weight.
func (p *pool) changed(r *roster, now time.Duration) bool {
	seats := 0
	for i := range r.shares {
		if r.shares[i].starting {
			return true
		}
		seats += len(r.shares[i].seats)
	}
	return seats < len(p.group.may)
}

// turn moves what is new into the windows, and forgets what has left them. When there was no judgement for long, what
// is new counts as old.
func (p *pool) turn(now time.Duration) {
	rate, wait := now-p.rateTurned, now-p.waitTurned
	for _, m := range p.group.may {
		r := &m.record
		r.rate[0] = r.rate[0].plus(r.latest)
		r.latest = tally{}
		if rate >= rateWindow/2 {
			r.rate[1], r.rate[0] = r.rate[0], tally{}
		}
		if rate >= rateWindow {
			r.rate[1] = tally{}
		}
		if wait >= waitWindow/2 {
			r.waits[1], r.waits[0] = r.waits[0], histogram{}
		}
		if wait >= waitWindow {
			r.waits[1] = histogram{}
		}
	}
	if rate >= rateWindow/2 {
		p.rateTurned = now
	}
	if wait >= waitWindow/2 {
		p.waitTurned = now
	}
}

// followRuns lengthens or ends the members' runs of bad answers.
func (p *pool) followRuns() {
	var sound tally // what members without a long run answered
	for _, m := range p.group.may {
		r := &m.record
		if r.latest.all > r.latest.bad {
			r.run = run{}
		} else {
			r.run.bad += r.latest.bad
		}
		if r.run.bad < badInRow {
			sound = sound.plus(r.latest)
		}
	}
	for _, m := range p.group.may {
		r := &m.record
		switch {
		case r.run.bad == 0:
		case r.run.bad < badInRow:
			r.run.others = r.run.others.plus(sound.minus(r.latest))
		default:
			r.run.others = r.run.others.plus(sound)
		}
	}
}

func (p *pool) judgeRuns(now time.Duration) {
	for _, m := range p.group.may {
		own, others := tally{m.record.run.bad, m.record.run.bad}, m.record.run.others
		if own.bad >= badInRow && clearlyWorse(own, others) {
			p.eject(m, now, fmt.Sprintf("its last %d answers were 5xx or failed, and of the others' %d only %d",
				own.bad, others.all, others.bad))
		}
	}
}

func (p *pool) judgeRates(now time.Duration) {
	var sound [2]tally // of members that are not mostly bad themselves
	for _, m := range p.group.may {
		if r := &m.record; !r.rate[0].plus(r.rate[1]).mostlyBad() {
			sound[0], sound[1] = sound[0].plus(r.rate[0]), sound[1].plus(r.rate[1])
		}
	}
	for _, m := range p.group.may {
		r := &m.record
		own, others := r.rate[0].plus(r.rate[1]), sound[0]
		if r.rate[1].all > 0 { // else it was not there: the others' older half tells nothing about it
			others = others.plus(sound[1])
		}
		if own.all >= minAnswers && own.mostlyBad() && clearlyWorse(own, others) {
			p.eject(m, now, fmt.Sprintf("%d of its last %d answers were 5xx or failed, and of the others' %d only %d",
				own.bad, own.all, others.all, others.bad))
		}
	}
}

// clearlyWorse tells whether a member has a far larger part of bad answers than the others: twice as large, and not by
// chance. For the latter it takes four standard errors of the difference of two proportions (Fleiss, "Statistical
// Methods for Rates and Proportions", chapter 3), since each pool is judged four times a second.
func clearlyWorse(own, others tally) bool {
	if own.all == 0 || others.all == 0 {
		return false
	}
	n1, n2 := float64(own.all), float64(others.all)
	p1, p2 := float64(own.bad)/n1, float64(others.bad)/n2
	if p1 == 0 || 2*p2 > p1 {
		return false
	}
	both := float64(own.bad+others.bad) / (n1 + n2)
	return (p1-p2)*(p1-p2) >= 16*both*(1-both)*(1/n1+1/n2)
}

// judgeWaits holds the slow ones against the middle one of the others.
func (p *pool) judgeWaits(now time.Duration) {
	all := p.spreads(nil, 2)
	if len(all) < 2 {
		return
	}
	middle := all[(len(all)-1)/2].quartile[1]
	for _, m := range p.group.may {
		own := m.record.spread(2)
		if own.answers < minAnswers || !slower(own.quartile[1], middle) {
			continue
		}
		halves := 2
		if m.record.waits[1] == (histogram{}) { // it was not there
			halves = 1
		}
		others := p.spreads(m, halves)
		if len(others) == 0 {
			continue
		}
		if o := others[len(others)/2]; clearlySlower(own, o) {
			p.eject(m, now, fmt.Sprintf("its answers take %v, the others' %v", round(own.quartile[1]), round(o.quartile[1])))
		}
	}
}

// spreads gives the spreads of all members but one that have enough answers, by their medians.
func (p *pool) spreads(but *Member, halves int) []spread {
	var all []spread
	for _, m := range p.group.may {
		if m == but {
			continue
		}
		if s := m.record.spread(halves); s.answers >= minAnswers {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b spread) int { return int(a.quartile[1] - b.quartile[1]) })
	return all
}

// spread is that of the newer half of the window, or of both.
func (r *record) spread(halves int) spread {
	h := r.waits[0]
	if halves == 2 {
		for i, n := range r.waits[1] {
			h[i] += n
		}
	}
	return h.spread()
}

func slower(own, other time.Duration) bool { return own > slowTimes*other && own > other+slowMargin }

// clearlySlower tells whether a member is five times as slow as another at each quartile, and its median above the
// other's, not by chance. Medians alone would not do: where every second request is answered from a cache, a median is
// one or the other, as it happens.
func clearlySlower(own, other spread) bool {
	for i := range own.quartile {
		if own.quartile[i] <= slowTimes*other.quartile[i] {
			return false
		}
	}
	return own.quartile[1] > other.quartile[1]+slowMargin && own.low > other.high
}

func round(d time.Duration) time.Duration {
	digits := math.Pow10(max(0, int(math.Log10(float64(max(d, 1))))-1))
	return d.Round(time.Duration(digits))
}
