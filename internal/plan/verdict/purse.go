package verdict

import "math"

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
	needed float64 // 1/α
	cash   float64
	stakes [degrees]float64
}

// degrees is how many degrees of harm are bet on at a time, and share how much of the stakes each gets: most the one in
// which every bit of evidence counts. Worse harm is told by two or three blocks however little is staked on it, since
// there is a limit to what a block gains; and less takes long anyway.
const degrees = 5

func share(k int) float64 { return [degrees]float64{0.05, 0.6, 0.14, 0.05, 0.16}[k] }

const (
	// firstStakes is the share of the capital that is staked from the first block on: most bad releases are bad at once.
	firstStakes = 0.95

	// laterStakes is the share of the cash that moves into the stakes before each later block. Later harm has to bring
	// back what it is less than firstStakes: 9 nats of evidence more than harm from the beginning, about as many again.
	laterStakes = 0.002
)

func newPurse(chance float64) purse {
	p := purse{needed: 1 / chance, cash: 1 - firstStakes}
	for k := range p.stakes {
		p.stakes[k] = firstStakes * share(k)
	}
	return p
}

// play multiplies the stakes by what their bets have brought.
func (p *purse) play(gains *[degrees]float64) {
	moved := p.cash * laterStakes
	p.cash -= moved
	for k, g := range gains {
		p.stakes[k] = p.stakes[k]*g + moved*share(k)
	}
}

// clear tells whether the capital shows harm.
func (p *purse) clear() bool { return p.capital() >= p.needed }

// capital is what the purse is worth now.
func (p *purse) capital() float64 {
	sum := p.cash
	for _, s := range p.stakes {
		sum += s
	}
	return sum
}

// ruin is the logarithm of a gain below which a stake is lost altogether: the cash will bring as much back soon.
const ruin = -10

// gain is what a bet brings, given its logarithm and what that may be at most. A bet that brings less than is fair
// is still fair.
func gain(log, most float64) float64 {
	if log < ruin {
		return 0
	}
	return math.Exp(min(log, most))
}
