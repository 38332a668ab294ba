package process

import (
	"os"
	"regexp"
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

// TestTakeCores changes what this process may run on, and ends with all that there is.
func TestTakeCores(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	there := len(regexp.MustCompile(`(?m)^processor\s*:`).FindAll(info, -1))
	all, err := TakeCores()
	if err != nil {
		t.Fatal(err)
	}
	if all < 1 || all > there {
		t.Fatalf("%d cores, of the %d that the machine has", all, there)
	}
	if err := LeaveCores(); err != nil {
		t.Fatal(err)
	}
	var left unix.CPUSet
	if err := unix.SchedGetaffinity(0, &left); err != nil {
		t.Fatal(err)
	}
	if n := left.Count(); n >= all && all > 1 || n < 1 {
		t.Errorf("%d of %d cores are used", n, all)
	}
	if again, err := TakeCores(); err != nil || again != all {
		t.Errorf("%d cores, error %v; want the %d that there were", again, err, all)
	}
}

func set(cpus []int) (s unix.CPUSet) {
	for _, c := range cpus {
		s.Set(c)
	}
	return s
}
