package verdict

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkJudge is one verdict on ten minutes of both releases.
func BenchmarkJudge(b *testing.B) {
	for name, w := range map[string]*world{
		"beside/rate=100":  {rate: 100, share: 0.5, ratio: 0.01},
		"beside/rate=1000": {rate: 1000, share: 0.5, ratio: 0.01, rough: true},
		"before/rate=1000": {rate: 1000, share: 0.5, ratio: 0.01, rough: true, alone: -1},
	} {
		w.waits = distributions()[0]
		in := w.run(rand.New(rand.NewPCG(1, 1)))
		if w.alone == 0 {
			in.Old.Seconds = in.Old.Seconds[historySeconds:]
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if v := Judge(in); v.Result == Fail {
					b.Fatal(v.Reason)
				}
			}
		})
	}
}

// BenchmarkSimulation is one simulated deployment and what is made of it.
func BenchmarkSimulation(b *testing.B) {
	for _, rough := range []bool{false, true} {
		for _, rate := range rates {
			b.Run(fmt.Sprintf("rough=%t/rate=%v", rough, rate), func(b *testing.B) {
				w, r, s := world{rate: rate, share: 0.5, ratio: 0.01, rough: rough, waits: distributions()[0]}, rand.New(rand.NewPCG(1, 1)), stage{}
				for b.Loop() {
					newTrial(w.on(&s, r)).run()
				}
			})
		}
	}
}
