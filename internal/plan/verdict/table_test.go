package verdict

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// simulations is how often each case is simulated: a few times, or as often as IKADA_SIMULATIONS says. The tables of
// docs/verdicts.md are made by
//
//	IKADA_SIMULATIONS=10000 go test -v -timeout 0 -run 'TestHarmless' ./internal/plan/verdict
//	IKADA_SIMULATIONS=1000 go test -v -timeout 0 -run 'TestHarm$' ./internal/plan/verdict
func simulations(t *testing.T, few int) (n int, many bool) {
	s := os.Getenv("IKADA_SIMULATIONS")
	if s == "" {
		return few, false
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("IKADA_SIMULATIONS is %q, want a number of 1 and above", s)
	}
	return n, true
}

var rates = []float64{1, 10, 100, 1000}

// TestHarmless has harmless releases judged every second for ten minutes. At most one in a thousand may fail, of each
// combination of rate, ratio and distribution.
func TestHarmless(t *testing.T) {
	for _, mode := range []struct {
		name string
		world
		few int
	}{
		{"independent, half beside half", world{share: 0.5}, 1},
		{"rough, half beside half", world{share: 0.5, rough: true}, 3},
		{"rough, half beside half, without history", world{share: 0.5, rough: true, blind: true}, 1},
		{"rough, a tenth beside the rest", world{share: 0.1, rough: true}, 1},
		{"independent, after a swap", world{alone: -1}, 1},
		{"rough, after a swap", world{alone: -1, rough: true}, 3},
		{"rough, beside for a minute and then alone", world{share: 0.5, alone: 60, rough: true}, 1},
	} {
		t.Run(mode.name, func(t *testing.T) {
			n, _ := simulations(t, mode.few)
			var table strings.Builder
			fmt.Fprintf(&table, "\n%s, false alarms of %d for each distribution\n| requests/s |", mode.name, n)
			ratios := []float64{0, 0.001, 0.01, 0.05}
			for _, ratio := range ratios {
				fmt.Fprintf(&table, " %s |", percent(ratio))
			}
			table.WriteString("\n|---|---|---|---|---|")
			for _, rate := range rates {
				fmt.Fprintf(&table, "\n| %s |", count(uint64(rate)))
				for _, ratio := range ratios {
					for i, d := range distributions() {
						w := mode.world
						w.rate, w.ratio, w.waits = rate, ratio, d
						alarms := w.alarms(t, rand.New(rand.NewPCG(uint64(rate), uint64(3000*ratio)+uint64(i))), n)
						if alarms*1000 > n {
							t.Errorf("%v requests/s, %s failed, %s: %d of %d harmless releases failed", rate, percent(ratio), d.name, alarms, n)
						}
						fmt.Fprintf(&table, "%s%d", []string{" ", ", ", ", "}[i], alarms)
					}
					table.WriteString(" |")
				}
			}
			t.Log(table.String())
		})
	}
}

// alarms says how many of n releases failed.
func (w *world) alarms(t *testing.T, r *rand.Rand, n int) (alarms int) {
	for range n {
		if v := Judge(w.run(r)); v.Result == Fail {
			alarms++
			if alarms <= 3 {
				t.Logf("%v requests/s, %s, %s: %s", w.rate, percent(w.ratio), w.waits.name, v.Reason)
			}
		}
	}
	return alarms
}

// never stands for a release that was not found out in ten minutes.
const never = bakeSeconds + 1

// detection gives the seconds that harmful releases served until they failed: the median and the 95th percentile.
func (w *world) detection(r *rand.Rand, n int) (median, p95 int) {
	var all []int
	for range n {
		v := Judge(w.run(r))
		if v.Result == Fail {
			all = append(all, int(v.Numbers.Served)-w.onset)
		} else {
			all = append(all, never)
		}
	}
	slices.Sort(all)
	return all[(n-1)/2], all[(n-1)*95/100]
}

// harms are what releases do, with the longest time that half of them may take to be found out.
var harms = []struct {
	what string
	world
	beside, before map[float64]int // by rate
}{
	{"1 point more failures", world{ratio: 0.001, more: 0.01}, nil, nil},
	{"2 points more failures", world{ratio: 0.001, more: 0.02}, nil, nil},
	{"5 points more failures", world{ratio: 0.001, more: 0.05}, map[float64]int{100: 9, 1000: 5}, map[float64]int{100: 9, 1000: 11}},
	{"20 points more failures", world{ratio: 0.001, more: 0.2}, map[float64]int{100: 4, 1000: 5}, map[float64]int{100: 6, 1000: 8}},
	{"everything fails", world{ratio: 0.001, more: 1}, map[float64]int{10: 2, 100: 2, 1000: 2}, map[float64]int{10: 2, 100: 2, 1000: 2}},
	{"5 points more, where 1 % failed before", world{ratio: 0.01, more: 0.05}, nil, nil},
	{"20 points more, where 5 % failed before", world{ratio: 0.05, more: 0.2}, nil, nil},
	{"2 times slower", world{ratio: 0.001, slower: 2}, nil, nil},
	{"3 times slower", world{ratio: 0.001, slower: 3}, map[float64]int{100: 9, 1000: 7}, map[float64]int{100: 12, 1000: 12}},
	{"10 times slower", world{ratio: 0.001, slower: 10}, map[float64]int{100: 7, 1000: 7}, map[float64]int{100: 7, 1000: 7}},
	{"every fifth request 10 times slower", world{ratio: 0.001, slower: 10, part: 0.2}, nil, nil},
	{"everything fails after five minutes", world{ratio: 0.001, more: 1, onset: 300}, map[float64]int{100: 4, 1000: 4}, map[float64]int{100: 4, 1000: 4}},
	{"3 times slower after five minutes", world{ratio: 0.001, slower: 3, onset: 300}, nil, nil},
}

// TestHarm measures how fast harm is found out, in rough worlds.
func TestHarm(t *testing.T) {
	for _, mode := range []struct {
		name  string
		share float64
		alone int
	}{
		{"half beside half", 0.5, 0},
		{"a tenth beside the rest", 0.1, 0},
		{"after a swap", 0, -1},
	} {
		t.Run(mode.name, func(t *testing.T) {
			n, long := simulations(t, 41)
			var table strings.Builder
			fmt.Fprintf(&table, "\n%s, seconds to detection: median, 95th percentile of %d\n| | 1/s | 10/s | 100/s | 1,000/s |\n|---|---|---|---|---|", mode.name, n)
			for _, h := range harms {
				limits := h.beside
				switch {
				case mode.alone != 0:
					limits = h.before
				case mode.share != 0.5:
					limits = nil
				}
				fmt.Fprintf(&table, "\n| %s |", h.what)
				for _, rate := range rates {
					limit := limits[rate]
					if limit == 0 && !long {
						table.WriteString(" |")
						continue
					}
					w := h.world
					w.rate, w.share, w.alone, w.rough, w.waits = rate, mode.share, mode.alone, true, distributions()[0]
					w.bake = w.onset + 60
					if long {
						w.bake = 0
					}
					median, p95 := w.detection(rand.New(rand.NewPCG(1, uint64(rate))), n)
					if limit > 0 && median > limit {
						t.Errorf("%s at %v requests/s: half were found out after %d s or later, want %d s", h.what, rate, median, limit)
					}
					fmt.Fprintf(&table, " %s |", seconds(median, p95))
				}
			}
			t.Log(table.String())
		})
	}
}

func seconds(median, p95 int) string {
	s := func(v int) string {
		if v == never {
			return "–"
		}
		return strconv.Itoa(v)
	}
	return s(median) + ", " + s(p95)
}
