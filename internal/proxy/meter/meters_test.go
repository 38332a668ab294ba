package meter

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/ikada/ikada/api"
)

func TestEveryRequestIsCountedOnce(t *testing.T) {
	m := New()
	l := m.Leaf(testSource)
	whole := m.OpenWindow(testEnv)
	const workers, each = 4, 5000
	results := []Result{
		{Status: 200, Wait: time.Millisecond, In: 1, Out: 10},
		{Status: 404, Wait: 2 * time.Millisecond, In: 2, Out: 20, Retries: 1},
		{Status: 502, Failure: Refused, Wait: 3 * time.Millisecond, In: 3, Out: 30, Retries: 2},
		{Status: 200, Failure: Aborted, Wait: 4 * time.Millisecond, In: 4, Out: 40},
		{Failure: Broken, Wait: 5 * time.Millisecond, In: 5, Out: 50},
	}
	var adding, reading sync.WaitGroup
	start := time.Now().Add(-time.Minute)
	for worker := range workers {
		adding.Go(func() {
			for i := range each {
				l.Begin(worker)
				// Two workers share each shard, and each has a clock of its own, which crosses many seconds.
				l.Add(worker/2, &results[i%len(results)], start.Add(time.Duration(i*worker)*time.Millisecond))
				l.End(worker + 1)
			}
		})
	}
	done := make(chan struct{})
	reading.Go(func() {
		var last Counters
		for {
			c := m.Counters(testEnv)
			if c.Requests < last.Requests || c.Failed < last.Failed || c.Failed > c.Requests || c.Longest < last.Longest {
				t.Errorf("%+v, and before %+v", c, last)
			}
			last = c
			w := m.OpenWindow(testEnv)
			m.Seconds(testEnv, start)
			if got := w.Close(); got.Failed > got.Requests || got.Failed+got.Aborted > got.Requests {
				t.Errorf("window %+v", got)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	adding.Wait()
	close(done)
	reading.Wait()

	const n = workers * each / 5
	c := m.Counters(testEnv)
	want := Counters{
		Boot: c.Boot, Requests: 5 * n, Failed: 2 * n, Aborted: n, Status: [6]uint64{n, 0, 2 * n, 0, n, n},
		Longest: 5 * time.Millisecond,
	}
	if c != want {
		t.Errorf("counters %+v\nwant     %+v", c, want)
	}
	if got := whole.Close(); got.Requests != want.Requests || got.Failed != want.Failed || got.Aborted != want.Aborted || got.Longest != want.Longest {
		t.Errorf("window %+v", got)
	}
	if p := m.PoolCounters()[testSource.Pool]; p.Requests != want.Requests || p.Boot == c.Boot {
		t.Errorf("pool %+v", p)
	}
	var sum tally
	for _, moment := range l.history.seconds {
		sum.addEncoded(moment.data)
	}
	if sum != l.env.total {
		t.Error("the seconds do not add up to the sum")
	}
	if sum[inAt] != 15*n || sum[outAt] != 150*n || sum[retriesAt] != 3*n || sum.latency().Count() != 5*n {
		t.Errorf("bytes in %d, out %d, retries %d, waits %d", sum[inAt], sum[outAt], sum[retriesAt], sum.latency().Count())
	}
}

func TestAddDoesNotWaitForReaders(t *testing.T) {
	m := New()
	l := m.Leaf(testSource)
	second := time.Now().Unix() - 10
	l.Add(0, &okResult, time.Unix(second, 0))
	l.mu.Lock()
	l.Add(0, &okResult, time.Unix(second+1, 0)) // would never return
	l.mu.Unlock()
	l.Add(0, &okResult, time.Unix(second+1, 0))
	l.Add(0, &okResult, time.Unix(second, 999e6)) // a clock that is behind goes on with the second that has begun
	got := ""
	for _, s := range m.Seconds(testEnv, time.Unix(second, 0)) {
		got += fmt.Sprintf("%d: %d; ", s.Time.Unix()-second, s.Requests)
	}
	if want := "0: 2; 1: 2; "; got != want {
		t.Errorf("seconds %s, want %s", got, want)
	}
}

// TestRandomLives lets tasks come and go while requests begin and end, and compares everything that can be read with a
// plain count.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { randomLife(t, rand.New(rand.NewPCG(seed, 8))) })
	}
}

func randomLife(t *testing.T, random *rand.Rand) {
	type request struct {
		leaf  *Leaf
		shard int
	}
	m := New()
	envs := []api.EnvRef{testEnv, {App: "shop", Env: "staging"}}
	want, open := map[api.EnvRef]Counters{}, []request{}
	bySecond := map[api.EnvRef]map[int64]uint64{envs[0]: {}, envs[1]: {}}
	byRelease := map[uint64]uint64{}
	named := map[*Leaf]bool{}
	start := time.Now()
	for range 3000 {
		switch random.IntN(12) {
		case 0: // a task comes
			release := random.Uint64N(4) + 1
			l := m.Leaf(Source{
				Env: envs[random.IntN(2)], Service: "web", Pool: "p", Route: fmt.Sprint(random.IntN(2)), Release: release,
				Task: fmt.Sprint(random.IntN(6)),
			})
			named[l] = true
		case 1: // a table that names fewer
			var gone []*Leaf
			for l := range named {
				if random.IntN(3) == 0 {
					delete(named, l)
					gone = append(gone, l)
				}
			}
			m.Leave(gone)
		case 2:
			time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
		case 3:
			m.tick(time.Now().Unix())
		case 4, 5, 6, 7: // a request begins
			for l := range named {
				open = append(open, request{l, random.IntN(8)})
				l.Begin(open[len(open)-1].shard)
				break
			}
		default: // one ends
			if len(open) == 0 {
				break
			}
			i := random.IntN(len(open))
			o := open[i]
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
			r := Result{Status: 100 * (2 + random.IntN(4)), Wait: time.Duration(random.IntN(1e9))}
			env := o.leaf.Source().Env
			c := want[env]
			c.Requests++
			c.Status[r.Status/100]++
			c.Longest = max(c.Longest, r.Wait)
			if r.Failed() {
				c.Failed++
			}
			want[env] = c
			bySecond[env][time.Now().Unix()]++
			byRelease[o.leaf.Source().Release]++
			o.leaf.Add(o.shard, &r, time.Now())
			o.leaf.End(random.IntN(8))
		}
		for _, env := range envs {
			got, want := m.Counters(env), want[env]
			for _, o := range open {
				if o.leaf.Source().Env == env {
					want.InFlight++
				}
			}
			if want.Boot = got.Boot; got != want {
				t.Fatalf("counters of %s are %+v, want %+v", env, got, want)
			}
		}
	}
	if passed := time.Since(start); passed > kept*time.Second {
		t.Fatalf("the story takes %v, longer than a history", passed)
	}
	for _, env := range envs {
		for _, s := range m.Seconds(env, start) {
			if s.Requests != bySecond[env][s.Time.Unix()] {
				t.Errorf("%s had %d requests at %v, want %d", env, s.Requests, s.Time, bySecond[env][s.Time.Unix()])
			}
			delete(bySecond[env], s.Time.Unix())
		}
		if len(bySecond[env]) > 0 {
			t.Errorf("%s: %d seconds are missing", env, len(bySecond[env]))
		}
	}
	got := map[uint64]uint64{}
	for _, p := range m.Series(ByRelease, Selection{}, start) {
		got[p.Source.Release] += p.Requests
		if p.Latency.Count() != p.Requests {
			t.Errorf("%d waits of %d requests", p.Latency.Count(), p.Requests)
		}
	}
	for release, n := range byRelease {
		if got[release] != n {
			t.Errorf("release %d has %d requests, want %d", release, got[release], n)
		}
	}
}

func TestSecondsOfTheRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		l := m.Leaf(testSource)
		start := time.Now()
		for i := range 700 {
			for range i%3 + 1 {
				l.Add(i, &Result{Status: 500, Wait: time.Duration(i)}, time.Now())
			}
			time.Sleep(time.Second)
		}
		all := m.Seconds(testEnv, start)
		if len(all) != kept-1 { // the second that has just begun is empty
			t.Fatalf("%d seconds", len(all))
		}
		for i, s := range all {
			at := i + 101
			if n := uint64(at%3 + 1); s.Requests != n || s.Failed != n || s.Longest != time.Duration(at) ||
				!s.Time.Equal(start.Add(time.Duration(at)*time.Second).Truncate(time.Second)) {
				t.Fatalf("second %d: %+v", at, s)
			}
		}
		if last := m.Seconds(testEnv, time.Now().Add(-10*time.Second)); len(last) != 10 {
			t.Errorf("%d of the last seconds", len(last))
		}
		if none := m.Seconds(testEnv, time.Now().Add(time.Minute)); none != nil {
			t.Errorf("the future has %v", none)
		}
		m.Leave(slices.Collect(maps.Values(m.leaves)))
		if len(m.envs) != 1 || len(m.leaves) != 0 {
			t.Errorf("%d environments, %d leaves; the environment was just in use", len(m.envs), len(m.leaves))
		}
		if again := m.Seconds(testEnv, start); len(again) != len(all) || again[0] != all[0] {
			t.Error("the seconds have gone with the task")
		}
		time.Sleep(2 * kept * time.Second)
		w := m.OpenWindow(testEnv)
		m.tick(time.Now().Unix())
		if len(m.envs) != 1 || len(m.pools) != 0 || len(m.envs[testEnv].gone) != 0 {
			t.Errorf("%d environments, %d pools; want the one with a window", len(m.envs), len(m.pools))
		}
		w.Close()
		time.Sleep(2 * kept * time.Second)
		m.tick(time.Now().Unix())
		if len(m.envs) != 0 {
			t.Error("an environment is left")
		}
		if c := m.Counters(testEnv); c != (Counters{Boot: m.boot}) {
			t.Errorf("a forgotten environment has %+v", c)
		}
	})
}

func TestWindowsCountWhatEndsInThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		l := m.Leaf(testSource)
		add := func(n, status int, wait time.Duration) {
			for i := range n {
				l.Add(i, &Result{Status: status, Wait: wait}, time.Now())
			}
		}
		add(3, 200, time.Minute)
		w, other := m.OpenWindow(testEnv), m.OpenWindow(api.EnvRef{App: "shop", Env: "staging"})
		add(5, 200, time.Second)
		late := m.OpenWindow(testEnv)
		add(2, 500, time.Millisecond)
		add(1, 404, 2*time.Millisecond)
		time.Sleep(1500 * time.Millisecond)
		if got := w.Read(); got.Requests != 8 || !got.Closed.Equal(time.Now()) {
			t.Errorf("an open window reads %+v", got)
		}
		first := w.Close()
		add(4, 503, time.Hour)
		for range 2 {
			if got := w.Close(); !reflect.DeepEqual(got, first) || got.Requests != 8 || got.Failed != 2 || got.Longest != time.Second {
				t.Errorf("window %+v, then %+v", first, got)
			}
		}
		if got := late.Close(); got.Requests != 7 || got.Failed != 6 || got.Longest != time.Hour {
			t.Errorf("late window %+v", got)
		}
		if got := other.Close(); got.Requests != 0 {
			t.Errorf("other environment's window %+v", got)
		}
		if left := m.envs[testEnv].windows; len(left) != 0 {
			t.Errorf("%d windows are left", len(left))
		}
	})
}

// A window tells apart by which release requests were answered, and how many had to wait or were tried again.
func TestWindowsTellReleasesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		of := func(release uint64, task string) *Leaf {
			s := testSource
			s.Release, s.Task = release, task
			return m.Leaf(s)
		}
		none, old, one, two := of(0, ""), of(3, "a"), of(4, "b"), of(4, "c")
		w := m.OpenWindow(testEnv)
		now := time.Now()
		none.Add(0, &Result{Failure: NoTarget, Wait: 10 * time.Second, Held: true}, now)
		old.Add(0, &Result{Status: 200, Wait: time.Second}, now)
		one.Add(0, &Result{Status: 500, Wait: 2 * time.Second, Retries: 2}, now)
		two.Add(1, &Result{Status: 200, Wait: time.Millisecond, Held: true, Retries: 1}, now)
		m.Leave([]*Leaf{old}) // its task has gone
		time.Sleep(2 * time.Second)
		got := w.Close()
		want := []ReleaseCount{
			{0, Count{Requests: 1, Failed: 1, Longest: 10 * time.Second, Held: 1}},
			{3, Count{Requests: 1, Longest: time.Second}},
			{4, Count{Requests: 2, Failed: 1, Longest: 2 * time.Second, Held: 1, Retries: 3}},
		}
		if !slices.Equal(got.Releases, want) {
			t.Errorf("by release: %+v", got.Releases)
		}
		if all := (Count{Requests: 4, Failed: 2, Longest: 10 * time.Second, Held: 2, Retries: 3}); got.Count != all {
			t.Errorf("all: %+v", got.Count)
		}
	})
}

func TestRunNotesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := m.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		l := m.Leaf(testSource)
		start := time.Now().Truncate(time.Second)
		time.Sleep(500 * time.Millisecond)
		for i := range 3 {
			l.Begin(i)
		}
		l.Hold(0)
		time.Sleep(2 * time.Second)
		l.Unhold(1)
		l.End(1)
		l.End(2)
		time.Sleep(time.Second)
		got := ""
		for _, p := range m.Series(ByTask, Selection{Task: testSource.Task}, start) {
			got += fmt.Sprintf("%v: %d, %d held; ", p.Time.Sub(start), p.InFlight, p.Held)
		}
		if want := "0s: 3, 1 held; 1s: 3, 1 held; 2s: 1, 0 held; 3s: 1, 0 held; "; got != want {
			t.Errorf("in flight %s\nwant      %s", got, want)
		}
		if all := m.Seconds(testEnv, start); all != nil {
			t.Errorf("no request has ended, but there are %v", all)
		}

		m.Leave([]*Leaf{l})
		if len(m.leaves) != 1 {
			t.Error("a leaf went that has a request in flight")
		}
		l.Add(0, &okResult, time.Now())
		l.End(0)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(m.leaves) != 0 {
			t.Error("a leaf stays that has nothing in flight")
		}
		cancel()
		running.Wait()
	})
}

func TestAddingToALeafThatHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		l := m.Leaf(testSource)
		l.Add(0, &okResult, time.Now())
		m.Leave([]*Leaf{l})
		for shard := range m.Shards() {
			l.Add(shard, &okResult, time.Now())
		}
		if c := m.Counters(testEnv); c.Requests != uint64(1+m.Shards()) {
			t.Errorf("counters %+v", c)
		}
		points := m.Series(ByTask, Selection{}, time.Time{})
		if len(points) != 1 || points[0].Requests != uint64(1+m.Shards()) || points[0].Source.Task != Gone {
			t.Errorf("points %+v", points)
		}
	})
}

func TestSeriesKeepsDimensionsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New()
		staging := api.EnvRef{App: "shop", Env: "staging"}
		n := 0
		for _, env := range []api.EnvRef{testEnv, staging} {
			for _, service := range []string{"web", "api"} {
				for _, route := range []string{"a/", "b/"} {
					for release := range uint64(2) {
						for _, task := range []string{"", "1", "2"} {
							l := m.Leaf(Source{env, service, service + ":80", route, release + 1, task})
							n++
							for range n {
								l.Add(n, &Result{Status: 503, Failure: Timeout, Wait: time.Second, In: 1, Out: 2, Retries: 3}, time.Now())
							}
						}
					}
				}
			}
		}
		for _, c := range []struct {
			by     Dimension
			sel    Selection
			points int
			want   string // of the first point
		}{
			{ByEnv, Selection{}, 2, "shop/production    0 : 300"},
			{ByEnv, Selection{Env: staging}, 1, "shop/staging    0 : 876"},
			{ByService, Selection{Env: testEnv}, 2, "shop/production api   0 : 222"},
			{ByPool, Selection{Env: testEnv, Service: "web"}, 1, "shop/production web web:80  0 : 78"},
			{ByRoute, Selection{Env: testEnv, Pool: "web:80"}, 2, "shop/production web web:80 a/ 0 : 21"},
			{ByRelease, Selection{Env: testEnv, Service: "web", Route: "b/"}, 2, "shop/production web   1 : 24"},
			{ByTask, Selection{Release: 2, Task: "2"}, 4, "shop/production api   2 2: 42"},
			{ByTask, Selection{Service: "none"}, 0, ""},
		} {
			points := m.Series(c.by, c.sel, time.Time{})
			if len(points) != c.points {
				t.Errorf("%v of %+v has %d points", c.by, c.sel, len(points))
				continue
			}
			for i, p := range points {
				s, k := p.Source, p.Requests
				got := fmt.Sprintf("%s %s %s %s %d %s: %d", s.Env, s.Service, s.Pool, s.Route, s.Release, s.Task, k)
				if i == 0 && got != c.want {
					t.Errorf("%v of %+v begins with %q, want %q", c.by, c.sel, got, c.want)
				}
				if p.Failed != k || p.Status[5] != k || p.Failures[Timeout] != k || p.In != k || p.Out != 2*k || p.Retries != 3*k ||
					p.Latency.Count() != k || p.Longest != time.Second {
					t.Errorf("point %+v", p)
				}
			}
		}
	})
}

func TestMemoryOfALeaf(t *testing.T) {
	size := func(h *history) (n int) {
		for _, m := range h.seconds {
			n += cap(m.data)
		}
		return n + cap(h.seconds)*int(unsafe.Sizeof(moment{}))
	}
	m := New()
	busy := fill(m, 1, 2000)[0]
	m.Counters(testEnv)
	if n := size(&busy.history); n > 100<<10 {
		t.Errorf("a busy leaf takes %d bytes", n)
	} else {
		t.Logf("a busy leaf takes %d bytes", n)
	}
	// Nothing can take more than requests in every bucket at two millions a second, ending in a dozen ways.
	var worst history
	full := &tally{inAt: 1 << 40, outAt: 1 << 40, retriesAt: 1 << 20, longestAt: 1 << 37, inFlightAt: 1 << 14, heldAt: 1 << 14}
	for i := range Buckets {
		full[latencyAt+i] = 1<<14 - 1
	}
	for i := range 12 {
		full[outcomesAt+i] = 1<<21 - 1
	}
	for i := range int64(2 * kept) {
		worst.add(i, i, full)
	}
	if n := size(&worst); n > 220<<10 {
		t.Errorf("a leaf can take %d bytes", n)
	} else {
		t.Logf("a leaf can take %d bytes", n)
	}
	if n := unsafe.Sizeof(shard{}); n != 768 {
		t.Errorf("a shard takes %d bytes: set shardPad", n)
	}
	if n := unsafe.Sizeof(lane{}); n != 128 {
		t.Errorf("a lane takes %d bytes", n)
	}
	quiet := m.Leaf(Source{Task: "quiet"})
	if quiet.shards[0].Load() != nil || quiet.history.seconds != nil {
		t.Error("a leaf without requests takes memory")
	}
}

func TestFailuresHaveNames(t *testing.T) {
	for f := range failures {
		text, err := f.MarshalText()
		var back Failure
		if err != nil || back.UnmarshalText(text) != nil || back != f {
			t.Errorf("%d becomes %q becomes %d", f, text, back)
		}
	}
	var f Failure
	if err := f.UnmarshalText([]byte("bad luck")); err == nil || !strings.Contains(err.Error(), "bad luck") {
		t.Error(err)
	}
	if r := (Result{Failure: 77, Status: 1000}); !r.Failed() || r.class() != 5 {
		t.Error("a failure that nobody declared is none")
	}
	m := New()
	l := m.Leaf(testSource)
	l.Add(-1, &Result{Failure: 77, Status: -5, Wait: -1, In: -1, Out: -1, Retries: -1}, time.Now())
	if c := m.Counters(testEnv); c.Requests != 1 || c.Failed != 1 || c.Longest != 0 {
		t.Errorf("%+v", c)
	}
}
