package meter

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ikada/ikada/api"
)

func TestBucketsHaveNoGaps(t *testing.T) {
	last := time.Duration(0)
	for b := range Buckets {
		low, high := bounds(b)
		if low != last || high <= low {
			t.Fatalf("bucket %d is from %v to %v, the one before ends at %v", b, low, high, last)
		}
		for _, d := range []time.Duration{low, high - 1} {
			if got := bucket(d); got != b {
				t.Errorf("%d ns is in bucket %d, want %d", d, got, b)
			}
		}
		if b > 0 && b < Buckets-1 {
			for _, d := range []time.Duration{low, (low + high) / 2, high - 1} {
				if e := math.Abs(float64(middle(b))/float64(d) - 1); e > Precision+1e-4 {
					t.Errorf("%v is told as %v, an error of %.4f", d, middle(b), e)
				}
			}
		}
		last = high
	}
	if _, high := bounds(0); high > 50*time.Microsecond {
		t.Errorf("nothing is told apart below %v", high)
	}
	if low, _ := bounds(Buckets - 1); low < 100*time.Second {
		t.Errorf("nothing is told apart above %v", low)
	}
	if bucket(-time.Second) != 0 || bucket(math.MaxInt64) != Buckets-1 {
		t.Error("the ends are not open")
	}
}

func TestQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 10, 1000, 20_000} {
		var whole, left, right Histogram
		all := make([]time.Duration, n)
		for i := range all {
			all[i] = time.Duration(50e3 * math.Exp(random.Float64()*math.Log(2e6))) // 50 µs to 100 s
			whole.Add(all[i])
			if i%3 == 0 {
				left.Add(all[i])
			} else {
				right.Add(all[i])
			}
		}
		left.Merge(&right)
		if left != whole || whole.Count() != uint64(n) {
			t.Fatalf("%d durations count as %d; merging loses some: %v", n, whole.Count(), left != whole)
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1} {
			want := all[max(int(math.Ceil(q*float64(n))), 1)-1]
			if e := math.Abs(float64(whole.Quantile(q))/float64(want) - 1); e > Precision+1e-4 {
				t.Errorf("quantile %v of %d is %v, want %v: an error of %.3f", q, n, whole.Quantile(q), want, e)
			}
		}
		var seen uint64
		for upper, count := range whole.All() {
			seen += count
			if below, _ := slices.BinarySearch(all, upper); uint64(below) != seen {
				t.Fatalf("%d durations are below %v, want %d", seen, upper, below)
			}
		}
	}
	var none Histogram
	if none.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
}

func TestHistogramAsJSON(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond, time.Hour} {
		h.Add(d)
	}
	b, err := json.Marshal(Point{Latency: h})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`"latency":[0,1,%d,2,%d,1]`, bucket(time.Millisecond), Buckets-1); !strings.Contains(string(b), want) {
		t.Errorf("%s, expected %s", b, want)
	}
	back := Point{Latency: Histogram{5: 7}}
	if err := json.Unmarshal(b, &back); err != nil || back.Latency != h {
		t.Errorf("%v, %v", back.Latency, err)
	}
	for _, text := range []string{`{}`, `[1]`, `[112,1]`, `[-1,1]`, `["a",1]`} {
		if err := json.Unmarshal([]byte(text), &h); !api.IsKind(err, api.Invalid) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
