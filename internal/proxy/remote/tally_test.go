package remote

import (
	"testing"
	"time"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/internal/proxy/meter"
)

// TestTally adds up what two processes have counted in the same seconds.
func TestTally(t *testing.T) {
	now := time.Unix(1_000_000, 250e6)
	tl := newTally(now.Add(-10250*time.Millisecond), now)
	point := func(back int, change func(*meter.Point)) {
		p := &meter.Point{Time: time.Unix(now.Unix()-int64(back), 0), Source: meter.Source{Env: env, Service: "web", Pool: "p", Release: 1}}
		change(p)
		tl.add(p)
	}
	wait := func(d time.Duration) func(*meter.Point) {
		return func(p *meter.Point) {
			p.Requests, p.Status[2], p.Failures[meter.None], p.Longest, p.In, p.Out = 1, 1, 1, d, 10, 100
			p.Latency.Add(d)
		}
	}
	point(3, wait(time.Millisecond))
	point(3, wait(3*time.Millisecond)) // of the other process
	point(2, func(p *meter.Point) { p.InFlight, p.Held = 9, 9 })
	point(0, func(p *meter.Point) { p.InFlight = 2 })
	point(0, func(p *meter.Point) { p.InFlight, p.Held = 3, 1 })
	point(0, func(p *meter.Point) {
		p.Source.Pool = "q" // of the same service
		p.Requests, p.Failed, p.Status[0], p.Failures[meter.Refused], p.Retries = 1, 1, 1, 1, 2
		p.Requests, p.Failures[meter.Aborted] = 2, 1
		p.Status[0] = 2
	})
	tl.add(&meter.Point{Time: now, Source: meter.Source{Env: env, Service: "quiet"}})
	got := tl.traffic(env, api.TrafficQuery{By: api.ByRelease, Points: true})
	if len(got.Rows) != 1 || got.EnvRef != env || got.By != api.ByRelease {
		t.Fatalf("%+v", got.Rows)
	}
	row := got.Rows[0]
	if row.Requests != 4 || row.Failed != 1 || row.Aborted != 1 || row.Retries != 2 || row.In != 20 || row.Out != 200 || row.InFlight != 5 || row.Held != 1 {
		t.Errorf("counts %+v", row.TrafficCounts)
	}
	if row.Service != "web" || row.Release != 1 || row.Rate < 0.390 || row.Rate > 0.391 {
		t.Errorf("row %+v", row)
	}
	if len(row.Status) != 2 || row.Status["2xx"] != 2 || row.Status["none"] != 2 || len(row.Failures) != 1 || row.Failures["refused"] != 1 {
		t.Errorf("status %v, failures %v", row.Status, row.Failures)
	}
	if w := row.Waits; w.Max != api.Duration(3*time.Millisecond) || w.P99 > w.Max || w.P50 < api.Duration(900*time.Microsecond) || w.P50 > api.Duration(1100*time.Microsecond) {
		t.Errorf("waits %+v", w)
	}
	if len(row.Points) != 3 || row.Points[0].Requests != 2 || row.Points[1].InFlight != 9 || row.Points[2].InFlight != 5 || row.Points[2].Requests != 2 {
		t.Errorf("points %+v", row.Points)
	}
	if total := got.Total; total.Requests != 4 || total.InFlight != 5 || len(total.Points) != 3 || total.Service != "" {
		t.Errorf("total %+v", total)
	}
}
