package soak

import (
	"bufio"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd is connections that are idle nearly all the time: each asks once every so often, since a balancer closes those
// that never do.
type crowd struct {
	conns  []*wire
	last   []atomic.Int64 // unix milliseconds at which each was asked
	asked  atomic.Int64
	late   atomic.Int64 // connections that were left alone for too long, so that they were made anew
	failed atomic.Int64
	mu     sync.Mutex
	first  []string
	stop   chan struct{}
	ended  sync.WaitGroup
}

// askers is how many goroutines go round the connections, each by its own.
const askers = 16

// gather makes the connections and has each of them ask once in every turn.
func gather(t *testing.T, addr string, count int, turn time.Duration, question func(i int) *Question) *crowd {
	t.Helper()
	c := &crowd{conns: make([]*wire, count), last: make([]atomic.Int64, count), stop: make(chan struct{})}
	t.Cleanup(func() {
		c.end()
		for _, w := range c.conns {
			if w != nil {
				w.close()
			}
		}
	})
	each(count, func(i int, r *bufio.Reader) {
		w := &wire{addr: addr}
		if err := w.dial(); err != nil {
			c.fail(i, err)
			return
		}
		c.conns[i] = w
		c.ask(i, question(i), r)
	})
	if c.failed.Load() > 0 {
		t.Fatalf("%d of %d connections could not be had: %v", c.failed.Load(), count, c.first)
	}
	for first := range askers {
		c.ended.Go(func() { c.goRound(first, turn, question) })
	}
	return c
}

// goRound asks on every so many of the connections, from the first on, each once in a turn.
func (c *crowd) goRound(first int, turn time.Duration, question func(i int) *Question) {
	tick := time.NewTicker(turn * askers / time.Duration(len(c.conns)))
	defer tick.Stop()
	r := bufio.NewReader(nil)
	for i := first; ; {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		c.ask(i, question(i), r)
		if i += askers; i >= len(c.conns) {
			i = first
		}
	}
}

// each calls f for each number, several at a time.
func each(count int, f func(i int, r *bufio.Reader)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range askers {
		wg.Go(func() {
			r := bufio.NewReader(nil)
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				f(i, r)
			}
		})
	}
	wg.Wait()
}

// idleLimit is how long a connection may be left alone: the balancer closes it after 75 s.
const idleLimit = 70 * time.Second

func (c *crowd) ask(i int, q *Question, r *bufio.Reader) {
	now := time.Now().UnixMilli()
	if before := c.last[i].Swap(now); before != 0 && now-before > idleLimit.Milliseconds() {
		c.late.Add(1)
		c.conns[i].close()
		if err := c.conns[i].dial(); err != nil {
			c.fail(i, err)
			return
		}
	}
	c.asked.Add(1)
	reply, last, err := c.conns[i].exchange(q, r)
	if err == nil {
		err = q.Check(reply)
	}
	if err == nil && last {
		err = io.ErrClosedPipe // the server has no reason to
	}
	if err != nil {
		c.fail(i, err)
	}
}

func (c *crowd) fail(i int, err error) {
	c.failed.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.first) < keptFailures {
		c.first = append(c.first, fmt.Sprintf("%s: connection %d: %v", time.Now().Format("15:04:05.000"), i, err))
	}
}

// end ends the asking; the connections stay.
func (c *crowd) end() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.ended.Wait()
}
