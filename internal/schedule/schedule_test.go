package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func at(t *testing.T, zone, text string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05"} {
		if v, err := time.ParseInLocation(layout, text, loc); err == nil {
			return v
		}
	}
	t.Fatalf("time %q", text)
	return time.Time{}
}

// TestNext goes through schedules on ordinary days and on those on which the clocks are set.
func TestNext(t *testing.T) {
	const berlin, newYork = "Europe/Berlin", "America/New_York"
	for _, c := range []struct {
		name, zone, expression, from string
		want                         []string // in UTC
	}{
		{"five minutes", "", "*/5 * * * *", "2026-03-01T11:58:00Z", []string{"12:00:00", "12:05:00", "12:10:00"}},
		{"seconds", "", "*/20 * * * * *", "2026-03-01T11:59:30Z", []string{"11:59:40", "12:00:00", "12:00:20"}},
		{"every", "", "@every 90s", "2026-03-01T12:00:00Z", []string{"12:01:30", "12:03:00"}},
		{"weekday and day", "", "0 9 13 * 5", "2026-03-01T00:00:00Z", []string{"2026-03-06T09:00:00Z", "2026-03-13T09:00:00Z", "2026-03-20T09:00:00Z"}},
		{"zone", "Asia/Kolkata", "30 9 * * *", "2026-03-01T00:00:00Z", []string{"2026-03-01T04:00:00Z", "2026-03-02T04:00:00Z"}},
		{"end of month", "", "0 0 31 * *", "2026-03-31T00:00:00Z", []string{"2026-05-31T00:00:00Z", "2026-07-31T00:00:00Z"}},
		{"leap day", "", "0 0 29 2 *", "2026-03-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},

		// Berlin goes from 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
		{"in the hour that is left out", berlin, "30 2 * * *", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"twice in the hour that is left out", berlin, "10,50 2 * * *", "2026-03-28T02:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:10:00Z", "2026-03-30T00:50:00Z"}},
		{"around the hour that is left out", berlin, "0 1,3 * * *", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T23:00:00Z"}},
		{"every hour, one is left out", berlin, "15 * * * *", "2026-03-29T00:00:00Z", []string{"00:15:00", "01:15:00", "02:15:00"}},

		// And back from 03:00 to 02:00 on 25 October 2026, at 01:00 UTC.
		{"in the hour that comes twice", berlin, "30 2 * * *", "2026-10-24T00:00:00Z",
			[]string{"2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"after the first of the two", berlin, "30 2 * * *", "2026-10-25T00:45:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"within the second of the two", berlin, "45 2 * * *", "2026-10-25T01:20:00Z", []string{"2026-10-26T01:45:00Z"}},
		{"after both", berlin, "0 3 * * *", "2026-10-25T00:10:00Z", []string{"2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"}},
		{"every hour, one comes twice", berlin, "15 * * * *", "2026-10-25T00:00:00Z", []string{"00:15:00", "01:15:00", "02:15:00"}},
		{"every half hour", berlin, "*/30 * * * *", "2026-10-25T00:10:00Z", []string{"00:30:00", "01:00:00", "01:30:00", "02:00:00"}},

		{"west, left out", newYork, "30 2 * * *", "2026-03-07T12:00:00Z", []string{"2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"}},
		{"west, twice", newYork, "30 1 * * *", "2026-10-31T12:00:00Z", []string{"2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"}},
		{"half an hour only", "Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		{"a day that a zone left out", "Pacific/Apia", "0 12 * * *", "2011-12-29T12:00:00Z",
			[]string{"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse("cron.a", c.expression, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			now := at(t, "UTC", c.from)
			for _, want := range c.want {
				if !strings.Contains(want, "T") {
					want = c.from[:11] + want + "Z"
				}
				next := s.Next(now)
				if got := next.Format(time.RFC3339); got != want {
					t.Fatalf("after %s comes %s, want %s", now.UTC().Format(time.RFC3339), got, want)
				}
				now = next
			}
		})
	}
}

// TestNextGoesOn holds for some schedules over two years that time only goes forward, and that a daily schedule is due
// once on every day, whatever the clocks do.
func TestNextGoesOn(t *testing.T) {
	for _, zone := range []string{"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"} {
		for _, expression := range []string{"0 0 * * *", "30 2 * * *", "15 1 * * *", "59 23 * * *"} {
			s, err := Parse("a", expression, zone)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Date(2026, 1, 1, 23, 59, 30, 0, s.zone)
			for day := range 730 {
				next := s.Next(now)
				want := time.Date(2026, 1, 2+day, 12, 0, 0, 0, s.zone).Format(time.DateOnly)
				if got := next.In(s.zone).Format(time.DateOnly); got != want || !next.After(now) {
					t.Fatalf("%q in %q: after %s comes %s, want one on %s", expression, zone, now, next.In(s.zone), want)
				}
				now = next
			}
		}
	}
}

func TestDue(t *testing.T) {
	for _, c := range []struct {
		expression, since, now, last string
		before                       int
	}{
		{"*/5 * * * *", "2026-03-01T12:00:00Z", "2026-03-01T12:04:59Z", "", 0},
		{"*/5 * * * *", "2026-03-01T12:00:00Z", "2026-03-01T12:05:00Z", "2026-03-01T12:05:00Z", 0},
		{"*/5 * * * *", "2026-03-01T12:00:00Z", "2026-03-01T12:17:00Z", "2026-03-01T12:15:00Z", 2},
		{"* * * * * *", "2025-03-01T12:00:00Z", "2026-03-01T12:17:03Z", "2026-03-01T12:17:03Z", most},
		{"0 4 * * *", "1990-03-01T12:00:00Z", "2026-03-01T12:17:03Z", "2026-03-01T04:00:00Z", most},
		{"0 0 1 1 *", "2020-03-01T12:00:00Z", "2026-03-01T12:17:03Z", "2026-01-01T00:00:00Z", 5},
		{"@every 7s", "2026-03-01T12:00:03Z", "2026-03-01T12:00:09Z", "", 0},
		{"@every 7s", "2026-03-01T12:00:03Z", "2026-03-01T12:00:10Z", "2026-03-01T12:00:10Z", 0},
		{"@every 7s", "2026-03-01T12:00:03Z", "2026-03-01T12:00:37Z", "2026-03-01T12:00:31Z", 3},
		{"@every 7s", "2026-03-01T12:00:03Z", "2026-03-02T12:00:03Z", "2026-03-02T11:59:57Z", most},
	} {
		t.Run(fmt.Sprint(c.expression, c.now), func(t *testing.T) {
			s, err := Parse("a", c.expression, "")
			if err != nil {
				t.Fatal(err)
			}
			last, before := s.Due(at(t, "UTC", c.since), at(t, "UTC", c.now))
			want := time.Time{}
			if c.last != "" {
				want = at(t, "UTC", c.last)
			}
			if !last.Equal(want) || before != c.before {
				t.Errorf("due at %s and %d times before, want %s and %d", last, before, want, c.before)
			}
		})
	}
}

// TestAfter: the moments of @every go by the run before, whenever it is asked for them.
func TestAfter(t *testing.T) {
	for _, c := range []struct{ expression, since, now, want string }{
		{"@every 24h", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z"},
		{"@every 24h", "2026-03-01T12:00:00Z", "2026-03-02T11:59:59Z", "2026-03-02T12:00:00Z"},
		{"@every 24h", "2026-03-01T12:00:00Z", "2026-03-02T12:00:00Z", "2026-03-03T12:00:00Z"},
		{"@every 90s", "2026-03-01T12:00:00Z", "2026-03-01T12:10:00Z", "2026-03-01T12:10:30Z"},
		{"@every 90s", "2026-03-01T12:00:30Z", "2026-03-01T12:00:00Z", "2026-03-01T12:02:00Z"},
		{"@every 90s", "", "2026-03-01T12:00:00Z", "2026-03-01T12:01:30Z"},
		{"0 * * * *", "2026-03-01T12:00:00Z", "2026-03-01T15:30:00Z", "2026-03-01T16:00:00Z"},
		{"0 * * * *", "2026-03-01T12:00:00Z", "2026-03-01T11:59:59Z", "2026-03-01T13:00:00Z"},
		{"0 * * * *", "", "2026-03-01T11:59:59Z", "2026-03-01T12:00:00Z"},
	} {
		s, err := Parse("a", c.expression, "")
		if err != nil {
			t.Fatal(err)
		}
		var since time.Time
		if c.since != "" {
			since = at(t, "UTC", c.since)
		}
		if got := s.After(since, at(t, "UTC", c.now)); !got.Equal(at(t, "UTC", c.want)) {
			t.Errorf("%s, seen to until %q: after %s comes %s, want %s", c.expression, c.since, c.now, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ expression, zone, says string }{
		{"", "", "cron.a.schedule"},
		{"* * * *", "", "five fields"},
		{"61 * * * *", "", `"61 * * * *"`},
		{"*/0 * * * *", "", "five fields"},
		{"0 0 30 2 *", "", "never due"},
		{"@sometimes", "", "@hourly"},
		{"@every soon", "", "@every"},
		{"CRON_TZ=Asia/Tokyo 0 0 * * *", "", "timezone"},
		{"0 0 * * *", "Mars/Olympus", "cron.a.timezone"},
		{"0 0 * * *", "Local", "Europe/Berlin"},
	} {
		if _, err := Parse("cron.a", c.expression, c.zone); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q in %q: %v, want it to say %q", c.expression, c.zone, err, c.says)
		}
	}
}
