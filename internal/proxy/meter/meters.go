package meter

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"time"

	"github.com/ikada/ikada/api"
)

// maxShards bounds the memory of a leaf on big machines: a shard takes 768 bytes once it is used.
const maxShards = 64

// Meters keeps the leaves, and the sums of pools and environments, across route tables.
type Meters struct {
	boot   string
	shards int

	mu     sync.RWMutex // before that of a leaf, which comes before that of an account
	made   int
	leaves map[Source]*Leaf
	pools  map[string]*account
	envs   map[api.EnvRef]*account
}

// New makes meters with nothing in them.
func New() *Meters {
	return &Meters{
		boot: fmt.Sprintf("%x", time.Now().UnixNano()), shards: shardCount(),
		leaves: map[Source]*Leaf{}, pools: map[string]*account{}, envs: map[api.EnvRef]*account{},
	}
}

// shardCount gives the power of two that is no less than the processors Go may use.
func shardCount() int {
	n := 1
	for n < runtime.GOMAXPROCS(0) && n < maxShards {
		n *= 2
	}
	return n
}

// Shards gives how many shards a leaf has, a power of two.
func (m *Meters) Shards() int { return m.shards }

// Run notes once a second what is in flight, and drops what is too old or has gone, until ctx ends; it returns nil.
// Without it counts are right all the same, but a [Point] of the past has nothing in flight.
func (m *Meters) Run(ctx context.Context) error {
	for last := time.Now().Unix(); ; {
		now := time.Now()
		timer := time.NewTimer(now.Truncate(time.Second).Add(time.Second).Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if second := time.Now().Unix(); second != last {
			m.tick(second)
			last = second
		}
	}
}

func (m *Meters) tick(now int64) {
	if m.sample(now) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.sweep(now)
	}
}

// sample notes what is in flight and tells whether there may be something to sweep.
func (m *Meters) sample(now int64) (sweep bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, l := range m.leaves {
		l.sample(now)
		sweep = sweep || l.left
	}
	for _, a := range m.envs {
		a.trim(now)
		sweep = sweep || len(a.leaves) == 0
	}
	for _, a := range m.pools {
		sweep = sweep || len(a.leaves) == 0
	}
	return sweep
}

// Leaf gives the leaf of a source, made at the first call. It stays until [Meters.Leave] is told that no table names it
// and its last request has ended.
func (m *Meters) Leaf(s Source) *Leaf {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := m.leaves[s]; l != nil {
		l.left = false
		return l
	}
	l := &Leaf{source: s, env: made(m, m.envs, s.Env), label: label(&s)}
	l.shards = newShards(m.shards)
	l.env.leaves[l] = struct{}{}
	if s.Pool != "" {
		l.pool = made(m, m.pools, s.Pool)
		l.pool.leaves[l] = struct{}{}
	}
	m.leaves[s] = l
	return l
}

func made[K comparable](m *Meters, in map[K]*account, key K) *account {
	a := in[key]
	if a == nil {
		m.made++
		a = &account{boot: fmt.Sprintf("%s.%d", m.boot, m.made), leaves: map[*Leaf]struct{}{}, used: time.Now().Unix()}
		in[key] = a
	}
	return a
}

// Leave is called after a table came into force, with the leaves that the one before named and this one does not. Such
// a leaf goes once nothing is in flight there: what it counted stays in the sums, and its last ten minutes are told
// under the task [Gone]. Pools and environments without a leaf are forgotten after ten minutes. Every request that may
// still be added to such a leaf must have begun there before.
func (m *Meters) Leave(gone []*Leaf) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().Unix()
	for _, l := range gone {
		if m.leaves[l.source] == l {
			l.left = true
			m.drop(l, now)
		}
	}
}

// drop lets a leaf go that has left, unless something is in flight there. The caller holds m.mu.
func (m *Meters) drop(l *Leaf, now int64) {
	if !l.fold(now) {
		return
	}
	delete(m.leaves, l.source)
	delete(l.env.leaves, l)
	if l.pool != nil {
		delete(l.pool.leaves, l)
	}
}

// sweep drops what has gone. The caller holds m.mu.
func (m *Meters) sweep(now int64) {
	for _, l := range m.leaves {
		if l.left {
			m.drop(l, now)
		}
	}
	maps.DeleteFunc(m.pools, func(_ string, a *account) bool { return a.idle(now) })
	maps.DeleteFunc(m.envs, func(_ api.EnvRef, a *account) bool { return a.idle(now) })
}

// Counters gives what an environment's requests have met. An environment that was never seen has zeros.
func (m *Meters) Counters(env api.EnvRef) Counters {
	m.mu.RLock()
	defer m.mu.RUnlock()
	a := m.envs[env]
	if a == nil {
		return Counters{Boot: m.boot}
	}
	a.settle(time.Now().Unix())
	return a.counters()
}

// PoolCounters gives the same for every pool, by its name.
func (m *Meters) PoolCounters() map[string]Counters {
	m.mu.RLock()
	defer m.mu.RUnlock()
	now := time.Now().Unix()
	all := make(map[string]Counters, len(m.pools))
	for name, a := range m.pools {
		a.settle(now)
		all[name] = a.counters()
	}
	return all
}
