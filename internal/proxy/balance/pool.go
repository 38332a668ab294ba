package balance

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// pool is what the groups of one pool share, one table after the other. It judges the members of the newest.
type pool struct {
	random func() uint64
	due    atomic.Int64 // when to judge next

	mu         sync.Mutex // guards what follows, and the records of members; whoever holds it may write rosters
	group      *Group
	groups     uint64        // how many there have been
	rateTurned time.Duration // when the newer half of the window began
	waitTurned time.Duration
	waitsDue   time.Duration // when to look at waits next
}

func newPool() *pool { return &pool{random: rand.Uint64} }

// replace puts a group in the place of the one before.
func (p *pool) replace(g *Group, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.groups
	p.group, p.groups = g, before+1
	for i := range g.shares {
		seats := g.shares[i].seats
		stayed := func(m seat) bool { return before > 0 && m.record.group == before }
		serving := slices.ContainsFunc(seats, stayed)
		for _, m := range seats {
			m.pool.Store(p)
			stays := stayed(m)
			m.record.group = p.groups
			if stays {
				continue
			}
			m.record.collect(&m.seen) // what it answered to requests that nobody picked it for
			m.record.forget()
			if serving {
				m.ramp.Store(int64(now))
			}
		}
	}
	p.spare(now)
	g.enroll(now)
}
