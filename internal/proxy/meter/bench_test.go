package meter

import (
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

var (
	testEnv    = api.EnvRef{App: "shop", Env: "production"}
	testSource = Source{
		Env: testEnv, Service: "web", Pool: "shop/production/web:80", Route: "shop.example.com/", Release: 7, Task: "web-1",
	}
	okResult = Result{Status: 200, Wait: 800 * time.Microsecond, Total: 900 * time.Microsecond, In: 180, Out: 860}
)

// BenchmarkAdd is what a request costs: it begins, is booked and ends, by a clock that moves as fast as 100,000
// requests a second would move it.
func BenchmarkAdd(b *testing.B) {
	l := New().Leaf(testSource)
	start := time.Now()
	b.ReportAllocs()
	r := okResult
	for i := 0; b.Loop(); i++ {
		r.Wait = time.Duration(i%4000) * time.Microsecond
		l.Begin(0)
		l.Add(0, &r, start.Add(time.Duration(i)*10*time.Microsecond))
		l.End(0)
	}
}

// BenchmarkAddParallel adds from as many workers as there are processors, each with a shard of its own.
func BenchmarkAddParallel(b *testing.B) { benchmarkParallel(b, func(worker int) int { return worker }) }

// BenchmarkAddOneShard is the worst that a caller can do: all workers share a shard.
func BenchmarkAddOneShard(b *testing.B) { benchmarkParallel(b, func(int) int { return 0 }) }

func benchmarkParallel(b *testing.B, shard func(worker int) int) {
	l := New().Leaf(testSource)
	var workers atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		at := shard(int(workers.Add(1)))
		start, r := time.Now(), okResult
		for i := 0; pb.Next(); i++ {
			r.Wait = time.Duration(i%4000) * time.Microsecond
			l.Begin(at)
			l.Add(at, &r, start.Add(time.Duration(i)*10*time.Microsecond))
			l.End(at)
		}
	})
}

// BenchmarkSeconds is one look at the last ten minutes of an environment with ten busy tasks.
func BenchmarkSeconds(b *testing.B) {
	m := New()
	fill(m, 10, 200)
	b.ReportAllocs()
	for b.Loop() {
		if got := m.Seconds(testEnv, time.Time{}); len(got) < kept-1 {
			b.Fatal(len(got))
		}
	}
}

// BenchmarkTick is the work of a second that Run does for 10,000 leaves, a hundred of them in use.
func BenchmarkTick(b *testing.B) {
	m := New()
	leaves := fill(m, 10_000, 0)
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := now.Add(time.Duration(i) * time.Second)
		for _, l := range leaves[:100] {
			l.Add(0, &okResult, at)
		}
		m.tick(at.Unix() + 1)
	}
}

// BenchmarkAccessLog is what a line costs a request.
func BenchmarkAccessLog(b *testing.B) {
	l := New().Leaf(testSource)
	a := &AccessLog{sample: 1, lanes: make([]lane, 1), most: 1 << 20, wake: make(chan struct{}, 1)}
	b.ReportAllocs()
	for b.Loop() {
		e := testEntry(l)
		if a.Wants(&e.Result) {
			a.Add(0, &e)
		}
		if lane := &a.lanes[0]; len(lane.lines) > a.most/2 {
			lines, _ := lane.take(false)
			lane.give(lines)
		}
	}
}

// BenchmarkAccessLogFile is the same with the writer and a file at work; lines that the disk cannot take are dropped.
func BenchmarkAccessLogFile(b *testing.B) {
	a, err := newAccessLog(filepath.Join(b.TempDir(), "access.log"), 1, slog.New(slog.DiscardHandler), 20<<20)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	e := testEntry(New().Leaf(testSource))
	b.ReportAllocs()
	for b.Loop() {
		a.Add(0, &e)
	}
}
