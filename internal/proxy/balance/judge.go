package balance

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	judgeEvery = 100 * time.Millisecond
	waitsEvery = time.Second // how often it looks at waits, which change slowly and take more work

	badInRow   = 5
	minAnswers = 20 // of a member, for rules about windows
	minOther   = 5  // of one that it is held against
)

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
	if now >= p.waitsDue {
		p.waitsDue = now + waitsEvery
		p.judgeWaits(now)
	}
	if p.changed(g.roster.Load()) {
		g.enroll(now)
	}
}

// changed tells whether a roster is out of date: somebody is back, or has its full weight.
func (p *pool) changed(r *roster) bool {
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
	var all tally
	for _, m := range p.group.may {
		all = all.plus(m.record.latest)
	}
	for _, m := range p.group.may {
		r := &m.record
		if r.latest.all > r.latest.bad {
			r.run = run{}
			continue
		}
		if r.run.bad += r.latest.bad; r.run.bad > 0 {
			r.run.others = r.run.others.plus(all.minus(r.latest))
		}
	}
}

// judgeRuns holds those who answer badly all the time against what all others answered in that time. In a pool where
// all fail now and then, thousands of times a second, one has a long run some time while the others happen to be fine;
// so, where there are enough answers to know, the others must have been fine for longer than that.
func (p *pool) judgeRuns(now time.Duration) {
	for _, m := range p.group.may {
		own, others := tally{m.record.run.bad, m.record.run.bad}, m.record.run.others
		if own.bad < badInRow || !clearlyWorse(own, others) {
			continue
		}
		if o, ok := middle(p.rates(bothHalves), m); !ok || o.mostlyGood() {
			p.eject(m, now, fmt.Sprintf("its last %d answers were 5xx or failed, and of the others' %d only %d",
				own.bad, others.all, others.bad))
		}
	}
}

// judgeRates holds those who answer badly half of the time against the middle one of the others. So it finds several
// bad ones too, which may have the better part of all answers, since bad ones are often quick.
func (p *pool) judgeRates(now time.Duration) {
	var ordered [windowHalves][]ranked[tally]
	for _, m := range p.group.may {
		own := m.record.rate[0].plus(m.record.rate[1])
		if own.all < minAnswers || !own.mostlyBad() {
			continue
		}
		halves := halvesOf(m.record.rate[1].all > 0)
		if ordered[halves] == nil {
			ordered[halves] = p.rates(halves)
		}
		if o, ok := middle(ordered[halves], m); ok && clearlyWorse(own, o) {
			p.eject(m, now, fmt.Sprintf("%d of its last %d answers were 5xx or failed, of another's %d only %d",
				own.bad, own.all, o.all, o.bad))
		}
	}
}

// judgeWaits holds the slow ones against the middle one of the others.
func (p *pool) judgeWaits(now time.Duration) {
	var ordered [windowHalves][]ranked[spread]
	ordered[bothHalves] = p.spreads(bothHalves)
	for _, r := range ordered[bothHalves] {
		m, own := r.member, r.what
		halves := halvesOf(m.record.waits[1] != histogram{})
		if ordered[halves] == nil {
			ordered[halves] = p.spreads(halves)
		}
		if o, ok := middle(ordered[halves], m); ok && clearlySlower(own, o) {
			p.eject(m, now, fmt.Sprintf("its answers take %v, another's %v", round(own.quartile[1]), round(o.quartile[1])))
		}
	}
}

// How much of their windows members are compared by. What the others did before a member was there tells nothing
// about it: all may have been better then.
const (
	newerHalf = iota
	bothHalves
	windowHalves
)

func halvesOf(older bool) int {
	if older {
		return bothHalves
	}
	return newerHalf
}

// ranked is a member with what it is compared by.
type ranked[T any] struct {
	member *Member
	what   T
}

// middle gives the middle one of the others in a list that begins with the best; of two, the worse.
func middle[T any](ordered []ranked[T], but *Member) (T, bool) {
	others := slices.DeleteFunc(slices.Clone(ordered), func(r ranked[T]) bool { return r.member == but })
	if len(others) == 0 {
		var none T
		return none, false
	}
	return others[len(others)/2].what, true
}

// rates gives the members that have enough answers, the one with the smallest part of bad ones first.
func (p *pool) rates(halves int) []ranked[tally] {
	all := []ranked[tally]{}
	for _, m := range p.group.may {
		t := m.record.rate[0]
		if halves == bothHalves {
			t = t.plus(m.record.rate[1])
		}
		if t.all >= minOther {
			all = append(all, ranked[tally]{m, t})
		}
	}
	slices.SortFunc(all, func(a, b ranked[tally]) int { return cmp.Compare(a.what.bad*b.what.all, b.what.bad*a.what.all) })
	return all
}

// spreads gives the members that have enough answers, the fastest first.
func (p *pool) spreads(halves int) []ranked[spread] {
	all := []ranked[spread]{}
	for _, m := range p.group.may {
		h := m.record.waits[0]
		if halves == bothHalves {
			h.add(&m.record.waits[1])
		}
		if s := h.spread(); s.answers >= minAnswers {
			all = append(all, ranked[spread]{m, s})
		}
	}
	slices.SortFunc(all, func(a, b ranked[spread]) int { return cmp.Compare(a.what.quartile[1], b.what.quartile[1]) })
	return all
}
