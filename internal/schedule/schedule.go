// Package schedule reckons when cron schedules are due: [Parse] reads one, [Schedule.Next] gives its next moment.
//
// The expressions are those of github.com/robfig/cron. The package adds what users of Vixie's cron rely on where clocks
// are set forward and back: a schedule of fixed hours is due once a day on those days too. It reads no clock. Safe for
// concurrent use. Start at [Parse].
package schedule

import (
	"strings"
	"time"
	_ "time/tzdata" // time zones also on a machine that has none

	"github.com/robfig/cron/v3"

	"github.com/ikada/ikada/api"
)

// expected says what an expression looks like.
const expected = `five fields (minute hour day month weekday), six with seconds first, @hourly, @daily, @weekly, @monthly, @yearly, or @every and a duration, such as "*/5 * * * *"`

// anyHour is the bit by which the parser marks a field that began with a star.
const anyHour = 1 << 63

// most bounds how many moments Due counts.
const most = 1000

// Schedule is when something is due, in a time zone.
type Schedule struct {
	every cron.Schedule
	zone  *time.Location
	fixed bool // it names hours: each of its moments is a reading of the wall clock
}

// Parse reads an expression and a time zone of the IANA database, "" for UTC. The error names the field of the two at
// fault, below field.
func Parse(field, expression, zone string) (*Schedule, error) {
	if zone == "Local" { // the machine's own: another node may have another
		return nil, api.FieldError(field+".timezone", zone, "a time zone such as Europe/Berlin")
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, api.FieldError(field+".timezone", zone, "a time zone such as Europe/Berlin")
	}
	if strings.Contains(expression, "TZ=") {
		return nil, api.FieldError(field+".schedule", expression, "no time zone: it stands in timezone")
	}
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	every, err := parser.Parse(expression)
	if err != nil {
		return nil, &api.Error{Kind: api.Invalid, Field: field + ".schedule", Value: expression, Message: err.Error(), Expected: expected}
	}
	s := &Schedule{every: every, zone: loc}
	if spec, ok := every.(*cron.SpecSchedule); ok {
		spec.Location = time.UTC // it is asked about readings of the clock, and about those of UTC where zones do not matter
		s.fixed = spec.Hour&anyHour == 0
	}
	if s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, &api.Error{Kind: api.Invalid, Field: field + ".schedule", Value: expression, Message: "never due", Expected: expected}
	}
	return s, nil
}

// Next gives the first moment after t; zero when there is none within five years.
//
// A schedule that names hours is due by the clock on the wall: what falls into an hour that is left out is due when the
// clocks go forward, and what falls into one that comes twice is due the first time. One of every hour goes by the
// time that passes.
func (s *Schedule) Next(t time.Time) time.Time {
	spec, ok := s.every.(*cron.SpecSchedule)
	if !ok {
		return s.every.Next(t).UTC()
	}
	if !s.fixed {
		local := *spec
		local.Location = s.zone
		return utc(local.Next(t.In(s.zone)))
	}
	wall := reading(t.In(s.zone))
	for range 8 * 3600 { // at most the readings of a day on which the clocks are set back
		if wall = spec.Next(wall); wall.IsZero() {
			return time.Time{}
		}
		if at := s.moment(wall); at.After(t) {
			return at.UTC()
		}
	}
	return time.Time{}
}

// After gives the first moment after now of a schedule that was seen to until since, zero for one that begins now. That
// makes a difference to @every alone, which goes by the run before: however often it is asked, its moments stay.
func (s *Schedule) After(since, now time.Time) time.Time {
	if _, every := s.every.(cron.ConstantDelaySchedule); !every || since.IsZero() {
		if since.After(now) { // the clock was set back a little
			now = since
		}
		return s.Next(now)
	}
	if last, _ := s.Due(since, now); !last.IsZero() {
		since = last
	}
	return s.Next(since)
}

// Due gives the last moment after since that is not after now, and how many there were before it, counted up to a
// bound; zero when there is none.
func (s *Schedule) Due(since, now time.Time) (last time.Time, before int) {
	next := s.Next(since)
	if every, ok := s.every.(cron.ConstantDelaySchedule); ok {
		if next.After(now) {
			return time.Time{}, 0
		}
		n := int64(now.Sub(next) / every.Delay)
		return next.Add(time.Duration(n) * every.Delay), int(min(n, most))
	}
	for ; !next.IsZero() && !next.After(now); before++ {
		if last = next; before == most {
			// Far too many to count: look from ever further back for one that is near.
			for back := time.Second; last.Before(now.Add(-back)); back *= 2 {
				if near := s.Next(now.Add(-back)); !near.IsZero() && !near.After(now) {
					next = near
					break
				}
			}
			for ; !next.IsZero() && !next.After(now); next = s.Next(next) {
				last = next
			}
			return last, before
		}
		next = s.Next(next)
	}
	return last, max(before-1, 0)
}

// utc is t in UTC; the zero time stays zero.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// reading gives what the clock on the wall shows at t, as a time of UTC.
func reading(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// moment gives the first time at which the clock shows wall, or, where it leaves that out, the time at which it does.
func (s *Schedule) moment(wall time.Time) time.Time {
	at := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), s.zone)
	start, end := at.ZoneBounds()
	switch shown := reading(at); {
	case shown.After(wall):
		return start
	case shown.Before(wall):
		return end
	case start.IsZero():
		return at
	}
	// The same reading may have come before the clock was set back.
	_, now := at.Zone()
	_, was := start.Add(-1).Zone()
	if first := at.Add(time.Duration(now-was) * time.Second); first.Before(start) && reading(first).Equal(wall) {
		return first
	}
	return at
}
