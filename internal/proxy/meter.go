package proxy

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikada/ikada/api"
)

// ringSeconds is how far back Seconds can look.
const ringSeconds = 600

// Counters is what a pool or an environment has met since Boot came into being; only InFlight and Held go down.
//
// A request counts when it has ended: when its answer has been sent, or it became clear that there is none. An
// upgraded connection counts when it is switched, a TCP connection when its target has accepted it. A request that
// no route matches belongs to no environment and counts nowhere; a client that leaves while it is held, before any
// target has it, has failed.
type Counters struct {
	Boot     string        `json:"boot"`     // another value: the counters began anew from zero
	Requests uint64        `json:"requests"` // all that ended
	Failed   uint64        `json:"failed"`   // no answer, an answer of 500 and above, or one that broke off at the target
	Aborted  uint64        `json:"aborted"`  // the client left while a target worked on it or answered; not failed
	Status   [6]uint64     `json:"status"`   // by first digit of the status; 0 is TCP, and requests without an answer
	InFlight int64         `json:"inFlight"` // requests now being held or answered
	Held     int64         `json:"held"`     // of those, waiting for a target
	Longest  time.Duration `json:"longest"`  // longest wait for an answer's first byte, or until its failure was clear
}

// Second is what ended within one second.
type Second struct {
	Time     time.Time     `json:"time"` // its beginning
	Requests uint64        `json:"requests"`
	Failed   uint64        `json:"failed"`
	Longest  time.Duration `json:"longest"`
}

// result is what became of one request.
type result struct {
	status  int // 0: none was sent, or none exists (TCP)
	failed  bool
	aborted bool
	wait    time.Duration // to the first byte of the answer, or to the failure
}

// meter counts for one pool or one environment. The hot path is atomic additions; the mutex is taken once a second
// and when a window opens or closes.
type meter struct {
	boot              string
	requests          atomic.Uint64
	failed            atomic.Uint64
	aborted           atomic.Uint64
	status            [6]atomic.Uint64
	inFlight, held    atomic.Int64
	longest, lastUsed atomic.Int64 // nanoseconds; unix seconds
	windows           atomic.Pointer[[]*Window]
	ring              atomic.Pointer[[ringSeconds]slot] // made by the first request
	mu                sync.Mutex
}

// slot is one second of the ring. It belongs to second; a writer that finds an older one there clears it first.
type slot struct {
	second                    atomic.Int64 // unix; 0 is none
	requests, failed, longest atomic.Int64
}

func (m *meter) add(r result, now time.Time) {
	// Failed comes after requests here and before it in readers: a reader never sees more failures than requests.
	m.requests.Add(1)
	m.status[min(max(r.status/100, 0), 5)].Add(1)
	if r.aborted {
		m.aborted.Add(1)
	}
	if r.failed {
		m.failed.Add(1)
	}
	raise(&m.longest, int64(r.wait))
	s := m.slotOf(now.Unix())
	s.requests.Add(1)
	if r.failed {
		s.failed.Add(1)
	}
	raise(&s.longest, int64(r.wait))
	if open := m.windows.Load(); open != nil {
		for _, w := range *open {
			w.add(r)
		}
	}
}

func raise(a *atomic.Int64, v int64) {
	for {
		old := a.Load()
		if v <= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}

func (m *meter) slotOf(second int64) *slot {
	ring := m.ring.Load()
	if ring == nil {
		m.ring.CompareAndSwap(nil, new([ringSeconds]slot))
		ring = m.ring.Load()
	}
	s := &ring[second%ringSeconds]
	if s.second.Load() >= second {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.second.Load() < second {
		s.requests.Store(0)
		s.failed.Store(0)
		s.longest.Store(0)
		s.second.Store(second)
		m.lastUsed.Store(second)
	}
	return s
}

func (m *meter) counters() Counters {
	c := Counters{
		Boot: m.boot, Failed: m.failed.Load(), Aborted: m.aborted.Load(), Longest: time.Duration(m.longest.Load()),
		InFlight: m.inFlight.Load(), Held: m.held.Load(),
	}
	for i := range m.status {
		c.Status[i] = m.status[i].Load()
	}
	c.Requests = m.requests.Load()
	return c
}

func (m *meter) seconds(since, now time.Time) []Second {
	ring := m.ring.Load()
	if ring == nil {
		return nil
	}
	var all []Second
	for at := max(since.Unix(), now.Unix()-ringSeconds+1); at <= now.Unix(); at++ {
		s := &ring[at%ringSeconds]
		if s.second.Load() != at {
			continue
		}
		failed := uint64(s.failed.Load())
		all = append(all, Second{
			Time: time.Unix(at, 0), Failed: failed, Requests: uint64(s.requests.Load()),
			Longest: time.Duration(s.longest.Load()),
		})
	}
	return all
}

// idle tells whether nothing depends on the meter any more.
func (m *meter) idle(now time.Time) bool {
	return m.inFlight.Load() == 0 && m.held.Load() == 0 && m.windows.Load() == nil &&
		now.Unix()-m.lastUsed.Load() > ringSeconds
}

// meters keeps a meter for each pool and each environment, across tables.
type meters struct {
	boot  string
	early atomic.Int64 // requests held before the first table
	mu    sync.Mutex
	made  int
	pools map[string]*meter
	envs  map[api.EnvRef]*meter
}

func newMeters() *meters {
	return &meters{
		boot:  fmt.Sprintf("%x", time.Now().UnixNano()),
		pools: map[string]*meter{}, envs: map[api.EnvRef]*meter{},
	}
}

func (s *meters) ofPool(name string) *meter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return made(s, s.pools, name)
}

func (s *meters) ofEnv(env api.EnvRef) *meter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return made(s, s.envs, env)
}

func made[K comparable](s *meters, in map[K]*meter, key K) *meter {
	m := in[key]
	if m == nil {
		s.made++
		m = &meter{boot: fmt.Sprintf("%s.%d", s.boot, s.made)}
		m.lastUsed.Store(time.Now().Unix())
		in[key] = m
	}
	return m
}

// forget drops the meters that have no place in the table in force and have been idle for as long as the ring lasts.
func (s *meters) forget(live func(pool string, env api.EnvRef) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.pools, func(name string, m *meter) bool { return m.idle(now) && !live(name, api.EnvRef{}) })
	maps.DeleteFunc(s.envs, func(env api.EnvRef, m *meter) bool { return m.idle(now) && !live("", env) })
}

// book counts a request that ended, for its pool and its environment.
func (p *pool) book(r result) {
	now := time.Now()
	p.meter.add(r, now)
	p.env.add(r, now)
}

// Meter gives what an environment's requests have met. An environment that the balancer never saw has zeros.
func (p *Proxy) Meter(env api.EnvRef) Counters {
	p.meters.mu.Lock()
	m := p.meters.envs[env]
	p.meters.mu.Unlock()
	if m == nil {
		return Counters{Boot: p.meters.boot}
	}
	return m.counters()
}

// PoolMeters gives the same for every pool, by its name.
func (p *Proxy) PoolMeters() map[string]Counters {
	p.meters.mu.Lock()
	defer p.meters.mu.Unlock()
	all := make(map[string]Counters, len(p.meters.pools))
	for name, m := range p.meters.pools {
		all[name] = m.counters()
	}
	return all
}

// Seconds gives, oldest first, the seconds from since to now in which a request of the environment ended; at most
// the last 600. The current second is not complete.
func (p *Proxy) Seconds(env api.EnvRef, since time.Time) []Second {
	p.meters.mu.Lock()
	m := p.meters.envs[env]
	p.meters.mu.Unlock()
	if m == nil {
		return nil
	}
	return m.seconds(since, time.Now())
}

// Window counts the requests of one environment that ended between its opening and its closing, however long that
// is; a deployment's receipt is made from one. It must be closed.
type Window struct {
	of                        *meter
	opened                    time.Time
	requests, failed, aborted atomic.Uint64
	longest                   atomic.Int64
	once                      sync.Once
	final                     Totals
}

// Totals is what a Window counted.
type Totals struct {
	Opened, Closed            time.Time     // Closed is the time of reading while the window is open
	Requests, Failed, Aborted uint64        // as in Counters
	Longest                   time.Duration // as in Counters, of these requests
}

// OpenWindow begins to count. Any number of windows may be open.
func (p *Proxy) OpenWindow(env api.EnvRef) *Window {
	p.meters.mu.Lock() // so that forget cannot drop the meter before the window stands in it
	defer p.meters.mu.Unlock()
	m := made(p.meters, p.meters.envs, env)
	w := &Window{of: m, opened: time.Now()}
	m.mu.Lock()
	defer m.mu.Unlock()
	var open []*Window
	if old := m.windows.Load(); old != nil {
		open = slices.Clone(*old)
	}
	open = append(open, w)
	m.windows.Store(&open)
	return w
}

func (w *Window) add(r result) {
	w.requests.Add(1)
	if r.aborted {
		w.aborted.Add(1)
	}
	if r.failed {
		w.failed.Add(1)
	}
	raise(&w.longest, int64(r.wait))
}

// Read gives what the window has counted so far.
func (w *Window) Read() Totals {
	t := Totals{
		Opened: w.opened, Closed: time.Now(), Failed: w.failed.Load(), Aborted: w.aborted.Load(),
		Longest: time.Duration(w.longest.Load()),
	}
	t.Requests = w.requests.Load()
	return t
}

// Close ends the counting and gives the result, every time the same.
func (w *Window) Close() Totals {
	w.once.Do(func() {
		m := w.of
		m.mu.Lock()
		defer m.mu.Unlock()
		left := slices.DeleteFunc(slices.Clone(*m.windows.Load()), func(o *Window) bool { return o == w })
		if len(left) == 0 {
			m.windows.Store(nil)
		} else {
			m.windows.Store(&left)
		}
		w.final = w.Read()
	})
	return w.final
}
