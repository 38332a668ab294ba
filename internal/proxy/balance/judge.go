package balance

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	judgeEvery = 250 * time.Millisecond
	badInRow   = 5
	minAnswers = 20 // for rules about windows
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
	slices.SortFunc(all, func(a, b spread) int { return cmp.Compare(a.quartile[1], b.quartile[1]) })
	return all
}
