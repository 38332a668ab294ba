package soak

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"
)

// sample is what a process takes of its machine at one time.
type sample struct {
	at           time.Duration
	pss, anon    int // KiB: with its share of what several processes have in common, and what it alone has written
	fds, threads int
}

func (s sample) String() string {
	return fmt.Sprintf("%6.0f s  %7.1f MiB  %7.1f MiB  %6d  %4d", s.at.Seconds(), float64(s.pss)/1024, float64(s.anon)/1024, s.fds, s.threads)
}

const sampleHead = "    time          PSS    anonymous     fds  threads"

func take(t *testing.T, pid int, at time.Duration) sample {
	t.Helper()
	s := sample{at: at}
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(rollup))
	for lines.Scan() {
		for format, to := range map[string]*int{"Pss: %d kB": &s.pss, "Anonymous: %d kB": &s.anon} {
			var kib int
			if _, err := fmt.Sscanf(lines.Text(), format, &kib); err == nil {
				*to = kib
			}
		}
	}
	for dir, count := range map[string]*int{"fd": &s.fds, "task": &s.threads} {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, dir))
		if err != nil {
			t.Fatal(err)
		}
		*count = len(entries)
	}
	return s
}

// mean gives the mean PSS of samples in KiB, and of their open files.
func mean(all []sample) (pss, fds float64) {
	for _, s := range all {
		pss, fds = pss+float64(s.pss), fds+float64(s.fds)
	}
	n := float64(len(all))
	return pss / n, fds / n
}
