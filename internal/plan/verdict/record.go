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
	worstSpan, worstAll = 5, 100

	// span is the length in seconds of the pieces by which slow clustering is seen, and leastPieces how many are needed.
	span, leastPieces = 10, 5

	// assumedClustering is what is assumed of an old release of which nothing is known, and assumedSeconds how many seconds
	// count as much as that.
	assumedClustering, assumedSeconds = 4, 3

	// mostClustered bounds the design effect: what is more says nothing but that there are few independent pieces.
	mostClustered = 1000
)

// A record is what is known of the old release's failures up to now, second by second.
type record struct {
	total   tally
	recent  tally   // with older seconds counting less
	seconds scatter // by the second
	pieces  scatter // by span
	piece   tally   // that goes on
	started int64   // when it did

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
	r.seconds.add(t)
	if time-r.started >= span {
		r.pieces.add(r.piece)
		r.piece, r.started = tally{}, time
	}
	r.piece = r.piece.plus(t)

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
		r.worst = max(r.worst, wilson(r.sum, -doubt))
	}
}

// usual is the ratio of failed requests that is to be expected of the old release in the next second.
func (r *record) usual() float64 {
	return (r.recent.bad + guessBad) / (r.recent.all + guessAll)
}

// abrupt is how much more the failures of seconds scatter than independent ones would, at least 1. While few seconds are
// known, some clustering is assumed.
func (r *record) abrupt() float64 {
	seen := max(r.seconds.clustering(2), 1)
	return (r.seconds.n*seen + assumedSeconds*assumedClustering) / (r.seconds.n + assumedSeconds)
}

// clustering is the same of seconds or longer pieces, of which there is more.
func (r *record) clustering() float64 {
	return min(max(r.abrupt(), r.pieces.clustering(leastPieces)), mostClustered)
}

// scatter is what is needed to say how far ratios scatter.
type scatter struct {
	total   tally
	squares float64 // sum of bad²/all
	n       float64
}

func (s *scatter) add(t tally) {
	if t.all > 0 {
		s.total, s.squares, s.n = s.total.plus(t), s.squares+t.bad*t.bad/t.all, s.n+1
	}
}

// clustering is Pearson's χ² of the ratios over its degrees of freedom: the design effect of Rao and Scott (1992), so
// many requests say as much as one independent one. It is 1 with fewer ratios than least.
func (s *scatter) clustering(least float64) float64 {
	p := s.total.ratio()
	if s.n < least || p <= 0 || p >= 1 {
		return 1
	}
	return (s.squares - s.total.bad*p) / (p * (1 - p)) / (s.n - 1)
}

// sure is how many standard errors above what was seen of the old release its ratio may really be; doubt how many the
// worst stretch, which is chosen from hundreds, may owe to chance.
const sure, doubt = 3, 3

// bound is the highest ratio of failed requests that is to be expected of the old release at another time: that of its
// worst stretch, or else the upper end of Wilson's interval; 1 when nothing is known. Where there are few requests,
// probes count as well.
func (r *record) bound(probes tally) float64 {
	c := r.clustering()
	t := tally{r.total.all / c, r.total.bad / c}
	if r.total.all < worstAll {
		t = t.plus(probes)
	}
	if t.all == 0 {
		return 1
	}
	return max(wilson(t, sure), r.worst)
}

// wilson is an end of Wilson's interval for a ratio, z standard errors away from it.
func wilson(t tally, z float64) float64 {
	n, p := t.all, t.ratio()
	return (p + z*z/(2*n) + z*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))) / (1 + z*z/n)
}
