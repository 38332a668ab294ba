package balance

import "sync/atomic"

// Part of requests that may be retried, and how many retries may be there at once.
const (
	retryShare = 5   // one of so many
	retryFirst = 10  // before there was any request
	retryMost  = 100 // however many requests there were
)

// Budget bounds a pool's retries to a fifth of its requests, with some at hand for the first ones. Without it a pool in
// trouble is asked several times as much as usual, by everyone at once, and stays in trouble (Google, "Site Reliability
// Engineering", chapter 21, "Handling Overload"; Finagle's RetryBudget, whose 20 % these are). A Budget is made by
// [NewBudget] and is safe for concurrent use.
type Budget struct{ left atomic.Int64 } // in fifths of a retry

// NewBudget gives a budget with ten retries.
func NewBudget() *Budget {
	b := &Budget{}
	b.left.Store(retryFirst * retryShare)
	return b
}

// Earn is called for each request that is not a retry. Past a hundred retries nothing is saved up, and nothing written.
func (b *Budget) Earn() {
	if b.left.Load() < retryMost*retryShare {
		b.left.Add(1)
	}
}

// Spend tells whether there may be one more retry, and counts it.
func (b *Budget) Spend() bool {
	for {
		left := b.left.Load()
		if left < retryShare {
			return false
		}
		if b.left.CompareAndSwap(left, left-retryShare) {
			return true
		}
	}
}
