package verdict

// A purse is the capital of somebody who bets, block by block, that a release does harm. A bet is fair, or to his
// disadvantage, where the release is harmless: whatever he stakes is then not worth more after the block, on average.
// So his capital is 1 in the beginning, and the chance that it ever grows to 1/α, however often and long one looks, is
// at most α (Ville's inequality). That is why it may be looked at every second, and why there is no end to wait for.
//
// One who does not know how bad a release is bets on several degrees at once; and one who does not know whether it is
// bad from the beginning or will be bad later keeps some cash, and moves a little of it into the bets after each block
// (fixed share, Herbster and Warmuth 1998). What was lost in good times, or when both releases failed together, is
// thus lost in the stakes only.
type purse struct {
	cash   float64
	stakes [degrees]float64
}

// degrees is how many degrees of harm are bet on at a time.
const degrees = 6

const (
	// firstStakes is the share of the capital that is staked from the first block on: most bad releases are bad at once.
	firstStakes = 0.5

	// laterStakes is the share of the cash that moves into the stakes before each later block. To notice later harm takes
	// ln(1/laterStakes) ≈ 7 more nats of evidence than harm from the beginning, about as many again.
	laterStakes = 0.001
)

func newPurse() purse {
	p := purse{cash: 1 - firstStakes}
	for k := range p.stakes {
		p.stakes[k] = firstStakes / degrees
	}
	return p
}

// play multiplies the stakes by what their bets have brought.
func (p *purse) play(gains *[degrees]float64) {
	moved := p.cash * laterStakes
	p.cash -= moved
	for k, g := range gains {
		p.stakes[k] = p.stakes[k]*g + moved/degrees
	}
}

// capital is what the purse is worth now.
func (p *purse) capital() float64 {
	sum := p.cash
	for _, s := range p.stakes {
		sum += s
	}
	return sum
}
