package meter

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
)

// collection is a series that is being made: for each member of the dimension a tally for each second.
type collection struct {
	by         Dimension
	since, now int64 // the seconds of interest
	whole      bool  // they are added up in the first one, with what is in flight now
	members    map[Source]*member
}

// member is the tallies of one member from the collection's first second on; nil where nothing happened. One more
// second than those of interest has room: it may have begun meanwhile.
type member [kept + 1]*tally

// pointKey names a point of a series.
type pointKey struct {
	second int64
	source *Source
}

// account adds what the selected leaves of an environment have.
func (c *collection) account(a *account, sel *Selection) {
	for l := range a.leaves {
		if !sel.matches(&l.source) {
			continue
		}
		h, inFlight, held := l.copyHistory(c.since, c.now)
		c.add(&l.source, &h)
		if inFlight > 0 || held > 0 {
			t := c.member(&l.source).at(c.place(c.now))
			t[inFlightAt] += uint64(inFlight)
			t[heldAt] += uint64(held)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for s, h := range a.gone {
		if sel.matches(&s) {
			c.add(&s, h)
		}
	}
}

func (c *collection) add(s *Source, h *history) {
	if len(h.seconds) == 0 {
		return
	}
	to := c.member(s)
	for _, moment := range h.seconds {
		i := c.place(moment.second)
		if i < 0 || i >= int64(len(to)) {
			continue
		}
		t := to.at(i)
		inFlight, held := t[inFlightAt], t[heldAt]
		t.addEncoded(moment.data)
		if c.whole && moment.second < c.now {
			t[inFlightAt], t[heldAt] = inFlight, held
		}
	}
}

// place gives where a second stands in a member; what is before the first of interest has none.
func (c *collection) place(second int64) int64 {
	if c.whole {
		return min(second-c.since, 0)
	}
	return second - c.since
}

func (c *collection) member(s *Source) *member {
	key := c.by.of(s)
	to := c.members[key]
	if to == nil {
		to = new(member)
		c.members[key] = to
	}
	return to
}

func (m *member) at(i int64) *tally {
	if m[i] == nil {
		m[i] = new(tally)
	}
	return m[i]
}

// all gives the points, by time and then by source.
func (c *collection) all() iter.Seq2[pointKey, *tally] {
	return func(yield func(pointKey, *tally) bool) {
		sources := slices.SortedFunc(maps.Keys(c.members), compareSources)
		for i := range len(member{}) {
			for s := range sources {
				t := c.members[sources[s]][i]
				if t != nil && !yield(pointKey{c.since + int64(i), &sources[s]}, t) {
					return
				}
			}
		}
	}
}

func compareSources(a, b Source) int {
	return cmp.Or(
		strings.Compare(a.Env.App, b.Env.App), strings.Compare(a.Env.Env, b.Env.Env),
		strings.Compare(a.Service, b.Service), strings.Compare(a.Pool, b.Pool), strings.Compare(a.Route, b.Route),
		cmp.Compare(a.Release, b.Release), strings.Compare(a.Task, b.Task),
	)
}
