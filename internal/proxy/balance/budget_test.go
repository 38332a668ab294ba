package balance

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// TestBudget mixes requests and retries at random, and holds the number of retries against the promise: a fifth of the
// requests, and ten.
func TestBudget(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		b := NewBudget()
		eager := random.Float64()
		requests, retries, refused := 0, 0, 0
		for range 5000 {
			if random.Float64() > eager {
				b.Earn()
				requests++
				continue
			}
			if b.Spend() {
				retries++
			} else if refused++; 5*(10+retries) < 5*10+requests-5*100 {
				t.Fatalf("refused after %d requests and %d retries", requests, retries)
			}
			if 5*retries > 5*10+requests {
				t.Fatalf("%d retries of %d requests", retries, requests)
			}
		}
	}
}

func TestBudgetBounds(t *testing.T) {
	b := NewBudget()
	spend := func() (n int) {
		for b.Spend() {
			n++
		}
		return n
	}
	if n := spend(); n != 10 {
		t.Errorf("%d retries before any request", n)
	}
	for range 4 {
		b.Earn()
	}
	if n := spend(); n != 0 {
		t.Errorf("%d retries of 4 requests", n)
	}
	if b.Earn(); spend() != 1 {
		t.Error("no retry of 5 requests")
	}
	for range 100_000 {
		b.Earn()
	}
	if n := spend(); n != 100 {
		t.Errorf("%d retries after many requests", n)
	}
}

func TestBudgetInParallel(t *testing.T) {
	b := NewBudget()
	for range 100_000 {
		b.Earn()
	}
	var spent atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if b.Spend() {
					spent.Add(1)
				}
			}
		})
	}
	all.Wait()
	if spent.Load() != 100 {
		t.Errorf("%d of 800 retries were let through, not 100", spent.Load())
	}
}
