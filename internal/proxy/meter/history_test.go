package meter

import (
	"math/rand/v2"
	"testing"
)

func TestTallyIsWrittenDownWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		var one, two, got tally
		for range random.IntN(tallySize) {
			one[random.IntN(tallySize)] = random.Uint64() >> (1 + random.IntN(63))
			two[random.IntN(tallySize)] = random.Uint64() >> (1 + random.IntN(63))
		}
		got.addEncoded(one.append(nil))
		if got != one {
			t.Fatal("a tally is not what it was")
		}
		got.addEncoded(two.append([]byte("x"))[1:])
		if one.add(&two); got != one {
			t.Fatal("adding what is written down is not adding")
		}
	}
}

// requestsBySecond decodes a history.
func requestsBySecond(h *history) map[int64]uint64 {
	all := map[int64]uint64{}
	for _, m := range h.seconds {
		var t tally
		t.addEncoded(m.data)
		all[m.second], _, _, _ = t.outcomes()
	}
	return all
}

func TestHistoryIsARing(t *testing.T) {
	var h history
	one := &tally{}
	one.count(&okResult)
	const start = 1_800_000_000
	for i := range int64(3 * kept) {
		for range i%3 + 1 {
			h.add(start+i, start+i, one)
		}
		if late := start + i - 7; i > 7 && i%10 == 0 {
			h.add(late, start+i, one)
		}
		if len(h.seconds) > kept {
			t.Fatalf("%d seconds after %d", len(h.seconds), i)
		}
	}
	now := int64(start + 3*kept - 1)
	got := requestsBySecond(&h)
	if len(got) != kept {
		t.Fatalf("%d seconds are left", len(got))
	}
	for i := int64(2 * kept); i < 3*kept; i++ {
		want := uint64(i%3 + 1)
		if (i+7)%10 == 0 && i+7 < 3*kept {
			want++
		}
		if got[start+i] != want {
			t.Fatalf("second %d has %d requests, want %d", i, got[start+i], want)
		}
	}
	h.add(now-kept, now, one)
	if len(h.seconds) != kept {
		t.Error("a second that is too old was taken in")
	}
	if part := h.from(now - 9); len(part.seconds) != 10 {
		t.Errorf("%d of the last 10 seconds", len(part.seconds))
	}
	h.trim(now + kept)
	if h.seconds != nil {
		t.Error("an old history keeps its memory")
	}
}

func TestHistoryTakesSecondsInAnyOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	one := &tally{}
	one.count(&okResult)
	var h history
	want := map[int64]uint64{}
	for range 5000 {
		second := 1000 + random.Int64N(kept)
		h.add(second, 1000+kept-1, one)
		want[second]++
	}
	got := requestsBySecond(&h)
	for second, n := range want {
		if got[second] != n {
			t.Errorf("second %d has %d requests, want %d", second, got[second], n)
		}
	}
	for i := 1; i < len(h.seconds); i++ {
		if h.seconds[i-1].second >= h.seconds[i].second {
			t.Fatal("seconds are out of order")
		}
	}
}

func TestHistoryWhenTheClockIsSetBack(t *testing.T) {
	var h history
	one := &tally{}
	one.count(&okResult)
	for i := range int64(20) {
		h.add(90_000+i, 90_000+i, one)
	}
	h.add(5000, 5000, one)
	if got := requestsBySecond(&h); len(got) != 1 || got[5000] != 1 {
		t.Errorf("the history is %v", got)
	}
}
