package verdict

import "math"

// tally is how many requests there were and how many of them failed.
type tally struct{ all, bad float64 }

func (t tally) plus(o tally) tally { return tally{t.all + o.all, t.bad + o.bad} }

func (t tally) ratio() float64 {
	if t.all == 0 {
		return 0
	}
	return t.bad / t.all
}

// What a record knows of the old release decays and is bounded by these.
const (
	// guess is what is assumed of an old release that has answered nothing yet: as much as 50 requests say of which half
	// a one failed. It only makes bets good or bad, never wrong.
	guessAll, guessBad = 50, 0.5

	// memory is how much of its weight a second has lost a second later: a minute and a half ago counts a third.
	memory = 0.988

	// worstSpan and worstAll are how long a stretch of the old release must be, in seconds and in requests, to count as
	// its worst one.
	worstSpan, worstAll = 10, 100

	// mostClustered bounds the design effect: with more, no release could ever be caught at moderate traffic.
	mostClustered = 4
)

// A record is what is known of the old release's failures up to now, second by second.
type record struct {
	total   tally
	recent  tally   // with older seconds counting less
	squares float64 // sum of bad²/all over seconds
	seconds float64 // with requests

	window []moment // the stretch that ends now
	sum    tally    // of window
	worst  float64  // highest ratio of a stretch
}

type moment struct {
	time int64
	tally
}

// learn adds a second.
func (r *record) learn(time int64, t tally) {
	if t.all == 0 {
		return
	}
	r.total = r.total.plus(t)
	r.recent = tally{r.recent.all*memory + t.all, r.recent.bad*memory + t.bad}
	r.squares += t.bad * t.bad / t.all
	r.seconds++

	r.window = append(r.window, moment{time, t})
	r.sum = r.sum.plus(t)
	for len(r.window) > 1 {
		first := r.window[0]
		if time-r.window[1].time+1 < worstSpan || r.sum.all-first.all < worstAll {
			break
		}
		r.window, r.sum = r.window[1:], tally{r.sum.all - first.all, r.sum.bad - first.bad}
	}
	if time-r.window[0].time+1 >= worstSpan && r.sum.all >= worstAll {
		r.worst = max(r.worst, r.sum.ratio())
	}
}

// usual is the ratio of failed requests that is to be expected of the old release in the next second.
func (r *record) usual() float64 {
	return (r.recent.bad + guessBad) / (r.recent.all + guessAll)
}

// clustering is how much more the failures of the seconds scatter than independent ones would, at least 1: Pearson's
// χ² over its degrees of freedom. It is the design effect of Rao and Scott (1992): so many requests say as much as one
// independent one.
func (r *record) clustering() float64 {
	p := r.total.ratio()
	if r.seconds < 2 || p <= 0 || p >= 1 {
		return 1
	}
	chi := (r.squares - r.total.bad*p) / (p * (1 - p))
	return min(max(chi/(r.seconds-1), 1), mostClustered)
}

// sure is how many standard errors above what was seen of the old release its ratio may really be.
const sure = 3

// bound is the highest ratio of failed requests that is to be expected of the old release at another time: that of its
// worst stretch, or else the upper end of Wilson's interval; 1 when nothing is known. Probes are requests as well, but
// of them only so many count as make a difference where there is no traffic.
func (r *record) bound(probes tally) float64 {
	t := r.total
	if t.all < worstAll {
		t = t.plus(probes)
	}
	n := t.all / r.clustering()
	if n == 0 {
		return 1
	}
	p := t.ratio()
	upper := (p + sure*sure/(2*n) + sure*math.Sqrt(p*(1-p)/n+sure*sure/(4*n*n))) / (1 + sure*sure/n)
	return min(max(upper, r.worst), 1)
}
