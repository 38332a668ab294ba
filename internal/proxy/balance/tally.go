package balance

// tally counts answers.
type tally struct {
	all int
	bad int // of them: 5xx, and requests that failed
}

func (t tally) plus(o tally) tally  { return tally{t.all + o.all, t.bad + o.bad} }
func (t tally) minus(o tally) tally { return tally{t.all - o.all, t.bad - o.bad} }

// mostlyBad tells whether at least half are bad.
func (t tally) mostlyBad() bool { return t.bad > 0 && 2*t.bad >= t.all }

// mostlyGood tells whether at most a quarter are bad.
func (t tally) mostlyGood() bool { return 4*t.bad <= t.all }

// clearlyWorse tells whether a member has a far larger part of bad answers than the others: twice as large, and not by
// chance. For the latter it takes 4.5 standard errors of the difference of two proportions (Fleiss, "Statistical
// Methods for Rates and Proportions", chapter 3), since each pool is judged ten times a second.
func clearlyWorse(own, others tally) bool {
	if own.all == 0 || others.all == 0 {
		return false
	}
	n1, n2 := float64(own.all), float64(others.all)
	p1, p2 := float64(own.bad)/n1, float64(others.bad)/n2
	if p1 == 0 || 2*p2 > p1 {
		return false
	}
	both := float64(own.bad+others.bad) / (n1 + n2)
	return (p1-p2)*(p1-p2) >= 4.5*4.5*both*(1-both)*(1/n1+1/n2)
}
