package verdict

// pairs is how far the difference of two releases' ratios scatters from one block to the next, where both answered: what
// hits both at once, however hard, is no part of it. Differences between neighbours are taken (von Neumann 1941), so that
// a difference which stays is no part of it either.
type pairs struct {
	new, old tally   // of the last block
	sum, n   float64 // of squares over what they would be, were requests independent
}

const (
	// trusted is how many pairs of blocks count as much as what the old release's history says.
	trusted = 10

	// mostAssumed bounds what its history says: for the most part what was seen there hit both, or would have.
	mostAssumed = 4

	// mostPaired bounds what one pair of blocks says, so that the one in which a release begins to fail is not taken for
	// noise.
	mostPaired = 40
)

// learn adds a block. What is to be expected is reckoned for each release by itself, from what it answered in both
// blocks: a release that fails steadily, and so scatters more than the other, is no sign of clustering.
func (p *pairs) learn(fresh, old tally) {
	last, lastOld := p.new, p.old
	p.new, p.old = fresh, old
	if last.all == 0 {
		return
	}
	expected := scattered(fresh, last) + scattered(old, lastOld)
	if expected == 0 { // as calm as can be
		p.sum, p.n = p.sum+1, p.n+1
		return
	}
	d := (fresh.ratio() - old.ratio()) - (last.ratio() - lastOld.ratio())
	p.sum, p.n = p.sum+min(d*d/expected, mostPaired), p.n+1
}

// scattered is the variance of the difference of two ratios, were requests independent and the ratios really the same.
func scattered(a, b tally) float64 {
	ratio := a.plus(b).ratio()
	return ratio * (1 - ratio) * (1/a.all + 1/b.all)
}

// clustering is the design effect of blocks at the same time, given that of the old release's seconds, at least 1.
func (p *pairs) clustering(history float64) float64 {
	return max((min(history, mostAssumed)*trusted+p.sum)/(trusted+p.n), 1)
}
