package proxy

import (
	"io"
	"sync"
)

// connSet is everything that shutdown has to wait for: HTTP requests being answered, and the connections that no
// http.Server answers for, which it can also cut.
type connSet struct {
	mu     sync.Mutex
	none   *sync.Cond // count is zero
	count  int
	open   map[io.Closer]struct{}
	closed bool
}

func newConnSet() *connSet {
	s := &connSet{open: map[io.Closer]struct{}{}}
	s.none = sync.NewCond(&s.mu)
	return s
}

// enter counts one more thing to wait for, until leave.
func (s *connSet) enter() {
	s.mu.Lock()
	s.count++
	s.mu.Unlock()
}

func (s *connSet) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count--; s.count == 0 {
		s.none.Broadcast()
	}
}

// add makes c one of the connections that closeAll closes, until drop. If that was called already, c is closed.
func (s *connSet) add(c io.Closer) (drop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
	}
	s.open[c] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, c)
	}
}

func (s *connSet) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		c.Close()
	}
}

func (s *connSet) wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.count > 0 {
		s.none.Wait()
	}
}
