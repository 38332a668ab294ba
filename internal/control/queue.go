package control

import (
	"context"
	"sync"
	"time"
)

// queue gives out keys: each one at a time, once however often it was added, and not before its time.
type queue[K comparable] struct {
	mu    sync.Mutex
	ready []K
	items map[K]*item
	wake  chan struct{}
}

// item is a key that waits, is worked on, or both.
type item struct {
	queued bool        // it is in ready
	busy   bool        // a worker has it
	again  bool        // it was added while busy
	timer  *time.Timer // adds it later
	due    time.Time   // when timer fires
}

func newQueue[K comparable]() *queue[K] {
	return &queue[K]{items: map[K]*item{}, wake: make(chan struct{}, 1)}
}

func (q *queue[K]) item(key K) *item {
	it := q.items[key]
	if it == nil {
		it = &item{}
		q.items[key] = it
	}
	return it
}

// add makes the key due now.
func (q *queue[K]) add(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.item(key)
	switch {
	case it.queued:
	case it.busy:
		it.again = true
	default:
		q.push(key, it)
	}
}

// addAt makes the key due at a time, unless it is due earlier already.
func (q *queue[K]) addAt(key K, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.item(key)
	if it.timer != nil {
		if !it.due.After(at) {
			return
		}
		it.timer.Stop()
	}
	it.due = at
	var t *time.Timer
	t = time.AfterFunc(time.Until(at), func() {
		q.mu.Lock()
		if it.timer == t {
			it.timer = nil
		}
		q.mu.Unlock()
		q.add(key)
	})
	it.timer = t
}

func (q *queue[K]) push(key K, it *item) {
	it.queued = true
	q.ready = append(q.ready, key)
	q.signal()
}

func (q *queue[K]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for a key that is due; ok is false when ctx ends. The caller calls done with it.
func (q *queue[K]) next(ctx context.Context) (key K, ok bool) {
	for {
		q.mu.Lock()
		if len(q.ready) > 0 && ctx.Err() == nil {
			key = q.ready[0]
			q.ready = q.ready[1:]
			it := q.items[key]
			it.queued, it.busy = false, true
			if len(q.ready) > 0 {
				q.signal() // for the other workers
			}
			q.mu.Unlock()
			return key, true
		}
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return key, false
		case <-q.wake:
		}
	}
}

// done gives a key back; it is due again when it was added meanwhile.
func (q *queue[K]) done(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[key]
	it.busy = false
	switch {
	case it.again:
		it.again = false
		q.push(key, it)
	case !it.queued && it.timer == nil:
		delete(q.items, key)
	}
}

// stop ends the timers.
func (q *queue[K]) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, it := range q.items {
		if it.timer != nil {
			it.timer.Stop()
		}
	}
}
