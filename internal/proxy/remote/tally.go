package remote

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// tally adds up what processes have counted. Its rows are by source, without pools, which no user knows.
type tally struct {
	from, until time.Time
	rows        map[meter.Source]row
}

// row is the seconds of one source, by Unix time.
type row map[int64]*meter.Point

func newTally(from, until time.Time) *tally {
	return &tally{from: from, until: until, rows: map[meter.Source]row{}}
}

func (t *tally) add(p *meter.Point) {
	key := p.Source
	key.Pool = ""
	if t.rows[key] == nil {
		t.rows[key] = row{}
	}
	t.rows[key].add(p)
}

func (r row) add(p *meter.Point) {
	second := p.Time.Unix()
	if r[second] == nil {
		r[second] = &meter.Point{Time: p.Time}
	}
	merge(r[second], p)
}

// sum gives all seconds as one. Of what was in flight in each, only that of the last counts, unless that is past.
func (r row) sum(until time.Time) meter.Point {
	var sum meter.Point
	var last int64
	for second, p := range r {
		merge(&sum, p)
		last = max(last, second)
	}
	sum.InFlight, sum.Held = 0, 0
	if last >= until.Unix() {
		sum.InFlight, sum.Held = r[last].InFlight, r[last].Held
	}
	return sum
}

// traffic gives the sums as the API tells them.
func (t *tally) traffic(env api.EnvRef, q api.TrafficQuery) api.Traffic {
	out := api.Traffic{EnvRef: env, From: t.from.UTC(), Until: t.until.UTC(), By: q.By, Rows: []api.TrafficRow{}}
	total := row{}
	for _, source := range slices.SortedFunc(maps.Keys(t.rows), compareRows) {
		r := t.rows[source]
		for _, p := range r {
			total.add(p)
		}
		if told := t.row(source, r, q.Points); told.Requests > 0 || told.InFlight > 0 || told.Lost > 0 { // else it only had some pass through
			out.Rows = append(out.Rows, told)
		}
	}
	out.Total = t.row(meter.Source{}, total, q.Points)
	return out
}

func compareRows(a, b meter.Source) int {
	return cmp.Or(strings.Compare(a.Service, b.Service), cmp.Compare(a.Release, b.Release), strings.Compare(a.Task, b.Task),
		strings.Compare(a.Route, b.Route))
}

func (t *tally) row(source meter.Source, r row, seconds bool) api.TrafficRow {
	sum := r.sum(t.until)
	out := api.TrafficRow{Service: source.Service, Release: source.Release, Task: source.Task, Route: source.Route, TrafficCounts: Counts(&sum)}
	out.Rate = float64(sum.Requests) / max(t.until.Sub(t.from).Seconds(), 1)
	if !seconds {
		return out
	}
	for _, second := range slices.Sorted(maps.Keys(r)) {
		out.Points = append(out.Points, api.TrafficPoint{Time: r[second].Time.UTC(), TrafficCounts: Counts(r[second])})
	}
	return out
}

// Counts gives a point as the API tells it.
func Counts(p *meter.Point) api.TrafficCounts {
	c := api.TrafficCounts{
		Requests: p.Requests, Failed: p.Failed, Aborted: p.Failures[meter.Aborted], Retries: p.Retries, Lost: p.Lost,
		In: p.In, Out: p.Out, InFlight: p.InFlight, Held: p.Held, Status: map[string]uint64{}, Failures: map[string]uint64{},
		Waits: api.Waits{P50: quantile(p, 0.5), P90: quantile(p, 0.9), P99: quantile(p, 0.99), Max: rounded(p.Longest)},
	}
	for class, n := range p.Status {
		switch {
		case n == 0:
		case class == 0:
			c.Status["none"] = n
		default:
			c.Status[fmt.Sprintf("%dxx", class)] = n
		}
	}
	for kind, n := range p.Failures {
		if k := meter.Failure(kind); n > 0 && k.Failed() {
			c.Failures[k.String()] = n
		}
	}
	return c
}

// quantile never gives more than the longest wait, which is known exactly.
func quantile(p *meter.Point, q float64) api.Duration {
	return rounded(min(p.Latency.Quantile(q), p.Longest))
}

// rounded cuts digits that mean nothing.
func rounded(d time.Duration) api.Duration { return api.Duration(d.Round(time.Microsecond)) }
