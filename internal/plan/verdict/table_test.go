package verdict

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// simulations is how often each case is simulated: a few times, or as often as IKADA_SIMULATIONS says. The tables of
// docs/verdicts.md are made by
//
//	IKADA_SIMULATIONS=10000 go test -v -timeout 0 -run 'TestHarmless' ./internal/plan/verdict
//	IKADA_SIMULATIONS=1000 go test -v -timeout 0 -run 'TestHarm$' ./internal/plan/verdict
//
// With another IKADA_SEED others are drawn, so that a long simulation can be made in parts.
func simulations(t *testing.T, few int) (n int, many bool) {
	n = number(t, "IKADA_SIMULATIONS", 0)
	return cmp.Or(n, few), n > 0
}

func number(t *testing.T, variable string, unset int) int {
	s := os.Getenv(variable)
	if s == "" {
		return unset
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a number of 1 and above", variable, s)
	}
	return n
}

var (
	rates  = []float64{1, 10, 100, 1000}
	ratios = []float64{0, 0.001, 0.01, 0.05}
)

// TestHarmless has harmless releases judged every second for ten minutes. At most one in a thousand may fail, of each
// combination of rate, ratio and distribution.
func TestHarmless(t *testing.T) {
	for _, mode := range []struct {
		name string
		world
		few  int
		part int // of the simulations of the long form
	}{
		{"independent, half beside half", world{share: 0.5}, 1, 1},
		{"independent, a tenth beside the rest", world{share: 0.1}, 1, 1},
		{"independent, after a swap", world{alone: -1}, 1, 1},
		{"independent, half beside half, nothing known before", world{share: 0.5, known: -1}, 1, 4},
		{"independent, after a swap, ten seconds known before", world{alone: -1, known: 10}, 1, 4},
		{"rough, half beside half", world{share: 0.5, rough: true}, 2, 5},
		{"rough, a tenth beside the rest", world{share: 0.1, rough: true}, 1, 5},
		{"rough, after a swap", world{alone: -1, rough: true}, 2, 5},
		{"rough, beside for a minute and then alone", world{share: 0.5, alone: 60, rough: true}, 1, 5},
		{"rough, half beside half, nothing known before", world{share: 0.5, rough: true, known: -1}, 1, 5},
		{"rough, after a swap, ten seconds known before", world{alone: -1, rough: true, known: 10}, 1, 5},
	} {
		t.Run(mode.name, func(t *testing.T) {
			n, many := simulations(t, mode.few)
			if many {
				n = max(n/mode.part, 1)
			}
			began, seed := time.Now(), uint64(1000*number(t, "IKADA_SEED", 0))
			var table strings.Builder
			fmt.Fprintf(&table, "\n%s, false alarms of %d for each distribution\n| requests/s |", mode.name, n)
			for _, ratio := range ratios {
				fmt.Fprintf(&table, " %s |", percent(ratio))
			}
			table.WriteString("\n|---|---|---|---|---|")
			all, most, runs := 0, 0, 0
			simulate := func(w world, rate, ratio float64, waits *distribution, seed uint64) int {
				w.rate, w.ratio, w.waits = rate, ratio, waits
				alarms := w.alarms(t, rand.New(rand.NewPCG(uint64(rate), seed)), n)
				all, runs = all+alarms, runs+n
				return alarms
			}
			for _, rate := range rates {
				// Where seconds are independent, how many requests fail has nothing to do with how long others wait: so each is
				// simulated once, and the alarms are added.
				var slow []int
				if !mode.rough {
					for i, d := range distributions() {
						slow = append(slow, simulate(mode.world, rate, 0, d, seed+uint64(i)))
					}
				}
				fmt.Fprintf(&table, "\n| %s |", count(uint64(rate)))
				for _, ratio := range ratios {
					failed := 0
					if !mode.rough && ratio > 0 {
						failed = simulate(mode.world, rate, ratio, nil, seed+uint64(3000*ratio))
					}
					for i, d := range distributions() {
						alarms := failed
						if mode.rough {
							alarms = simulate(mode.world, rate, ratio, d, seed+uint64(3000*ratio)+uint64(i))
						} else {
							alarms += slow[i]
						}
						if alarms*1000 > n {
							t.Errorf("%v requests/s, %s failed, %s: %d of %d harmless releases failed", rate, percent(ratio), d.name, alarms, n)
						}
						most = max(most, alarms)
						fmt.Fprintf(&table, "%s%d", []string{" ", ", ", ", "}[i], alarms)
					}
					table.WriteString(" |")
				}
			}
			fmt.Fprintf(&table, "\n%s of %s failed, with 95 %% certainty at most %s; of a combination at most %d of %s, with 95 %% certainty %s; took %s",
				count(uint64(all)), count(uint64(runs)), percent(atMost(all, runs)), most, count(uint64(n)), percent(atMost(most, n)), time.Since(began).Round(time.Second))
			t.Log(table.String())
		})
	}
}

// atMost is the upper end of the one-sided interval of Clopper and Pearson (1934): the chance with which k or fewer of n
// are met once in twenty times.
func atMost(k, n int) float64 {
	low, high := 0.0, 1.0
	for range 60 {
		if p := (low + high) / 2; 1-binomialTailOf(k+1, n, p) > 0.05 {
			low = p
		} else {
			high = p
		}
	}
	return high
}

// binomialTailOf is the chance of k or more of n, where k is small.
func binomialTailOf(k, n int, p float64) float64 {
	below := 0.0
	for i := range k {
		a, b := float64(i), float64(n)
		below += math.Exp(logFactorial(b) - logFactorial(a) - logFactorial(b-a) + a*math.Log(p) + (b-a)*math.Log1p(-p))
	}
	return 1 - below
}

func TestAtMost(t *testing.T) {
	for _, tt := range []struct {
		k, n int
		want float64
	}{{0, 10000, 0.00029953}, {1, 12600, 0.00037644}, {10, 10000, 0.0016956}, {0, 1, 0.95}} {
		if got := atMost(tt.k, tt.n); math.Abs(got/tt.want-1) > 1e-3 {
			t.Errorf("%d of %d: at most %v, want %v", tt.k, tt.n, got, tt.want)
		}
	}
}

// alarms says how many of n releases failed.
func (w *world) alarms(t *testing.T, r *rand.Rand, n int) (alarms int) {
	var s stage
	for range n {
		in := w.on(&s, r)
		if newTrial(in).run() {
			if alarms++; alarms <= 3 {
				v := Judge(in)
				t.Logf("%v requests/s, %s, after %d s: %s", w.rate, percent(w.ratio), v.Numbers.Served, v.Reason)
			}
		}
	}
	return alarms
}

// never stands for a release that was not found out in ten minutes.
const never = bakeSeconds + 1

// detection gives the seconds that each of n harmful releases served until it failed.
func (w *world) detection(r *rand.Rand, n int) (all []int) {
	var s stage
	for range n {
		if t := newTrial(w.on(&s, r)); t.run() {
			all = append(all, int(t.at-t.From)+1-w.onset)
		} else {
			all = append(all, never)
		}
	}
	return all
}

// ranks gives the median and the 95th percentile.
func ranks(all []int) (median, p95 int) {
	slices.Sort(all)
	return all[(len(all)-1)/2], all[(len(all)-1)*95/100]
}

// harms are what releases do, with the longest time that half of them may take to be found out.
var harms = []struct {
	what string
	world
	beside, before map[float64]int // by rate
}{
	{"1 point more failures", world{ratio: 0.001, more: 0.01}, nil, nil},
	{"2 points more failures", world{ratio: 0.001, more: 0.02}, nil, nil},
	{"5 points more failures, where none failed before", world{more: 0.05}, map[float64]int{100: 9}, map[float64]int{100: 9}},
	{"5 points more failures", world{ratio: 0.001, more: 0.05}, map[float64]int{100: 9, 1000: 5}, map[float64]int{100: 9, 1000: 11}},
	{"5 points more, where 1 % failed before", world{ratio: 0.01, more: 0.05}, nil, nil},
	{"5 points more, where 5 % failed before", world{ratio: 0.05, more: 0.05}, nil, nil},
	{"20 points more failures", world{ratio: 0.001, more: 0.2}, map[float64]int{100: 4, 1000: 5}, map[float64]int{100: 6, 1000: 8}},
	{"20 points more, where 5 % failed before", world{ratio: 0.05, more: 0.2}, nil, nil},
	{"everything fails", world{ratio: 0.001, more: 1}, map[float64]int{10: 2, 100: 2, 1000: 2}, map[float64]int{10: 2, 100: 2, 1000: 2}},
	{"everything fails, where 5 % failed before", world{ratio: 0.05, more: 1}, map[float64]int{100: 2}, map[float64]int{100: 2}},
	{"2 times slower", world{ratio: 0.001, slower: 2}, nil, nil},
	{"3 times slower", world{ratio: 0.001, slower: 3}, map[float64]int{100: 9, 1000: 7}, map[float64]int{100: 12, 1000: 12}},
	{"10 times slower", world{ratio: 0.001, slower: 10}, map[float64]int{100: 7, 1000: 7}, map[float64]int{100: 7, 1000: 7}},
	{"every fifth request 10 times slower", world{ratio: 0.001, slower: 10, part: 0.2}, nil, nil},
	{"everything fails after five minutes", world{ratio: 0.001, more: 1, onset: 300}, map[float64]int{100: 4, 1000: 4}, map[float64]int{100: 4, 1000: 4}},
	{"3 times slower after five minutes", world{ratio: 0.001, slower: 3, onset: 300}, nil, nil},
}

// TestHarm measures how fast harm is found out.
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
		for _, rough := range []bool{false, true} {
			kind := "independent"
			if rough {
				kind = "rough"
			}
			t.Run(kind+", "+mode.name, func(t *testing.T) {
				n, long := simulations(t, 41)
				var table strings.Builder
				fmt.Fprintf(&table, "\n%s, %s, seconds to detection: median, 95th percentile of %d\n| | 1/s | 10/s | 100/s | 1,000/s |\n|---|---|---|---|---|", kind, mode.name, n)
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
						w.rate, w.share, w.alone, w.rough, w.waits = rate, mode.share, mode.alone, rough, distributions()[0]
						w.bake = w.onset + 60
						if long {
							w.bake = 0
						}
						median, p95 := ranks(w.detection(rand.New(rand.NewPCG(1, uint64(rate))), n))
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
}

// TestHundredRequests measures what is asked for at 100 requests a second, of both releases or of the new one, in
// independent worlds: five points more failures are found out in less than 10 s, and a release that fails everything in
// less than 3 s.
func TestHundredRequests(t *testing.T) {
	n, long := simulations(t, 41)
	ways := []struct {
		name string
		world
		upTo float64 // ratio up to which five points more are found out in time
	}{
		{"half of 100/s", world{rate: 100, share: 0.5}, 0.001},
		{"half of 200/s", world{rate: 200, share: 0.5}, 0.01},
		{"a tenth of 1,000/s", world{rate: 1000, share: 0.1}, 0.05},
		{"100/s, after a swap", world{rate: 100, alone: -1}, 0.01},
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\nseconds to detection: median, 95th percentile of %d\n| |", n)
	for _, way := range ways {
		fmt.Fprintf(&table, " %s |", way.name)
	}
	table.WriteString("\n|---|---|---|---|---|")
	for _, more := range []struct {
		what  string
		more  float64
		limit int
	}{{"5 points more", 0.05, 9}, {"everything fails", 1, 2}} {
		together := make([][]int, len(ways)) // of all ratios
		for _, ratio := range ratios {
			fmt.Fprintf(&table, "\n| %s, where %s failed before |", more.what, percent(ratio))
			for i, way := range ways {
				inTime := more.more == 1 || ratio <= way.upTo
				if !inTime && !long {
					table.WriteString(" |")
					continue
				}
				w := way.world
				w.ratio, w.more, w.waits = ratio, more.more, distributions()[0]
				if !long {
					w.bake = 60
				}
				all := w.detection(rand.New(rand.NewPCG(2, uint64(way.rate))), n)
				together[i] = append(together[i], all...)
				median, p95 := ranks(all)
				if inTime && median > more.limit {
					t.Errorf("%s, %s, %s failed before: half were found out after %d s or later, want %d s", way.name, more.what, percent(ratio), median, more.limit)
				}
				fmt.Fprintf(&table, " %s |", seconds(median, p95))
			}
		}
		if !long {
			continue
		}
		fmt.Fprintf(&table, "\n| %s, all of these |", more.what)
		for i, way := range ways {
			median, p95 := ranks(together[i])
			if median > more.limit {
				t.Errorf("%s, %s: half were found out after %d s or later, want %d s", way.name, more.what, median, more.limit)
			}
			fmt.Fprintf(&table, " %s |", seconds(median, p95))
		}
	}
	t.Log(table.String())
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
