package meter

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSumsAreTheSeriesAddedUp compares both over times long and short, with requests in flight that come and go.
func TestSumsAreTheSeriesAddedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		go func() { _ = m.Run(t.Context()) }()
		leaves := fill(m, 3, 4)
		leaves[0].Begin(0)
		leaves[1].Begin(0)
		leaves[1].Hold(0)
		time.Sleep(3 * time.Second)
		leaves[1].Unhold(0)
		leaves[1].End(0)
		leaves[2].Begin(1)
		for _, back := range []time.Duration{time.Second, 5 * time.Second, time.Minute, time.Hour} {
			since := time.Now().Add(-back)
			want := map[Source]*Point{}
			for _, p := range m.Series(ByTask, Selection{}, since) {
				sum := want[p.Source]
				if sum == nil {
					sum = &Point{}
					want[p.Source] = sum
				}
				sum.Requests += p.Requests
				sum.Failed += p.Failed
				sum.Latency.Merge(&p.Latency)
				sum.Longest = max(sum.Longest, p.Longest)
				sum.In += p.In
				sum.Out += p.Out
			}
			got := m.Sums(ByTask, Selection{}, since)
			if len(got) != len(want) {
				t.Errorf("%s: %d sums of %d members", back, len(got), len(want))
			}
			for _, p := range got {
				w := want[p.Source]
				if w == nil || p.Requests != w.Requests || p.Failed != w.Failed || p.Latency != w.Latency || p.Longest != w.Longest || p.In != w.In || p.Out != w.Out {
					t.Errorf("%s, %s: %d requests, expected %d", back, p.Source.Task, p.Requests, w.Requests)
				}
				inFlight := map[string]int64{"web-0": 1, "web-1": 0, "web-2": 1}[p.Source.Task]
				if p.InFlight != inFlight || p.Held != 0 {
					t.Errorf("%s, %s: %d in flight, %d held, expected %d", back, p.Source.Task, p.InFlight, p.Held, inFlight)
				}
			}
		}
	})
}
