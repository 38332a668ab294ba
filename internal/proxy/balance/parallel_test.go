package balance

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestInParallel has requests, tables and questions about states all at once, in a pool some of whose members are bad.
// It ends with nothing in flight and nothing lost.
func TestInParallel(t *testing.T) {
	const workers, rounds = 4, 5000
	var clock atomic.Int64
	clock.Store(int64(time.Hour))
	tick := func() time.Duration { return time.Duration(clock.Add(int64(100 * time.Microsecond))) }

	type table struct {
		group   *Group
		members []*Member
	}
	var current atomic.Pointer[table]
	all := make([]*Member, 6)
	for i := range all {
		all[i] = NewMember(uint64(i%2), tick())
	}
	current.Store(&table{NewGroup(all, nil, nil, tick()), all})

	var work, rest sync.WaitGroup
	var ejected atomic.Int64
	for worker := range workers {
		work.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 0))
			for range rounds {
				tab := current.Load()
				var tried []*Member
				for len(tried) < 3 && tab.group.Others(tried) {
					i := tab.group.Pick(tried, tick())
					if i < 0 {
						t.Error("none, though there are others")
						return
					}
					m := tab.members[i]
					m.InFlight.Add(1)
					now := tick()
					switch bad := m == all[0]; {
					case bad && random.IntN(2) == 0:
						m.Failed(now)
						tried = append(tried, m)
						m.InFlight.Add(-1)
						continue
					case m == all[1]:
						m.Answered(500, time.Millisecond, now)
					default:
						m.Answered(200, time.Duration(random.Int64N(int64(time.Second))), now)
					}
					m.InFlight.Add(-1)
					break
				}
			}
		})
	}
	done := make(chan struct{})
	rest.Go(func() { // tables
		random := rand.New(rand.NewPCG(99, 0))
		for {
			select {
			case <-done:
				return
			default:
			}
			before := current.Load()
			members := all[:2+random.IntN(len(all)-1)]
			weights := map[uint64]int{0: random.IntN(3), 1: random.IntN(3)}
			now := tick()
			g := NewGroup(members, weights, before.group, now)
			if out := count(g, now); out > len(g.may)/2 {
				t.Errorf("%d of %d are ejected under a new table", out, len(g.may))
			}
			current.Store(&table{g, members})
			g.Judge(tick())
		}
	})
	rest.Go(func() { // states
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, m := range all {
				if s := m.State(tick()); s.Phase == Ejected {
					ejected.Add(1)
					if s.Why == "" || s.Until <= s.Since || s.Times == 0 {
						t.Errorf("%+v", s)
					}
				}
			}
		}
	})
	work.Wait()
	close(done)
	rest.Wait()
	for i, m := range all {
		if n := m.InFlight.Load(); n != 0 {
			t.Errorf("%d in flight at member %d", n, i)
		}
	}
	t.Logf("ejected at %d looks", ejected.Load())
}

func count(g *Group, now time.Duration) (out int) {
	for _, m := range g.may {
		if m.Ejected(now) {
			out++
		}
	}
	return out
}

// TestNothingIsLost counts what is collected while answers come in from all sides.
func TestNothingIsLost(t *testing.T) {
	m := NewMember(1, 0)
	var answering sync.WaitGroup
	for range 4 {
		answering.Go(func() {
			for i := range 10_000 {
				m.seen.answer(200+300*(i%2), time.Duration(i)*time.Microsecond)
			}
		})
	}
	for range 1000 {
		m.record.collect(&m.seen)
	}
	answering.Wait()
	m.record.collect(&m.seen)
	if got := m.record.latest; got != (tally{40_000, 20_000}) {
		t.Errorf("%+v", got)
	}
}
