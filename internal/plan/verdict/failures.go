package verdict

import "math"

// The bets on failures. Their idea is that of Turner, Ly and Grünwald (2024, 2023), in the form of a bet: of each
// request of the new release that fails one gains A·(1−u), of each that does not one loses A·u, and of the requests of
// the old release the other way round with B and t, all multiplied up:
//
//	e = (1+A(1−u))^bad₁ · (1−Au)^good₁ · (1−B(1−t))^bad₂ · (1+Bt)^good₂
//
// Where u = t+δ and n₁A = n₂B this is fair against every pair of ratios with θ₁ ≤ θ₂+δ, whatever θ₂ is and however it
// changes from block to block, since the expectation's logarithm is
//
//	n₁·ln(1+A(θ₁−u)) + n₂·ln(1−B(θ₂−t)) ≤ n₁A(θ₁−u) − n₂B(θ₂−t) = n₁A(θ₁−θ₂−δ) ≤ 0.
//
// The same line with the ratios that were seen in place of θ shows more: a block in which the new release did not fail
// by more than δ more often never adds to the capital. Nothing here asks what the old release usually does: what hits
// both at once cancels out.
//
// Requests of one second are not independent. So the number of requests is divided by the design effect, as far as
// it shows, which keeps bets fair (the expectation of a root is at most the root of the expectation); and however clear
// one block is, it gains only so much: two blocks are needed at least, since one second may be bad by chance.
//
// Against an earlier baseline the bet is the likelihood ratio of the new release's requests against the highest ratio
// that is still to be expected of the old one; see record.bound.

// worse are the degrees that are bet on: how much of the way from what is tolerated to "everything fails".
var worse = [degrees]float64{0.012, 0.045, 0.12, 0.35, 0.95}

const (
	// manyMost, besideMost and beforeMost bound the logarithm of what one block gains: where nearly all requests fail (many
	// of them), at the same time, and against an earlier baseline. About 9 are needed; so two blocks are, and else three.
	// The old release's clustering makes it less, but not less than leastMost.
	manyMost, besideMost, beforeMost, leastMost = 6, 4, 3, 0.7

	// Nearly all requests of a block fail from many on, unless more than few of the old release's fail at the same time, and
	// not just one: in a burst that hits both, one of them may by chance fail everything for a second.
	many, few = 0.9, 0.1

	// An old release with less than one request to so many of the new one is no baseline at the same time.
	lopsided = 40

	// starved is how many requests of the new release are held back until the old one has some, before they are compared
	// with its earlier ones.
	starved = 20

	// Against an earlier baseline a release may fail by so much more, since time has passed too: half of the old
	// ratio, and half of the tolerated difference.
	beforeRatio, beforeDifference = 1.5, 1.5

	// verifying is the difference that must have been ruled out for a release to pass.
	verifying = 0.05

	// mostVerified bounds the logarithm of the capital against harm, so that it is soon lost again.
	mostVerified = 14
)

// failures is the sequential test of the ratio of failed requests.
type failures struct {
	difference float64 // tolerated
	probes     tally   // of the old release

	old      record
	pairs    pairs
	purse    purse
	verified float64 // logarithm of the capital of somebody who bets that there is no harm

	open     bool // a block is
	at       stakeout
	new, ref tally // of the open block

	blocks  int
	lowest  float64 // capital
	stretch stretch // since then
}

// stakeout is what bets are made of; it must be known before the block.
type stakeout struct {
	usual          float64 // ratio of the old release
	beside, before float64 // clustering, at the same time and at different ones
	abrupt         float64 // clustering of the old release's seconds alone
}

// step adds a second. A block ends with it when it has requests of both releases, or when there is no use in waiting for
// the old one's.
func (f *failures) step(time int64, fresh, old tally, beside bool) {
	f.stretch.seconds++
	if fresh.all > 0 || old.all > 0 && beside {
		if !f.open {
			f.open, f.at = true, f.stakeout()
		}
		f.new = f.new.plus(fresh)
		if beside {
			f.ref = f.ref.plus(old)
		}
		switch {
		case f.new.all == 0:
		case beside && f.ref.all > 0 && f.ref.all*lopsided >= f.new.all:
			f.beside()
			f.pairs.learn(f.new, f.ref)
			f.end()
		case !beside || f.new.all >= starved:
			f.before()
			f.end()
		}
	}
	f.old.learn(time, old)
}

func (f *failures) stakeout() stakeout {
	abrupt := f.old.abrupt()
	return stakeout{usual: f.old.usual(), beside: f.pairs.clustering(abrupt), before: f.old.clustering(), abrupt: abrupt}
}

func (f *failures) end() {
	f.blocks++
	f.stretch.new, f.stretch.old = f.stretch.new.plus(f.new), f.stretch.old.plus(f.ref)
	if c := f.purse.capital(); c < f.lowest {
		f.lowest, f.stretch = c, stretch{}
	}
	f.open, f.new, f.ref = false, tally{}, tally{}
}

// beside bets on a block in which both releases answered.
func (f *failures) beside() {
	f.stretch.beside = true
	a2, d := min(f.at.usual, 0.99-f.difference), f.difference
	n1, n2 := f.new.all, f.ref.all
	most := f.most(besideMost, f.at.beside)
	var gains [degrees]float64
	for k, w := range worse {
		a1 := a2 + d + w*(1-a2-d)*0.99
		t := (n1*(a1-d) + n2*a2) / (n1 + n2)
		u := t + d
		a := (a1 - u) / (u * (1 - u))
		b := a * n1 / n2
		if limit := 0.99 / (1 - t); b > limit {
			a, b = a*limit/b, limit
		}
		log := growth(f.new.bad, a*(1-u)) + growth(n1-f.new.bad, -a*u) + growth(f.ref.bad, -b*(1-t)) + growth(n2-f.ref.bad, b*t)
		gains[k] = gain(log/f.at.beside, most)
	}
	f.purse.play(&gains)

	// The other way round, for θ₁ ≥ θ₂+verifying.
	t := max(a2-verifying*n1/(n1+n2), 1e-4)
	u := min(t+verifying, 0.99)
	t = u - verifying
	a := max(u-a2, 0) / (u * (1 - u))
	b := a * n1 / n2
	if limit := 0.99 / t; b > limit {
		a, b = a*limit/b, limit
	}
	if limit := 0.99 / (1 - u); a > limit {
		a, b = limit, b*limit/a
	}
	f.verify(growth(f.new.bad, -a*(1-u))+growth(n1-f.new.bad, a*u)+growth(f.ref.bad, b*(1-t))+growth(n2-f.ref.bad, -b*t), f.at.beside)
}

// before bets on a block in which only the new release answered: that it fails more often than is to be expected of the
// old one.
func (f *failures) before() {
	f.stretch.beside = false
	u := f.limit()
	n := f.new.all
	if u >= 0.99 {
		return
	}
	most := f.most(beforeMost, f.at.abrupt)
	var gains [degrees]float64
	for k, w := range worse {
		a := w / u // (a₁−u)/(u(1−u)), with a₁ = u+w(1−u)
		log := growth(f.new.bad, a*(1-u)) + growth(n-f.new.bad, -w)
		gains[k] = gain(log/f.at.before, most)
	}
	f.purse.play(&gains)

	p := f.old.total.ratio()
	u = min(p+verifying, 0.99)
	f.verify(f.new.bad*math.Log(0.99*p/u+0.01)+(n-f.new.bad)*math.Log(0.99*(1-p)/(1-u)+0.01), f.at.before)
}

// growth gives the logarithm of (1+x)ⁿ.
func growth(n, x float64) float64 {
	if n == 0 {
		return 0
	}
	return n * math.Log(1+x) // Log1p takes three times as long, and is no better where it matters
}

// limit is the ratio of failed requests that is tolerated against an earlier baseline.
func (f *failures) limit() float64 {
	return min(f.old.bound(f.probes)*beforeRatio+f.difference*beforeDifference, 1)
}

// most is the highest logarithm of what the open block may gain, where it is calm when requests are independent.
func (f *failures) most(calm, clustering float64) float64 {
	if f.new.ratio() >= many && (f.ref.bad <= 1 || f.ref.ratio() <= few) {
		return manyMost
	}
	return max(calm/math.Sqrt(clustering), leastMost)
}

func (f *failures) verify(log, clustering float64) {
	log = min(log/clustering, besideMost)
	f.verified = min(max(f.verified+log, -mostVerified), mostVerified)
}
