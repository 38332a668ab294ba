package process

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestFewerCores(t *testing.T) {
	for _, c := range []struct {
		name      string
		all, want []int
	}{
		{"one", []int{3}, []int{3}},
		{"two", []int{0, 1}, []int{1}},
		{"two of many", []int{4, 9}, []int{9}},
		{"three", []int{0, 1, 2}, []int{1, 2}},
		{"four", []int{0, 1, 2, 3}, []int{1, 2, 3}},
		{"eight", []int{0, 1, 2, 3, 4, 5, 6, 7}, []int{2, 3, 4, 5, 6, 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fewer(set(c.all)); got != set(c.want) {
				t.Errorf("of %v are used %v; want %v", c.all, got, c.want)
			}
		})
	}
}

func set(cpus []int) (s unix.CPUSet) {
	for _, c := range cpus {
		s.Set(c)
	}
	return s
}
