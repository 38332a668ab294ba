package policy

import "testing"

func TestRecent(t *testing.T) {
	r := recent[int, string]{most: 3, life: 100}
	has := func(now int64, key int, want bool) {
		t.Helper()
		if _, ok := r.get(key, now); ok != want {
			t.Errorf("at %d: %d is there: %v", now, key, ok)
		}
	}
	r.put(1, "a", 0)
	r.put(2, "b", 50)
	has(99, 1, true)
	has(120, 2, true)  // the older half now, and in use: moves to the younger
	has(219, 2, true)  // within its life
	has(221, 1, false) // unused for two lives
	has(230, 2, true)
	has(1000, 2, false)

	for i := range 100 {
		r.put(i, "", 1000)
		if n := len(r.young) + len(r.old); n > 6 {
			t.Fatalf("holds %d", n)
		}
	}
	has(1000, 99, true)
	has(1000, 90, false)
}
