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

// learn adds a block.
func (p *pairs) learn(fresh, old tally) {
	last, lastOld := p.new, p.old
	p.new, p.old = fresh, old
	sum := last.plus(lastOld).plus(fresh).plus(old)
	ratio := sum.ratio()
	if last.all == 0 {
		return
	}
	if ratio == 0 || ratio == 1 { // as calm as can be
		p.sum, p.n = p.sum+1, p.n+1
		return
	}
	d := (fresh.ratio() - old.ratio()) - (last.ratio() - lastOld.ratio())
	expected := ratio * (1 - ratio) * (1/fresh.all + 1/old.all + 1/last.all + 1/lastOld.all)
	p.sum, p.n = p.sum+min(d*d/expected, mostPaired), p.n+1
}

// clustering is the design effect of blocks at the same time, given that of the old release's seconds, at least 1.
func (p *pairs) clustering(history float64) float64 {
	return max((min(history, mostAssumed)*trusted+p.sum)/(trusted+p.n), 1)
}
