package proxy

import (
	"sync/atomic"
	"time"
)

// Part of requests that may be retries, and how many may be when there are hardly any requests.
const (
	retryShare = 5   // one of so many
	retryFloor = 10  // at once
	retryMost  = 100 // at once
)

// budget bounds retries, so that a pool in trouble is not asked several times as much as usual (Google, "Site
// Reliability Engineering", chapter 21; Finagle's retry budgets). It counts in fifths of a retry.
type budget struct{ left atomic.Int64 }

func newBudget() *budget {
	b := &budget{}
	b.left.Store(retryFloor * retryShare)
	return b
}

// earn is called for each request.
func (b *budget) earn() {
	if b.left.Load() < retryMost*retryShare {
		b.left.Add(1)
	}
}

// spend tells whether there may be one more retry.
func (b *budget) spend() bool {
	if b.left.Add(-retryShare) >= 0 {
		return true
	}
	b.left.Add(retryShare)
	return false
}

// health is what the balancer itself has seen of a target.
type health struct{}

func (*health) failed(time.Duration) {}

func (*health) answered(int, time.Duration, time.Duration) {}
