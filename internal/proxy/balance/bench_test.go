package balance

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkPick is a choice and the counting around it, by a clock that moves as 100,000 requests a second would have
// it.
func BenchmarkPick(b *testing.B) {
	for _, c := range []struct {
		name              string
		members, starting int
		weights           map[uint64]int
	}{
		{"1 member", 1, 0, nil},
		{"2 members", 2, 0, nil},
		{"10 members", 10, 0, nil},
		{"100 members", 100, 0, nil},
		{"10 members, 2 start", 10, 2, nil},
		{"10 members, 2 releases", 5, 5, map[uint64]int{1: 9, 2: 1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var now time.Duration
			members := make([]*Member, 0, c.members+c.starting)
			for range c.members {
				members = append(members, NewMember(1, now))
			}
			g := NewGroup(members, nil, nil, now)
			for range c.starting {
				release := uint64(1)
				if c.weights != nil {
					release = 2
				}
				members = append(members, NewMember(release, now))
			}
			g = NewGroup(members, c.weights, g, now)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if c.starting == 0 || c.weights != nil { // else the start would be over at once
					now = time.Duration(i) * 10 * time.Microsecond
				}
				m := members[g.Pick(nil, now)]
				m.InFlight.Add(1)
				m.InFlight.Add(-1)
			}
		})
	}
}

func BenchmarkPickParallel(b *testing.B) {
	w := newWorld(1, 10)
	w.group = NewGroup(w.members, nil, nil, w.now)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			now := w.now + time.Duration(i)*10*time.Microsecond
			m := w.members[w.group.Pick(nil, now)]
			m.InFlight.Add(1)
			m.Answered(200, time.Duration(i%4000)*time.Microsecond, now)
			m.InFlight.Add(-1)
		}
	})
}

func BenchmarkPickAnother(b *testing.B) {
	w := newWorld(1, 10)
	b.ReportAllocs()
	for b.Loop() {
		w.group.Pick(w.members[:1], w.now)
	}
}

func BenchmarkAnswered(b *testing.B) {
	for _, status := range []int{200, 500} {
		b.Run(fmt.Sprint(status), func(b *testing.B) {
			w := newWorld(1, 10)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				w.members[i%10].Answered(status, time.Duration(i%4000)*time.Microsecond, w.now+time.Duration(i)*10*time.Microsecond)
			}
		})
	}
}

// BenchmarkJudge is what one call in a quarter of a second does.
func BenchmarkJudge(b *testing.B) {
	for _, n := range []int{2, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(1, n)
			for i := 0; b.Loop(); i++ {
				for k := range n {
					w.members[k].Answered(200, time.Duration(i%40)*time.Millisecond, w.now)
				}
				w.now += judgeEvery
				w.group.Judge(w.now)
			}
		})
	}
}

func BenchmarkBudget(b *testing.B) {
	budget := NewBudget()
	for i := 0; b.Loop(); i++ {
		budget.Earn()
		if i%8 == 0 {
			budget.Spend()
		}
	}
}
