package verdict

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
)

// alias draws one of few numbers in constant time (Walker 1977, with Vose's tables of 1991): of the column that the upper
// part of 64 random bits choose, the lower part choose between two numbers.
type alias struct {
	first uint64 // number of the first column
	keep  []uint64
	other []uint32
}

// newAlias makes the tables for weights of the numbers from first on. They need not sum up to 1.
func newAlias(first uint64, weights []float64) *alias {
	n := len(weights)
	a := &alias{first: first, keep: make([]uint64, n), other: make([]uint32, n)}
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	scaled := make([]float64, n)
	var small, large []int
	for i, w := range weights {
		if scaled[i] = w / sum * float64(n); scaled[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.keep[s], a.other[s] = uint64(scaled[s]*(1<<63))<<1, uint32(l)
		if scaled[l] -= 1 - scaled[s]; scaled[l] < 1 {
			large, small = large[:len(large)-1], append(small, l)
		}
	}
	for _, rest := range [][]int{small, large} {
		for _, i := range rest {
			a.keep[i], a.other[i] = math.MaxUint64, uint32(i)
		}
	}
	return a
}

func (a *alias) draw(r *rand.Rand) uint64 {
	column, rest := bits.Mul64(r.Uint64(), uint64(len(a.keep)))
	if rest < a.keep[column] {
		return a.first + column
	}
	return a.first + uint64(a.other[column])
}

// negligible is a chance that no number of simulations meets.
const negligible = 1e-18

// chancesAround gives the chances of the numbers around a middle one, given the logarithm of each one's, as long as they
// are not negligible, and the first of the numbers.
func chancesAround(middle, most uint64, log func(k float64) float64) (first uint64, chances []float64) {
	least := math.Log(negligible)
	first, last := middle, middle
	for first > 0 && log(float64(first-1)) > least {
		first--
	}
	for last < most && log(float64(last+1)) > least {
		last++
	}
	for k := first; k <= last; k++ {
		chances = append(chances, math.Exp(log(float64(k))))
	}
	return first, chances
}

func logFactorial(k float64) float64 { v, _ := math.Lgamma(k + 1); return v }

// poissonAlias draws Poisson numbers of one mean above 0.
func poissonAlias(mean float64) *alias {
	return newAlias(chancesAround(uint64(mean), math.MaxUint64, func(k float64) float64 {
		return k*math.Log(mean) - mean - logFactorial(k)
	}))
}

// binomialAlias draws binomial numbers of one n and p between 0 and 1.
func binomialAlias(n uint64, p float64) *alias {
	all := float64(n)
	return newAlias(chancesAround(uint64(all*p), n, func(k float64) float64 {
		return logFactorial(all) - logFactorial(k) - logFactorial(all-k) + k*math.Log(p) + (all-k)*math.Log1p(-p)
	}))
}

// failing draws how many of n requests fail, many times for the same ratio.
type failing struct {
	ratio float64
	byN   []*alias
}

// mostTables bounds the memory of a failing.
const mostTables = 4000

func (f *failing) draw(r *rand.Rand, n uint64, ratio float64) uint64 {
	switch {
	case n == 0 || ratio <= 0:
		return 0
	case ratio >= 1:
		return n
	case n >= mostTables:
		return binomial(r, n, ratio)
	}
	if f.ratio != ratio {
		*f = failing{ratio: ratio, byN: make([]*alias, mostTables)}
	}
	if f.byN[n] == nil {
		f.byN[n] = binomialAlias(n, ratio)
	}
	return f.byN[n].draw(r)
}

// poisson draws a Poisson number of any mean.
func poisson(r *rand.Rand, mean float64) uint64 {
	if mean > 12 { // Hörmann's transformed rejection (PTRS, 1993)
		b := 0.931 + 2.53*math.Sqrt(mean)
		a := -0.059 + 0.02483*b
		inverse := 1.1239 + 1.1328/(b-3.4)
		vr := 0.9277 - 3.6224/(b-2)
		for {
			u, v := r.Float64()-0.5, r.Float64()
			us := 0.5 - math.Abs(u)
			k := math.Floor((2*a/us+b)*u + mean + 0.43)
			if us >= 0.07 && v <= vr {
				return uint64(k)
			}
			if k < 0 || us < 0.013 && v > us {
				continue
			}
			if math.Log(v)+math.Log(inverse)-math.Log(a/(us*us)+b) <= k*math.Log(mean)-mean-logFactorial(k) {
				return uint64(k)
			}
		}
	}
	n, p, limit := uint64(0), r.Float64(), math.Exp(-mean)
	for ; p > limit; n++ {
		p *= r.Float64()
	}
	return n
}

// binomial draws a binomial number of any n and p.
func binomial(r *rand.Rand, n uint64, p float64) uint64 {
	all := float64(n)
	switch {
	case p <= 0 || n == 0:
		return 0
	case p >= 1:
		return n
	case p > 0.5:
		return n - binomial(r, n, 1-p)
	case all*p < 12: // by inversion
		odds := p / (1 - p)
		for {
			u, chance := r.Float64(), math.Exp(all*math.Log1p(-p))
			for k := 0.0; k <= all && k < 200; k++ {
				if u -= chance; u < 0 {
					return uint64(k)
				}
				chance *= odds * (all - k) / (k + 1)
			}
		}
	}
	// Hörmann's transformed rejection (BTRS, 1993)
	spread := math.Sqrt(all * p * (1 - p))
	b := 1.15 + 2.53*spread
	a := -0.0873 + 0.0248*b + 0.01*p
	c := all*p + 0.5
	vr := 0.92 - 4.2/b
	for {
		u, v := r.Float64()-0.5, r.Float64()
		us := 0.5 - math.Abs(u)
		k := math.Floor((2*a/us+b)*u + c)
		if us >= 0.07 && v <= vr {
			return uint64(k)
		}
		if k < 0 || k > all {
			continue
		}
		scale := (2.83 + 5.1/b) * spread
		mode := math.Floor((all + 1) * p)
		if math.Log(v*scale/(a/(us*us)+b)) <= (k-mode)*math.Log(p/(1-p))+logFactorial(mode)+logFactorial(all-mode)-logFactorial(k)-logFactorial(all-k) {
			return uint64(k)
		}
	}
}

// gamma is Marsaglia and Tsang's method (2000), for shapes of 1 and above.
func gamma(r *rand.Rand, shape float64) float64 {
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := r.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if u := 1 - r.Float64(); u < 1-0.0331*x*x*x*x || math.Log(u) < 0.5*x*x+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// TestDraws compares how often numbers are drawn with how often they should be, by Pearson's χ².
func TestDraws(t *testing.T) {
	poissonChance := func(mean float64) func(k float64) float64 {
		return func(k float64) float64 { return math.Exp(k*math.Log(mean) - mean - logFactorial(k)) }
	}
	binomialChance := func(n, p float64) func(k float64) float64 {
		return func(k float64) float64 {
			if k > n {
				return 0
			}
			return math.Exp(logFactorial(n) - logFactorial(k) - logFactorial(n-k) + k*math.Log(p) + (n-k)*math.Log1p(-p))
		}
	}
	r := rand.New(rand.NewPCG(5, 1)) // the order of the cases counts
	var some failing
	seven, few, ten := poissonAlias(7), newAlias(2, []float64{1, 0, 4, 5}), binomialAlias(10, 0.3)
	for _, tt := range []struct {
		what   string
		draw   func() uint64
		chance func(k float64) float64
	}{
		{"alias", func() uint64 { return few.draw(r) }, func(k float64) float64 { return map[float64]float64{2: 0.1, 4: 0.4, 5: 0.5}[k] }},
		{"Poisson alias", func() uint64 { return seven.draw(r) }, poissonChance(7)},
		{"binomial alias", func() uint64 { return ten.draw(r) }, binomialChance(10, 0.3)},
		{"few Poisson", func() uint64 { return poisson(r, 3) }, poissonChance(3)},
		{"many Poisson", func() uint64 { return poisson(r, 40) }, poissonChance(40)},
		{"few binomial", func() uint64 { return binomial(r, 50, 0.1) }, binomialChance(50, 0.1)},
		{"many binomial", func() uint64 { return binomial(r, 200, 0.3) }, binomialChance(200, 0.3)},
		{"most binomial", func() uint64 { return binomial(r, 100, 0.9) }, binomialChance(100, 0.9)},
		{"failing", func() uint64 { return some.draw(r, 100, 0.05) }, binomialChance(100, 0.05)},
		{"failing of a huge", func() uint64 { return some.draw(r, mostTables, 0.001) }, binomialChance(mostTables, 0.001)},
	} {
		const n, classes = 200_000, 300
		var got [classes]float64
		for range n {
			got[min(tt.draw(), classes-1)]++
		}
		square, cells, rest, restGot := 0.0, 0.0, 0.0, 0.0
		for k := range got {
			switch want := n * tt.chance(float64(k)); {
			case want < 10:
				rest, restGot = rest+want, restGot+got[k]
			default:
				square, cells = square+(got[k]-want)*(got[k]-want)/want, cells+1
			}
		}
		if rest > 1 {
			square, cells = square+(restGot-rest)*(restGot-rest)/rest, cells+1
		} else if restGot > 5 {
			t.Errorf("%s: %v numbers that are hardly possible", tt.what, restGot)
		}
		if limit := cells + 5*math.Sqrt(2*cells); square > limit {
			t.Errorf("%s: χ² is %.1f, want up to %.1f", tt.what, square, limit)
		}
	}
}
