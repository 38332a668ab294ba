package verdict

import (
	"cmp"
	"math"
	"math/rand/v2"
	"time"

	"github.com/ikada/ikada/api"
)

// world is an environment whose releases are simulated second by second, with the buckets of the balancer's meters.
type world struct {
	rate  float64 // requests a second, of both releases together
	share float64 // of the new one while both serve
	ratio float64 // of requests that fail
	waits *distribution
	rough bool // seconds are not independent: see roughness
	blind bool // nothing is known of the old release before the new one came
	alone int  // the second from which on the old release is gone; 0 is never, and -1 is from the beginning

	// What the new release does worse, from the second onset on.
	more   float64 // of its requests fail in addition
	slower float64 // times as long waits; 0 is 1
	part   float64 // of its requests that are slower; 0 is all
	onset  int
	bake   int // seconds; 0 is bakeSeconds
}

// What is harmless, and all the same not independent and identical.
const (
	historySeconds = 300
	bakeSeconds    = 600

	// Load, failures and waits drift by up to so much in ten minutes, up or down in a straight line of their logarithms,
	// and swing around it from second to second, with a memory of some seconds.
	driftLoad, driftRatio, driftWaits = 0.4, 0.4, 0.2
	swing                             = 0.1
	inertia                           = 0.8

	// The ratio of failures of a second is the usual one times a gamma variable of so many degrees for both releases,
	// and times another for each: 0.5 and 0.2 are their variances.
	commonShape, ownShape = 2, 5

	// Once in a minute on average, both fail five times as often for two seconds on average.
	burstEvery, burstLength, burstTimes = 60, 2, 5

	// Once in a minute on average, each release pauses for a second in which all takes three times as long.
	pauseEvery, pauseTimes = 60, 3

	// A harmless new release is a little slower.
	roughSlower = 1.1
)

// distribution gives the chances of waits by bucket.
type distribution struct {
	name  string
	cdf   func(d float64) float64
	cache map[int][]float64 // by hundredths of the logarithm of a factor → chance of each bucket
}

func normal(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }

func logNormal(median time.Duration, sigma float64) func(float64) float64 {
	return func(d float64) float64 { return normal(math.Log(d/float64(median)) / sigma) }
}

// distributions are fresh at every call, since their caches are not safe for concurrent use.
func distributions() []*distribution {
	fast, slow := logNormal(5*time.Millisecond, 0.3), logNormal(60*time.Millisecond, 0.3)
	return []*distribution{
		{name: "log-normal", cdf: logNormal(20*time.Millisecond, 0.6)},
		{name: "exponential", cdf: func(d float64) float64 { return -math.Expm1(-d / float64(20*time.Millisecond)) }},
		{name: "bimodal", cdf: func(d float64) float64 { return 0.8*fast(d) + 0.2*slow(d) }},
	}
}

// bounds are the buckets of the balancer's meters (internal/proxy/meter/histogram.go), with which planners have nothing
// to do: 33 µs to 137 s, each power of two in five steps.
var bounds = func() (all []api.Duration) {
	for e := 15; e < 37; e++ {
		for step := range int64(5) {
			all = append(all, api.Duration(int64(1)<<e+(step<<e+4)/5))
		}
	}
	return append(all, 1<<37, math.MaxInt64)
}()

// chances gives the chance of each bucket for waits that are factor times as long.
func (d *distribution) chances(factor float64) []float64 {
	if d.cache == nil {
		d.cache = map[int][]float64{}
	}
	key := int(math.Round(100 * math.Log(factor)))
	if c, ok := d.cache[key]; ok {
		return c
	}
	factor = math.Exp(float64(key) / 100)
	c, last := make([]float64, len(bounds)), 0.0
	for i, b := range bounds {
		p := 1.0
		if i < len(bounds)-1 {
			p = d.cdf(float64(b) / factor)
		}
		c[i], last = p-last, p
	}
	d.cache[key] = c
	return c
}

// run gives one deployment.
func (w *world) run(r *rand.Rand) Input {
	in := Input{From: start, New: Side{Release: 7}, Old: Side{Release: 6}}
	if w.alone != 0 {
		in.Until = start + int64(max(w.alone, 0)) - 1
	}
	common, fresh, old := &roughness{r: r, drift: 2*r.Float64() - 1}, &roughness{r: r}, &roughness{r: r}
	for i := -historySeconds; i < cmp.Or(w.bake, bakeSeconds); i++ {
		load, ratio, waits := 1.0, w.ratio, 1.0
		if w.rough {
			common.step()
			at := common.drift * float64(i) / bakeSeconds
			load = math.Exp(driftLoad*at + common.load)
			ratio *= math.Exp(driftRatio*at) * gamma(r, commonShape) / commonShape
			waits = math.Exp(driftWaits*at + common.waits)
			if common.burst > 0 {
				ratio *= burstTimes
			}
		}
		share, oldShare := w.share, 1-w.share
		switch {
		case i < 0:
			share, oldShare = 0, 1
		case w.alone != 0 && i >= w.alone:
			share, oldShare = 1, 0
		}
		if oldShare > 0 {
			in.Old.Seconds = append(in.Old.Seconds, w.second(r, old, i, w.rate*load*oldShare, ratio, waits, 0))
		}
		if share > 0 {
			part := 0.0
			if w.rough {
				waits *= roughSlower
			}
			if i >= w.onset {
				ratio = min(ratio, 1)
				ratio += w.more * (1 - ratio)
				if part = w.part; w.slower > 0 && part == 0 {
					waits *= w.slower
				}
			}
			in.New.Seconds = append(in.New.Seconds, w.second(r, fresh, i, w.rate*load*share, ratio, waits, part))
		}
	}
	if w.blind {
		in.Old.Seconds = in.Old.Seconds[historySeconds:]
	}
	return in
}

func (w *world) second(r *rand.Rand, own *roughness, i int, rate, ratio, waits, part float64) Second {
	if w.rough {
		own.step()
		waits *= math.Exp(own.waits)
		if r.Float64() < 1.0/pauseEvery {
			waits *= pauseTimes
		}
		if ratio < 0.5 {
			ratio *= gamma(r, ownShape) / ownShape
		}
	}
	s := Second{Time: start + int64(i)}
	chances := w.waits.chances(waits)
	if part > 0 {
		chances = mixed(chances, w.waits.chances(waits*w.slower), part)
	}
	if rate < 20 {
		s.Latency = fewWaits(r, chances, poisson(r, rate))
	} else {
		for b, c := range chances { // the parts of a Poisson number are Poisson and independent
			if rate*c > 1e-4 {
				if n := poisson(r, rate*c); n > 0 {
					s.Latency = append(s.Latency, Bucket{bounds[b], n})
				}
			}
		}
	}
	for _, b := range s.Latency {
		s.Requests += b.N
	}
	s.Failed = binomial(r, s.Requests, min(ratio, 1))
	return s
}

func mixed(a, b []float64, part float64) []float64 {
	c := make([]float64, len(a))
	for i := range a {
		c[i] = (1-part)*a[i] + part*b[i]
	}
	return c
}

func fewWaits(r *rand.Rand, chances []float64, n uint64) (all []Bucket) {
	var counts [128]uint64
	for range n {
		x, b := r.Float64(), 0
		for ; b < len(chances)-1 && x >= chances[b]; b++ {
			x -= chances[b]
		}
		counts[b]++
	}
	for b, c := range counts {
		if c > 0 {
			all = append(all, Bucket{bounds[b], c})
		}
	}
	return all
}

// roughness is what makes the seconds of a rough world depend on each other.
type roughness struct {
	r           *rand.Rand
	drift       float64
	load, waits float64
	burst       int
}

func (o *roughness) step() {
	fresh := swing * math.Sqrt(1-inertia*inertia)
	o.load = inertia*o.load + fresh*o.r.NormFloat64()
	o.waits = inertia*o.waits + fresh*o.r.NormFloat64()
	switch {
	case o.burst > 0 && o.r.Float64() < 1.0/burstLength:
		o.burst = 0
	case o.burst == 0 && o.r.Float64() < 1.0/burstEvery:
		o.burst = 1
	}
}

func poisson(r *rand.Rand, mean float64) uint64 {
	if mean > 30 { // Hörmann's transformed rejection (PTRS, 1993)
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
			lg, _ := math.Lgamma(k + 1)
			if math.Log(v)+math.Log(inverse)-math.Log(a/(us*us)+b) <= k*math.Log(mean)-mean-lg {
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

func binomial(r *rand.Rand, n uint64, p float64) (k uint64) {
	switch {
	case p <= 0:
		return 0
	case p > 0.5:
		return n - binomial(r, n, 1-p)
	}
	for q := math.Log1p(-p); ; k++ { // by the gaps between successes
		gap := uint64(min(math.Log(1-r.Float64())/q, 1e15))
		if gap >= n {
			return k
		}
		n -= gap + 1
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
		if math.Log(1-r.Float64()) < 0.5*x*x+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}
