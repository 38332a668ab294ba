package verdict

import "github.com/ikada/ikada/api"

// The bets on latency. For each block the waits of both releases are ranked (Mann and Whitney), but with the old ones
// made longer first, by as much as a release may be slower: D = P(new > times·old+plus) − ½ is above 0 only where the
// new release is slower by more than that. So a shift of some percent is far within what is harmless, however narrow
// the distributions are and however many requests there are. It is a test of non-inferiority (Wellek 2010, 6.2).
//
// A block counts as one observation of D with mean at most 0 and variance v, and a bet on a mean of μ gains
// exp((μD − μ²/2)/v), fair for a normal D. What a block with D ≤ 0 brings is always below 1.
//
// v is that of ranks of independent waits, (n₁+n₂+1)/12n₁n₂, and a share that no number of requests reduces, since
// all requests of a second in one release share its pauses, caches and neighbours: what the old release's seconds show
// when they are compared with each other, and never less than a floor.

// slower are the means μ that are bet on.
var slower = [degrees]float64{0.04, 0.08, 0.15, 0.25, 0.4}

const (
	// rankMost bounds the logarithm of what one block gains: three are needed at least.
	rankMost = 4

	// leastRanked is how many waits of each release make a block: from there on the normal approximation holds, and with
	// less there would be hardly a pair to compare.
	leastRanked = 5

	// besideNoise and beforeNoise are the least standard deviations of D between one second and another, at the same time
	// and at different ones.
	besideNoise, beforeNoise = 0.03, 0.05

	// beforeSlower is how many times more than at the same time a release may be slower than an earlier baseline.
	beforeSlower = 4.0 / 3

	// The ranks of nine in ten requests hide what becomes of the tenth. So requests that take twice as long as a release may
	// be slower than what nine of ten of the old release do not exceed are counted like failed ones; there may be 5 points
	// more of them.
	usualShare, slowTimes, moreSlow = 0.9, 2, 0.05

	// noiseEvery is of how many seconds of the old release two are compared with each other, and one with all before.
	noiseEvery = 4

	// enoughNoise is how many pairs of seconds say as much as the assumption that there is only the floor.
	enoughNoise = 5
)

// waits is the sequential test of latency.
type waits struct {
	times, plus float64 // tolerated
	purse       purse

	old    latencies // all up to now
	nOld   float64
	last   latencies // of the old release, the first of two seconds to compare
	nLast  float64
	excess noise        // between seconds of the old release
	drift  noise        // between a second of it and all before
	asOf   float64      // nOld when limit was reckoned
	limit  api.Duration // see slow
	turn   int          // seconds of it

	open      bool    // a block is
	besideVar float64 // of D beyond that of ranks; must be known before the block
	beforeVar float64
	new, ref  pile // of the open block

	blocks  int
	lowest  float64 // capital
	stretch stretch // since then
}

// noise is the mean square of D beyond that of independent waits.
type noise struct{ sum, n float64 }

func (v *noise) add(d, variance float64) { v.sum, v.n = v.sum+d*d-variance, v.n+1 }

func (v *noise) above(floor float64) float64 {
	return max(floor*floor, v.sum/(v.n+enoughNoise))
}

func rankVariance(n1, n2 float64) float64 { return (n1 + n2 + 1) / (12 * n1 * n2) }

// step adds a second.
func (w *waits) step(time int64, fresh, old *met, beside bool) {
	if w.stretch.seconds++; w.stretch.seconds == 1 {
		w.stretch.from = time
	}
	if fresh.slow.all > 0 || old.slow.all > 0 && beside {
		if !w.open {
			w.open = true
			w.besideVar, w.beforeVar = w.excess.above(besideNoise), w.drift.above(beforeNoise)
		}
		w.new.put(fresh.waits, fresh.slow.all)
		if beside {
			w.ref.put(old.waits, old.slow.all)
		}
		switch {
		case w.new.n < leastRanked:
		case beside && w.ref.n >= leastRanked && w.ref.n*lopsided >= w.new.n:
			d := w.new.above(w.ref.latencies, w.times, w.plus) - 0.5
			w.bet(d, rankVariance(w.new.n, w.ref.n)+w.besideVar)
			w.end(time, true)
		case !beside || w.new.n >= starved*leastRanked:
			if w.nOld >= worstAll {
				d := w.new.above(w.old, w.times*beforeSlower, w.plus) - 0.5
				w.bet(d, rankVariance(w.new.n, w.nOld)+w.beforeVar)
			}
			w.end(time, false)
		}
	}
	w.learn(old.waits, old.slow.all)
}

// learn adds a second of the old release to what is known of it. To compare each with the one before would cost more and
// say little more.
func (w *waits) learn(old latencies, n float64) {
	if n >= leastRanked {
		switch w.turn++; w.turn % noiseEvery {
		case 1:
			w.last, w.nLast = old, n
		case 2:
			w.excess.add(old.above(w.last, 1, 0)-0.5, rankVariance(n, w.nLast))
		case 3:
			if w.nOld >= worstAll {
				w.drift.add(old.above(w.old, 1, 0)-0.5, rankVariance(n, w.nOld))
			}
		}
	}
	w.old.add(old)
	w.nOld += n
}

// slow is the wait from which on a request is slow, whatever the others are: twice the tolerated slowdown of what nine of
// ten do not exceed. It is 0 while that is not known.
func (w *waits) slow() api.Duration {
	if w.nOld < worstAll {
		return 0
	}
	if w.asOf < w.nOld-worstAll && w.asOf < w.nOld*0.98 { // it hardly changes
		w.asOf, w.limit = w.nOld, api.Duration(slowTimes*w.times*float64(w.old.upTo(usualShare))+w.plus)
	}
	return w.limit
}

func (w *waits) bet(d, variance float64) {
	var gains [degrees]float64
	for k, mean := range slower {
		gains[k] = gain((mean*d-mean*mean/2)/variance, rankMost)
	}
	w.purse.play(&gains)
	w.blocks++
}

func (w *waits) end(time int64, beside bool) {
	if c := w.purse.capital(); c < w.lowest {
		w.lowest, w.stretch = c, stretch{beside: beside}
	} else {
		w.stretch.new.all, w.stretch.old.all = w.stretch.new.all+w.new.n, w.stretch.old.all+w.ref.n
		w.stretch.to, w.stretch.beside = time, beside
	}
	w.open = false
	w.new.clear()
	w.ref.clear()
}
