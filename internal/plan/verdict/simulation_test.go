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
	rate  float64       // requests a second, of both releases together
	share float64       // of the new one while both serve
	ratio float64       // of requests that fail
	waits *distribution // nil is that they are not known, where seconds are independent
	rough bool          // seconds are not independent: see roughness
	known int           // seconds that are known of the old release before the new one came; 0 is historySeconds, and -1 none
	alone int           // the second from which on the old release is gone; 0 is never, and -1 is from the beginning

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
	waits map[int]*alias // by hundredths of the logarithm of a factor
	steps map[flow]*spectrum
}

// flow is how many waits there are in a second, and how many hundredths of a logarithm longer than usual they are.
type flow struct {
	rate   float64
	factor int
}

func normal(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }

func logNormal(median time.Duration, sigma float64) func(float64) float64 {
	return func(d float64) float64 { return normal(math.Log(d/float64(median)) / sigma) }
}

// distributions are fresh at every call, since their tables are not safe for concurrent use.
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

// hundredths gives the logarithm of a factor, rounded so that there are few tables.
func hundredths(factor float64) int { return int(math.Round(100 * math.Log(factor))) }

// chances gives the chance of each bucket for waits that are longer by so many hundredths.
func (d *distribution) chances(factor int) []float64 {
	times := math.Exp(float64(factor) / 100)
	c, last := make([]float64, len(bounds)), 0.0
	for i, b := range bounds {
		p := 1.0
		if i < len(bounds)-1 {
			p = d.cdf(float64(b) / times)
		}
		c[i], last = p-last, p
	}
	return c
}

// wait draws the buckets of single waits.
func (d *distribution) wait(factor int) *alias {
	a := d.waits[factor]
	if a == nil {
		if d.waits == nil {
			d.waits = map[int]*alias{}
		}
		a = newAlias(0, d.chances(factor))
		d.waits[factor] = a
	}
	return a
}

// spectrum draws the waits of a second by bucket: the parts of a Poisson number are Poisson and independent. It takes a
// draw a bucket and not one a wait.
type spectrum struct {
	all     *alias // number of waits, where they are few
	buckets []int
	numbers []*alias // of each of buckets
	rare    *alias   // number of waits in all other buckets
	which   *alias   // of them a wait is in
}

const (
	// fewWaits is below how many waits a second they are drawn one by one.
	fewWaits = 30

	// rareWaits is below how many waits a second a bucket is not drawn by itself.
	rareWaits = 0.05
)

func (d *distribution) spectrum(f flow) *spectrum {
	if s := d.steps[f]; s != nil {
		return s
	}
	if d.steps == nil {
		d.steps = map[flow]*spectrum{}
	}
	s := &spectrum{}
	d.steps[f] = s
	if f.rate < fewWaits {
		s.all, s.which = poissonAlias(f.rate), d.wait(f.factor)
		return s
	}
	others, sum := d.chances(f.factor), 0.0
	for b, c := range others {
		if c*f.rate >= rareWaits {
			s.buckets, s.numbers = append(s.buckets, b), append(s.numbers, poissonAlias(c*f.rate))
			others[b] = 0
		} else {
			sum += c * f.rate
		}
	}
	s.rare, s.which = poissonAlias(sum), newAlias(0, others)
	return s
}

// histogram is how many waits are in each of bounds.
type histogram struct {
	counts      [128]uint64
	first, last int // bucket that may have any
}

func (h *histogram) put(bucket int, n uint64) {
	h.counts[bucket] += n
	h.first, h.last = min(h.first, bucket), max(h.last, bucket)
}

func (h *histogram) single(r *rand.Rand, n uint64, of *alias) {
	for range n {
		h.put(int(of.draw(r)), 1)
	}
}

func (s *spectrum) draw(r *rand.Rand, h *histogram) {
	if s.all != nil {
		h.single(r, s.all.draw(r), s.which)
		return
	}
	for i, b := range s.buckets {
		h.put(b, s.numbers[i].draw(r))
	}
	h.single(r, s.rare.draw(r), s.which)
}

// stage is the memory of deployments that are simulated one after the other.
type stage struct {
	input         Input
	buckets       []Bucket
	counts        histogram
	old, new, bad source // bad is the new release from the onset of harm on
}

// source is a release of which all seconds are alike, but for chance.
type source struct {
	waits       *distribution
	rate, times float64
	*spectrum
	failing
}

func (o *source) requests(r *rand.Rand, rate float64) uint64 {
	if o.waits != nil || o.rate != rate {
		o.waits, o.rate, o.spectrum = nil, rate, &spectrum{all: poissonAlias(rate)}
	}
	return o.spectrum.all.draw(r)
}

func (o *source) histogram(r *rand.Rand, h *histogram, waits *distribution, rate, times float64) {
	if o.waits != waits || o.rate != rate || o.times != times {
		o.waits, o.rate, o.times, o.spectrum = waits, rate, times, waits.spectrum(flow{rate, hundredths(times)})
	}
	o.spectrum.draw(r, h)
}

// run gives one deployment.
func (w *world) run(r *rand.Rand) Input { return w.on(&stage{}, r) }

// on gives one deployment, in the memory of the one before.
func (w *world) on(s *stage, r *rand.Rand) Input {
	in := &s.input
	*in = Input{From: start, New: Side{Release: 7, Seconds: in.New.Seconds[:0]}, Old: Side{Release: 6, Seconds: in.Old.Seconds[:0]}}
	s.buckets = s.buckets[:0]
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
			second := w.second(s, r, old, &s.old, i, w.rate*load*oldShare, ratio, waits, 0)
			if i >= -cmp.Or(max(w.known, 0), historySeconds) && (i >= 0 || w.known >= 0) {
				in.Old.Seconds = append(in.Old.Seconds, second)
			}
		}
		if share > 0 {
			part, from := 0.0, &s.new
			if w.rough {
				waits *= roughSlower
			}
			if i >= w.onset {
				from = &s.bad
				ratio = min(ratio, 1)
				ratio += w.more * (1 - ratio)
				if part = w.part; w.slower > 0 && part == 0 {
					waits *= w.slower
				}
			}
			in.New.Seconds = append(in.New.Seconds, w.second(s, r, fresh, from, i, w.rate*load*share, ratio, waits, part))
		}
	}
	return *in
}

// second draws one second; part of its waits are slower.
func (w *world) second(s *stage, r *rand.Rand, own *roughness, from *source, i int, rate, ratio, waits, part float64) Second {
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
	all, h := Second{Time: start + int64(i)}, &s.counts
	h.first, h.last = len(bounds), -1
	switch {
	case w.waits == nil:
		all.Requests = from.requests(r, rate)
	case !w.rough:
		from.histogram(r, h, w.waits, rate*(1-part), waits)
		if part > 0 {
			w.waits.spectrum(flow{rate * part, hundredths(waits * w.slower)}).draw(r, h)
		}
	default:
		n := poisson(r, rate)
		slower := binomial(r, n, part)
		h.single(r, n-slower, w.waits.wait(hundredths(waits)))
		if slower > 0 {
			h.single(r, slower, w.waits.wait(hundredths(waits*w.slower)))
		}
	}
	first := len(s.buckets)
	for b := h.first; b <= h.last; b++ {
		if n := h.counts[b]; n > 0 {
			s.buckets = append(s.buckets, Bucket{bounds[b], n})
			all.Requests += n
			h.counts[b] = 0
		}
	}
	all.Latency = s.buckets[first:len(s.buckets):len(s.buckets)]
	if w.rough {
		all.Failed = binomial(r, all.Requests, ratio)
	} else {
		all.Failed = from.failing.draw(r, all.Requests, ratio)
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
