package meter

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/api"
)

// Source names what a leaf counts for. Fields that do not apply are empty.
type Source struct {
	Env     api.EnvRef `json:"env"`
	Service string     `json:"service,omitempty"`
	Pool    string     `json:"pool,omitempty"`
	Route   string     `json:"route,omitempty"` // host and path, or a listener's address
	Release uint64     `json:"release,omitempty"`
	Task    string     `json:"task,omitempty"` // "": requests that found no target; Gone: tasks that have left
}

// Gone is the Task of what a release's tasks have counted that are gone.
const Gone = "*"

// Leaf counts the requests of one source. A request begins at a leaf, is booked at one when it has ended, and only then
// ends at the leaf it began at: so a leaf with nothing in flight that no table names has nothing more to come. Adding
// to a leaf after that is counted nevertheless, at a higher price.
type Leaf struct {
	source Source
	env    *account
	pool   *account // nil for a source without one
	label  []byte   // the source as the access log has it
	shards []atomic.Pointer[shard]

	mu      sync.Mutex // of what follows, and of moving cells into the history
	history history
	sampled int64 // last second for which the gauges stand in the history
	folded  bool  // the history belongs to the release now

	left bool // no table names it; under the mutex of Meters
}

// shard is the cells that one of the engine's workers adds to. It has more than ten cache lines of its own, and Go
// places objects of its size on their boundaries, so shards do not disturb each other.
type shard struct {
	second   atomic.Int64 // unix, that the cells belong to
	inFlight atomic.Int64
	held     atomic.Int64
	in       atomic.Uint64
	out      atomic.Uint64
	longest  atomic.Int64
	retries  atomic.Uint32
	waited   atomic.Uint32
	outcomes [classes * int(failures)]atomic.Uint32
	latency  [Buckets]atomic.Uint32
	_        [shardPad]byte
}

// shardPad fills a shard up to 768 bytes, a multiple of a cache line of 64 bytes and a size class of the allocator.
const shardPad = 768 - (6*8 + 2*4 + 4*classes*int(failures) + 4*Buckets)

// foldedSecond is the second of a shard whose leaf has been folded: it equals none, so every addition takes the slow way.
const foldedSecond = -1 << 62

// Source gives what the leaf counts for.
func (l *Leaf) Source() Source { return l.source }

// Add books a request that has ended. now may come from a coarse clock, and decides in which second it counts. Any
// number may be given for shard; additions with different numbers below [Meters.Shards] do not disturb each other.
func (l *Leaf) Add(shard int, r *Result, now time.Time) {
	s := l.shard(shard)
	second := now.Unix()
	// A clock that is some milliseconds behind the one that began the second does not go back to the one before.
	if d := second - s.second.Load(); d != 0 && d != -1 && l.turn(s, r, second) {
		return
	}
	s.outcomes[outcome(r)].Add(1)
	s.latency[bucket(r.Wait)].Add(1)
	if r.In > 0 {
		s.in.Add(uint64(r.In))
	}
	if r.Out > 0 {
		s.out.Add(uint64(r.Out))
	}
	if r.Retries > 0 {
		s.retries.Add(uint32(r.Retries))
	}
	if r.Held {
		s.waited.Add(1)
	}
	raise(&s.longest, int64(r.Wait))
}

// Lose books an attempt that the target had taken and did not answer, and that is made again elsewhere: the request
// counts where it ends, and nobody would learn of this otherwise. It is rare, and takes the lock.
func (l *Leaf) Lose(now time.Time) {
	second := now.Unix()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.book(second, second, &tally{lostAt: 1})
}

// Begin counts a request as in flight, held or answered.
func (l *Leaf) Begin(shard int) { l.shard(shard).inFlight.Add(1) }

// End takes back what Begin counted; the shard may be another.
func (l *Leaf) End(shard int) { l.shard(shard).inFlight.Add(-1) }

// Hold counts a request in flight as held: it waits for a target.
func (l *Leaf) Hold(shard int) { l.shard(shard).held.Add(1) }

// Unhold takes back what Hold counted; the shard may be another.
func (l *Leaf) Unhold(shard int) { l.shard(shard).held.Add(-1) }

// newShards gives room for n shards, a power of two.
func newShards(n int) []atomic.Pointer[shard] { return make([]atomic.Pointer[shard], n) }

func (l *Leaf) shard(n int) *shard {
	at := &l.shards[n&(len(l.shards)-1)]
	if s := at.Load(); s != nil {
		return s
	}
	return l.newShard(at)
}

// newShard makes a shard at its first use: most leaves of a big table are quiet.
func (l *Leaf) newShard(at *atomic.Pointer[shard]) *shard {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.Load() == nil {
		s := new(shard)
		if l.folded {
			s.second.Store(foldedSecond)
		}
		at.Store(s)
	}
	return at.Load()
}

func raise(a *atomic.Int64, v int64) {
	for {
		old := a.Load()
		if v <= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}

// turn begins a new second in a shard. Should somebody hold the lock when a second follows the one before, the request
// counts for that one and does not wait: the lock is held for less than a millisecond. After a pause it does wait, or
// it would count for a second long past. turn tells whether it has counted the request itself.
func (l *Leaf) turn(s *shard, r *Result, second int64) (counted bool) {
	if second-s.second.Load() != 1 {
		l.mu.Lock()
	} else if !l.mu.TryLock() {
		return false
	}
	defer l.mu.Unlock()
	if l.folded {
		var t tally
		t.count(r)
		l.book(second, second, &t)
		return true
	}
	l.settle(s, second)
	return false
}

// settleAll moves what all shards have counted to where it is read. The caller holds l.mu.
func (l *Leaf) settleAll(now int64) {
	for i := range l.shards {
		if s := l.shards[i].Load(); s != nil {
			l.settle(s, now)
		}
	}
}

func (l *Leaf) settle(s *shard, now int64) {
	if l.folded {
		return
	}
	var t tally
	if s.take(&t) {
		l.book(s.second.Load(), now, &t)
	}
	if d := now - s.second.Load(); d != 0 && d != -1 {
		s.second.Store(now)
	}
}

// take moves the cells into t and tells whether a request was in them. What is added meanwhile is in t or stays.
func (s *shard) take(t *tally) (found bool) {
	for i := range s.outcomes {
		if s.outcomes[i].Load() != 0 {
			t[outcomesAt+i] = uint64(s.outcomes[i].Swap(0))
			found = true
		}
	}
	for i := range s.latency {
		if s.latency[i].Load() != 0 {
			t[latencyAt+i] = uint64(s.latency[i].Swap(0))
			found = true
		}
	}
	if !found && s.in.Load() == 0 && s.out.Load() == 0 && s.longest.Load() == 0 && s.retries.Load() == 0 && s.waited.Load() == 0 {
		return false
	}
	t[inAt], t[outAt] = s.in.Swap(0), s.out.Swap(0)
	t[longestAt] = uint64(s.longest.Swap(0))
	t[retriesAt] = uint64(s.retries.Swap(0))
	t[waitedAt] = uint64(s.waited.Swap(0))
	return true
}

// book counts for the leaf's second, its pool and its environment. The caller holds l.mu.
func (l *Leaf) book(second, now int64, t *tally) {
	if l.folded {
		l.env.addGone(l.source, second, now, t)
	} else {
		l.history.add(second, now, t)
	}
	l.env.add(now, l.source.Release, t)
	if l.pool != nil {
		l.pool.add(now, l.source.Release, t)
	}
}

// gauges gives what is in flight and what of it is held. Shards are read one after another, so a request that moves
// from one to another meanwhile may be missed or seen twice.
func (l *Leaf) gauges() (inFlight, held int64) {
	for i := range l.shards {
		if s := l.shards[i].Load(); s != nil {
			inFlight += s.inFlight.Load()
			held += s.held.Load()
		}
	}
	return max(inFlight, 0), max(held, 0)
}

// sample notes what is in flight at the end of the second before now.
func (l *Leaf) sample(now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settleAll(now)
	l.history.trim(now)
	inFlight, held := l.gauges()
	if inFlight == 0 && held == 0 || l.sampled >= now-1 {
		return
	}
	l.sampled = now - 1
	l.history.add(now-1, now, &tally{inFlightAt: uint64(inFlight), heldAt: uint64(held)})
}

// copyHistory gives the history from a second on, and what is in flight unless the history has that for now already.
// The copy lets a reader decode at leisure: whoever holds l.mu keeps requests from turning to the next second.
func (l *Leaf) copyHistory(since, now int64) (h history, inFlight, held int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settleAll(now)
	l.history.trim(now)
	if l.sampled < now {
		inFlight, held = l.gauges()
	}
	return l.history.from(since), inFlight, held
}

// fold gives the history to the release, when nothing is in flight any more, and tells whether it did.
func (l *Leaf) fold(now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if inFlight, held := l.gauges(); inFlight != 0 || held != 0 {
		return false
	}
	l.settleAll(now)
	l.env.foldGone(l.source, &l.history, now)
	l.history = history{}
	for i := range l.shards {
		if s := l.shards[i].Load(); s != nil {
			s.second.Store(foldedSecond)
		}
	}
	l.folded = true
	return true
}
