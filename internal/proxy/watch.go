package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// watchEvery is how exact deadlines are, and how soon it is noticed that a client has left.
	watchEvery = 100 * time.Millisecond

	// watchAfter is how long a request must have waited before anybody looks whether its client is still there.
	watchAfter = 200 * time.Millisecond

	// halfOpenTime is how long a client that has ended its sending still gets its answer. A client that is done sending
	// looks just like one that is gone, until something is sent to it.
	halfOpenTime = 5 * time.Second
)

// watch is what somebody else sees to while a connection's goroutine waits: its deadline, and whether its client is
// still there. Setting a deadline is one atomic store, where a timer for each wait would be the dearest part of a
// request.
type watch struct {
	by     atomic.Int64 // on the proxy's clock; 0: as long as it takes
	bodyBy atomic.Int64 // the same for the next piece of the request's body
	rested atomic.Int64 // since when the next request is waited for, until somebody has looked whether there can be one
	asking atomic.Int64 // since when a target or the first table is waited for; 0: it is not

	mu       sync.Mutex
	up       *upstream     // whose answer is waited for
	kicked   bool          // what up waits for was interrupted
	left     bool          // the client is gone
	leftChan chan struct{} // made by who waits for that
	endSeen  time.Duration // when it was first seen that the client has ended its sending

	cut bool // of the connection's goroutine: the client must not take the answer for whole
}

func (w *watch) deadline(at time.Duration) { w.by.Store(int64(at)) }

func (c *conn) overdue() bool {
	at := c.by.Load()
	return at != 0 && int64(c.now()) >= at
}

func (w *watch) isGone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left
}

func (c *conn) gone() <-chan struct{} {
	c.asking.CompareAndSwap(0, int64(c.now()))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leftChan == nil {
		c.leftChan = make(chan struct{})
		if c.left {
			close(c.leftChan)
		}
	}
	return c.leftChan
}

// waitFor ends what an interruption left behind when u is nil.
func (c *conn) waitFor(u *upstream) {
	if u != nil {
		c.asking.Store(int64(c.now()))
	} else {
		c.asking.Store(0)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kicked {
		// Both were left with a deadline in the past. A closed connection does not mind.
		c.kicked = false
		_ = c.up.SetDeadline(time.Time{})
		_ = c.SetWriteDeadline(time.Time{})
	}
	c.up = u
	if c.left && u != nil {
		c.kicked = true
		_ = u.SetDeadline(past)
	}
}

// look is called by the registry, again and again.
func (c *conn) look(now time.Duration) {
	if at := c.bodyBy.Load(); at != 0 && int64(now) >= at {
		_ = c.SetReadDeadline(past)
	}
	if at := c.by.Load(); at != 0 && int64(now) >= at {
		c.interrupt()
	}
	if at := c.rested.Load(); at != 0 && now-time.Duration(at) >= watchAfter && c.rested.CompareAndSwap(at, 0) {
		// An end that came together with the last request was not announced again.
		if ended, _ := c.lookAtEnd(); ended && c.phase.Load() == phaseIdle {
			_ = c.SetReadDeadline(past)
		}
	}
	since := c.asking.Load()
	if since == 0 || now-time.Duration(since) < watchAfter {
		return
	}
	ended, dead := c.lookAtEnd()
	if !ended && !dead {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asking.Load() != since { // it was another request's client
		return
	}
	if c.endSeen == 0 {
		c.endSeen = now
	}
	if dead || now-c.endSeen >= halfOpenTime {
		c.leave()
	}
}

// leave notes that the client is gone, and ends what is waited for on its behalf. c.mu is held.
func (c *conn) leave() {
	if c.left {
		return
	}
	c.left = true
	if c.leftChan != nil {
		close(c.leftChan)
	}
	if c.up != nil {
		c.kicked = true
		_ = c.up.SetDeadline(past)
	}
}

// sever ends the connection whatever it is doing. It is not closed here: Close would wait for the connection's
// goroutine. Errors mean that the connection has ended already.
func (c *conn) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave()
	_ = c.CloseRead()
	_ = c.CloseWrite()
}

// interrupt ends what the connection's goroutine waits for.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.overdue() {
		return
	}
	if c.up == nil {
		_ = c.SetReadDeadline(past)
		return
	}
	c.kicked = true
	_ = c.up.SetDeadline(past)
	_ = c.SetWriteDeadline(past)
}

// registry is all connections of HTTP/1 clients.
type registry struct {
	shards [16]struct {
		mu    sync.Mutex
		conns map[*conn]struct{}
	}
}

func (r *registry) add(c *conn) {
	s := &r.shards[c.shard%len(r.shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[*conn]struct{}{}
	}
	s.conns[c] = struct{}{}
}

func (r *registry) remove(c *conn) {
	s := &r.shards[c.shard%len(r.shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// each calls f for every connection. f must not block.
func (r *registry) each(f func(*conn)) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for c := range s.conns {
			f(c)
		}
		s.mu.Unlock()
	}
}

// watch looks after all connections until done is closed.
func (p *Proxy) watch(done <-chan struct{}) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		now := p.clock()
		p.registry.each(func(c *conn) { c.look(now) })
		if n%10 == 0 {
			for t := range p.current().targets() {
				t.expire(now)
			}
		}
	}
}
